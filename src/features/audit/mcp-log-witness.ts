/**
 * Holds the MCP log's lines against the audit log's rows, both ways: each line says what its row says, and each row of
 * this gateway's decisions has its line. So a file that was written anew with sound hashes is found at once, and so is
 * one that was emptied, whatever stands in the data dir: rows are sealed, and each names the gateway that wrote it.
 *
 * A line may be ahead of the database while the journal is not drained yet, and a row ahead of its file for the moment in
 * which the line waits, or until the next start when a gateway was killed in that moment. Both are counted.
 */

import type { Db } from "../../db/database.ts";
import { storable } from "../../db/storable.ts";
import { canonicalJson } from "./argument-mark.ts";
import { fileOf } from "./mcp-log-files.ts";
import { broken } from "./mcp-log-flaw.ts";
import type { ReadLine } from "./mcp-log-line.ts";
import {
  findNamed,
  findRequested,
  isDecision,
  type LoggedRow,
  listLogged,
  saysOfRow,
} from "./mcp-log-rows.ts";
import { RequestBook } from "./request-book.ts";

export type WitnessNeeds = { db: Db; instance: string; now: number };

type Seen = {
  readonly file: string;
  readonly number: number;
  readonly at: string;
  readonly event: string;
  readonly request: string;
  readonly members: ReadLine["members"];
};
/** A row without a line. */
type Lacking = { readonly event: string; readonly at: number };
/** Rows decided in it may have no line yet. */
type Gap = { readonly from: number; readonly to: number };

const batchMax = 2_000;
const unfoundMax = 20_000;
/** How far the order of the files, of the journal and of the clock may differ. */
const apartMs = 10_000;
const lateMs = 60_000;
const killedMs = 3_000;
const startingMs = 120_000;

export class Witness {
  readonly #needs: WitnessNeeds;
  readonly #book = new RequestBook();
  #batch: Seen[] = [];
  #unfound: Seen[] = [];
  #unfoundMore = 0;
  /** When the last decision was made that came through the journal and is in the database. */
  #drainedAt = 0;
  #lastAt = 0;
  #gaps: Gap[] = [];

  constructor(needs: WitnessNeeds) {
    this.#needs = needs;
  }

