/**
 * The search in a project's tasks and reports.
 *
 * First by words; when the first page of that is empty, by trigrams of titles. The cursor remembers which of the two it
 * pages through, so that what is written meanwhile does not change the question. What trigrams find is compared with the
 * words asked for before it goes out. Nothing outside the project, or outside the session that a credential is bound to,
 * is ever looked at.
 */
import type { SQL } from "drizzle-orm";
import type { Database } from "../../db/database.ts";
import { folded, gramQuery, searchQuery } from "../../db/search-text.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import { type FoundView, foundKinds, type SearchQuestion } from "./contract.ts";
import { snippetOf } from "./snippet.ts";
import {
  findHits,
  findReports,
  findTasks,
  type Hit,
  type ReportRow,
  type Searched,
  type TaskRow,
} from "./store.ts";

export type SearchNeeds = { database: Database; cursors: Cursors };

/** What a cursor pages through. */
type Way = "words" | "parts";
type Asked = SearchQuestion & Searched & { after: string | null };
/** `after`: behind which to go on; null at the end. */
type Stretch = { readonly hits: Hit[]; readonly after: string | null };

export class Search {
  readonly #needs: SearchNeeds;

  constructor(needs: SearchNeeds) {
    this.#needs = needs;
  }

  /** Newest first. */
  async page(searched: Searched, query: SearchQuestion): Promise<Page<FoundView>> {
    const { cursors } = this.#needs;
    const list = `search ${searched.projectId} ${query.kind ?? ""} ${query.q}`;
    const [way = null, after = null] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const asked = { ...query, ...searched, after };
    const { way: taken, stretch } = await this.#find(way as Way | null, asked);
    const sought = taken === "words" ? wordsOf(query.q) : [line(query.q)];
    return {
      data: await this.#views(stretch.hits, sought),
      next_cursor: stretch.after === null ? null : cursors.seal(list, [taken, stretch.after]),
    };
  }

  async #find(way: Way | null, asked: Asked): Promise<{ way: Way; stretch: Stretch }> {
    const words = searchQuery(asked.q);
    const grams = gramQuery(asked.q);
    if (words !== null && way !== "parts") {
      const stretch = await this.#byWords(words, asked);
      if (stretch.hits.length > 0 || way === "words" || grams === null) return { way: "words", stretch };
    }
    const stretch = grams === null ? { hits: [], after: null } : await this.#byParts(grams, asked);
    return { way: "parts", stretch };
  }

  async #byWords(query: SQL, asked: Asked): Promise<Stretch> {
    const hits = await this.#hits(query, asked, asked.limit + 1);
    return stretchOf(hits, asked.limit);
  }

  /** Ends early, with a cursor, where the trigrams of `q` are all there and in another order time after time. */
  async #byParts(query: SQL, asked: Asked): Promise<Stretch> {
    const part = line(asked.q);
    const candidatesMax = Math.max(asked.limit + 1, candidatesUsual);
    const hits: Hit[] = [];
    let { after } = asked;
    for (let looks = 0; looks < looksMax; looks++) {
      const candidates = await this.#hits(query, { ...asked, after }, candidatesMax);
      hits.push(...candidates.filter(({ title }) => line(title).includes(part)));
      after = candidates.length < candidatesMax ? null : tailOf(candidates.at(-1));
      if (hits.length > asked.limit) return stretchOf(hits, asked.limit);
      if (after === null) break;
    }
    return { hits, after };
  }

  /** Of each kind that is asked for, merged. */
  async #hits(query: SQL, { projectId, only, kind, after }: Asked, rowsMax: number): Promise<Hit[]> {
    const kinds = kind === undefined ? foundKinds : [kind];
    const lists = await Promise.all(
      kinds.map((each) => findHits(this.#needs.database, each, { projectId, only, query, after, rowsMax })),
    );
    return lists
      .flat()
      .sort((a, b) => (tailOf(a) < tailOf(b) ? 1 : -1))
      .slice(0, rowsMax);
  }

  async #views(hits: readonly Hit[], sought: readonly string[]): Promise<FoundView[]> {
    const { db } = this.#needs.database;
    const idsOf = (kind: Hit["kind"]) => hits.filter((hit) => hit.kind === kind).map(({ id }) => id);
    const [taskIds, reportIds] = [idsOf("task"), idsOf("report")];
    const [tasks, reports] = await Promise.all([
      taskIds.length === 0 ? [] : findTasks(db, taskIds),
      reportIds.length === 0 ? [] : findReports(db, reportIds),
    ]);
    const views = new Map<string, FoundView>();
    for (const task of tasks) views.set(task.id, taskFound(task, sought));
    for (const report of reports) views.set(report.id, reportFound(report, sought));
    return hits.flatMap(({ id }) => views.get(id) ?? []);
  }
}

const candidatesUsual = 51;
const looksMax = 5;

const stretchOf = (hits: Hit[], limit: number): Stretch => {
  const { data, next_cursor: after } = pageOf(hits, limit, tailOf);
  return { hits: data, after };
};

/** An id without its kind: it begins with the time, so that things of different kinds have one order. */
const tailOf = (hit: Hit | undefined): string => hit?.id.slice(4) ?? "";

/** As titles are compared: white space of whatever kind is one space. */
const line = (text: string): string => folded(text).replace(/\s+/g, " ").trim();

const wordsOf = (q: string): string[] =>
  folded(q)
    .split(/[^\p{L}\p{N}\p{M}]+/u)
    .filter((word) => word !== "");

const taskFound = (row: TaskRow, sought: readonly string[]): FoundView => ({
  kind: "task",
  id: row.id,
  session_id: row.sessionId,
  title: row.title,
  task_ref: row.taskRef,
  status: row.status,
  snippet: snippetOf(
    [row.acceptanceCriteria, row.notes, row.originatingSpec].filter((text) => text !== null),
    sought,
  ),
  created_at: row.createdAt.toISOString(),
});

const reportFound = (row: ReportRow, sought: readonly string[]): FoundView => ({
  kind: "report",
  id: row.id,
  session_id: row.sessionId,
  title: row.title,
  task_ref: null,
  status: null,
  snippet: snippetOf([row.body], sought),
  created_at: row.createdAt.toISOString(),
});
