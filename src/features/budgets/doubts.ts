/**
 * Holds that nobody wants: of calls that were never sent, and of callers who were told that there is no answer. Given
 * back as soon as the database takes it.
 *
 * A statement whose answer was lost may still be running and commit seconds later, so what it may have held is given
 * back twice: at once, and again when it cannot run any more. What is still here when the process ends is found by the
 * recovery of the next start.
 */
import type { Sql } from "../../db/database.ts";
import type { Log } from "../../platform/log.ts";

const retryMs = 500;
/** Longer than any statement runs: see db/pool.ts. */
const lingersMs = 7_000;
const keptMax = 20_000;

export class Doubts {
  readonly #needs: { sql: Sql; log: Log };
  /** By request, when it is given back for the last time (monotonic); 0: once is enough. */
  readonly #kept = new Map<string, { lastAt: number; isTried: boolean }>();
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(needs: { sql: Sql; log: Log }) {
    this.#needs = needs;
  }

  /** `mayLinger`: the statement that took it may not have ended. */
  add(req: string, mayLinger: boolean): void {
    if (this.#kept.size >= keptMax) {
      this.#needs.log.warn("a hold stays until the next start", { request: req });
      return;
    }
    this.#kept.set(req, { lastAt: mayLinger ? performance.now() + lingersMs : 0, isTried: false });
    this.#running ??= this.#run();
  }

  async settled(): Promise<void> {
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve();
    while (this.#kept.size > 0) {
      const isDone = await this.#give();
      if (this.#stopped) break;
      if (!isDone || this.#kept.size > 0) await Bun.sleep(retryMs);
    }
    this.#running = undefined;
  }

  async #give(): Promise<boolean> {
    const now = performance.now();
    const due = [...this.#kept].filter(([, { lastAt, isTried }]) => !isTried || now >= lastAt);
    const reqs = due.map(([req]) => req);
    if (reqs.length === 0) return true;
    try {
      await this.#needs.sql`select drop_holds(${reqs}::text[])`;
    } catch (error) {
      this.#needs.log.warn("holds cannot be given back right now", { holds: reqs.length, error });
      return false;
    }
    for (const [req, doubt] of due) {
      if (now >= doubt.lastAt) this.#kept.delete(req);
      else doubt.isTried = true;
    }
    return true;
  }
}