  /** Throws `Broken` for a line that its row contradicts. */
  async see(file: string, number: number, { members }: ReadLine): Promise<void> {
    const { kind, at, event, request } = members;
    const time = Date.parse(String(at));
    if (!Number.isFinite(time)) throw broken(file, number, "it does not say when");
    if (kind === "resumed" || kind === "opened") this.#sawStart(time);
    this.#lastAt = time;
    if (kind !== undefined) return;
    if (typeof event !== "string" || typeof request !== "string")
      throw broken(file, number, "it names no row of the audit log");
    this.#book.add(request);
    this.#batch.push({ file, number, at: String(at), event, request, members });
    if (this.#batch.length >= batchMax) await this.#check();
  }

  /** A line outside of what was asked for: it counts as there. */
  note(line: ReadLine | undefined): void {
    if (typeof line?.members.request === "string") this.#book.add(line.members.request);
  }

  /** The lines that the audit log has nothing of yet. Throws `Broken` for one that it should have. */
  async finish(): Promise<number> {
    await this.#check();
    // What was drained while the files were read.
    const again = this.#unfound.splice(0);
    await this.#hold(again);
    const [first] = this.#unfound;
    if (first !== undefined && Date.parse(first.at) < this.#drainedAt - apartMs)
      throw broken(first.file, first.number, "the audit log knows of no such decision");
    return this.#unfound.length + this.#unfoundMore;
  }

  /**
   * How many rows have no line yet. Throws `Broken` for those that should have one, unless the files themselves say that so
   * many are missing.
   */
  async requireLines(span: { from: Date; to: Date }, missing: number): Promise<number> {
    this.#book.close();
    const { rows, lacking, newestAt } = await this.#lacking(span);
    // What a kill takes is what was decided last.
    this.#gaps.push({ from: Math.min(newestAt - killedMs, this.#needs.now - lateMs), to: Infinity });
    const overdue = rows.filter(({ at }) => !this.#gaps.some(({ from, to }) => at >= from && at <= to));
    const [first] = overdue;
    const count = lacking - (rows.length - overdue.length);
    if (first !== undefined && count > missing)
      throw broken(fileOf(first.at), null, lackOf(first, count, missing));
    return Math.max(0, lacking - missing);
  }

  async #lacking({ from, to }: { from: Date; to: Date }) {
    const { db, instance } = this.#needs;
    const asked = { instance, from, to, rowsMax: 5_000, boot: null };
    const rows: Lacking[] = [];
    let [lacking, newestAt] = [0, 0];
    for (let after: LoggedRow | null = null; ; ) {
      const page: LoggedRow[] = await listLogged(db, { ...asked, after });
      for (const row of page) {
        newestAt = Date.parse(row.at);
        if (row.request_id === null || this.#book.has(row.request_id)) continue;
        lacking += 1;
        if (rows.length < unfoundMax) rows.push({ event: row.event_id, at: newestAt });
      }
      after = page.at(-1) ?? null;
      if (page.length < asked.rowsMax) return { rows, lacking, newestAt };
    }
  }

  /** What the run before took with it is written back within moments of a start. */
  #sawStart(time: number): void {
    if (this.#needs.now - time < startingMs)
      this.#gaps.push({ from: this.#lastAt - apartMs, to: this.#lastAt + lateMs });
  }

  async #check(): Promise<void> {
    await this.#hold(this.#batch.splice(0));
  }

  async #hold(lines: readonly Seen[]): Promise<void> {
    if (lines.length === 0) return;
    const rows = await this.#rowsOf(lines);
    for (const line of lines) {
      const row = rows.get(line.event) ?? rows.get(line.request);
      if (row !== undefined) this.#compare(line, row);
      else if (line.members.withheld === true) continue;
      else if (this.#unfound.length < unfoundMax) this.#unfound.push(line);
      else this.#unfoundMore += 1;
    }
  }

  /** By the event that a line names; a change's, which has a name of its own, by its request. */
  async #rowsOf(lines: readonly Seen[]): Promise<Map<string, LoggedRow>> {
    const { db } = this.#needs;
    const rows = new Map((await findNamed(db, lines)).map((row) => [row.event_id, row]));
    const rest = lines.filter(({ event }) => !rows.has(event));
    if (rest.length === 0) return rows;
    const times = rest.map(({ at }) => at).sort();
    const [from = "", to = ""] = [times[0], times.at(-1)];
    const requests = rest.map(({ request }) => request);
    for (const row of await findRequested(db, { requests, from, to }))
      if (row.request_id !== null && (isDecision(row) || !rows.has(row.request_id)))
        rows.set(row.request_id, row);
    return rows;
  }

  #compare({ file, number, members }: Seen, row: LoggedRow): void {
    const { instance } = row.details;
    if (instance !== this.#needs.instance)
      throw broken(
        file,
        number,
        `the audit log says that the gateway ${String(instance)} decided this, and the data dir's \`instance\` says ${this.#needs.instance}`,
      );
    const isNoted = isDecision(row) && row.details.intent === undefined;
    for (const [name, said] of Object.entries(saysOfRow(row))) {
      const isTold = isDecision(row) ? row.details.is_cut !== true || columns.has(name) : ofChange.has(name);
      if (isTold && !agrees(said, members[name]))
        throw broken(file, number, `the audit log says something else of this decision: \`${name}\``);
    }
    if (isNoted) this.#drainedAt = Math.max(this.#drainedAt, Date.parse(row.at));
  }
}

/** What stands beside a row's details, which are left out of one that is too long. */
const columns = new Set([
  ...["at", "event", "request", "principal", "client", "project", "session"],
  ...["era", "verdict"],
]);
const ofChange = new Set(["request", "principal", "era", "tool", "verdict", "rule", "revisions"]);

/** A row's texts may have been cut to go into the journal, and never hold what Postgres cannot. */
function agrees(said: unknown, shown: unknown): boolean {
  if (typeof said !== "string" || typeof shown !== "string")
    return canonicalJson(said ?? null) === canonicalJson(shown ?? null);
  if (storable(shown) === said) return true;
  return said.endsWith("…") && shown.startsWith(said.slice(0, -1));
}

function lackOf({ event, at }: Lacking, count: number, missing: number): string {
  const told = missing === 0 ? "" : `, and the files themselves tell of ${missing}`;
  return `${count} decisions of the audit log have no line${told}; the first is ${event} of ${new Date(at).toISOString()}`;
}
