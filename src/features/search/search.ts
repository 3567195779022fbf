/**
 * Looks for words in a project's tasks and reports, and for parts of titles where no word fits.
 *
 * Full text first: every word must be there, the last one perhaps only in part. When that finds nothing at all, the
 * trigrams of titles and references are asked, and what they find is compared with what was looked for. A credential that
 * is bound to a session finds what is in it. It changes nothing.
 */
import type { SQL } from "drizzle-orm";
import type { Database } from "../../db/database.ts";
import { folded, gramQuery, searchQuery } from "../../db/search-text.ts";
import type { Cursors, Page } from "../../platform/page.ts";
import { type FoundView, foundKinds, type SearchQuestion } from "./contract.ts";
import { snippetOf } from "./snippet.ts";
import { digitsOf, type Found, findTexts } from "./store.ts";

export type SearchNeeds = { database: Pick<Database, "transaction">; cursors: Cursors };

type Place = { readonly projectId: string; readonly sessionId: string | null };
type Way = "words" | "part";
type Rows = { readonly found: Found[]; readonly more: boolean };

/** Trigrams that stand apart from each other are rare: one look further is enough nearly always. */
const looksMax = 20;

export class Search {
  readonly #needs: SearchNeeds;

  constructor(needs: SearchNeeds) {
    this.#needs = needs;
  }

  /** Newest first. A `q` that holds neither a word nor three characters in a row finds nothing. */
  async page(place: Place, question: SearchQuestion): Promise<Page<FoundView>> {
    const { cursors } = this.#needs;
    const { q, kind = "all", cursor } = question;
    const list = `search ${place.projectId} ${kind} ${q}`;
    const [way = null, before = null] = cursor === undefined ? [] : cursors.open(list, cursor);
    const answer = (found: Found[], more: boolean, by: Way): Page<FoundView> => {
      const last = found.at(-1);
      const next = more && last !== undefined ? cursors.seal(list, [by, digitsOf(last.id)]) : null;
      return { data: found.map((one) => viewOf(one, q)), next_cursor: next };
    };
    if (way !== "part") {
      const { found, more } = await this.#byWords(place, question, before);
      if (found.length > 0 || way === "words") return answer(found, more, "words");
    }
    const { found, more } = await this.#byPart(place, question, before);
    return answer(found, more, "part");
  }

  async #byWords(place: Place, question: SearchQuestion, before: string | null): Promise<Rows> {
    const query = searchQuery(question.q);
    if (query === null) return { found: [], more: false };
    const found = await this.#find(place, question, query, before);
    return { found: found.slice(0, question.limit), more: found.length > question.limit };
  }

  async #byPart(place: Place, question: SearchQuestion, before: string | null): Promise<Rows> {
    const { q, limit } = question;
    const query = gramQuery(q);
    const part = folded(q);
    const found: Found[] = [];
    let from = before;
    for (let look = 0; query !== null && look < looksMax; look++) {
      const rows = await this.#find(place, question, query, from);
      found.push(...rows.filter(({ title, taskRef }) => folded(`${title} ${taskRef ?? ""}`).includes(part)));
      if (found.length > limit) return { found: found.slice(0, limit), more: true };
      const last = rows.at(-1);
      if (rows.length <= limit || last === undefined) break;
      from = digitsOf(last.id);
    }
    return { found, more: false };
  }

  #find(place: Place, question: SearchQuestion, query: SQL, before: string | null): Promise<Found[]> {
    const { kind, limit } = question;
    const kinds = kind === undefined ? foundKinds : [kind];
    const asked = { ...place, kinds, query, before, rowsMax: limit + 1 };
    return this.#needs.database.transaction((tx) => findTexts(tx, asked));
  }
}

const viewOf = (found: Found, q: string): FoundView => ({
  kind: found.kind,
  id: found.id,
  session_id: found.sessionId,
  title: found.title,
  task_ref: found.taskRef,
  status: found.status,
  snippet: snippetOf(found.text, q),
});
