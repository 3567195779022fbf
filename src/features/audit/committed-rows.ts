/**
 * Rows that are in Postgres when their promise resolves: one transaction in flight, and what arrives meanwhile goes
 * with the next. When a transaction fails everyone who waits is told at once, because each of them would otherwise wait
 * for a time limit of its own.
 */
import type { Database } from "../../db/database.ts";
import { storableJson } from "../../db/storable.ts";
import { Failure } from "../../platform/failure.ts";
import type { Log } from "../../platform/log.ts";
import type { DecisionRow } from "./decision-row.ts";
import { insertDecided } from "./store.ts";

export type CommittedRowsNeeds = { sql: Database["sql"]; epoch: number; log: Log };

const batchMax = 500;
const waitingMax = 10_000;
const retryMs = 500;

type Waiting = { json: string; done: PromiseWithResolvers<void> };

export class CommittedRows {
  #waiting: Waiting[] = [];
  /** What has happened and must be told, though whoever asked was told that it could not be. */
  #late: string[] = [];
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(private readonly needs: CommittedRowsNeeds) {}

  /** Rejects with `unavailable` when the row may not be there. */
  add(row: DecisionRow): Promise<void> {
    if (this.#waiting.length >= waitingMax) return Promise.reject(notCommitted());
    const done = Promise.withResolvers<void>();
    this.#waiting.push({ json: jsonOf(row), done });
    this.#running ??= this.#run();
    return done.promise;
  }

  /** Written as soon as the database takes it; lost only with the process. */
  addLate(row: DecisionRow): void {
    if (this.#late.length < waitingMax) this.#late.push(jsonOf(row));
    else this.needs.log.error("a decision could not be recorded", { row });
    this.#running ??= this.#run();
  }

  /** Waits for what is under way, and tries once more to tell what is late. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    // One turn of the event loop gathers what arrives together.
    await Promise.resolve();
    while (this.#waiting.length > 0 || this.#late.length > 0) {
      const batch = this.#waiting.splice(0, batchMax);
      if (batch.length > 0) await this.#write(batch);
      else if (!(await this.#writeLate()) && this.#closed) break;
    }
    // Before anything else can run: what is added from now on begins a run of its own.
    this.#running = undefined;
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    try {
      await this.#commit(batch.map(({ json }) => json));
      for (const { done } of batch) done.resolve();
    } catch (error) {
      const failure = notCommitted(error);
      for (const { done } of [...batch, ...this.#waiting.splice(0)]) done.reject(failure);
    }
  }

  async #writeLate(): Promise<boolean> {
    const rows = this.#late.slice(0, batchMax);
    try {
      await this.#commit(rows);
      this.#late.splice(0, rows.length);
      return true;
    } catch (error) {
      this.needs.log.warn("the database does not take the audit log's rows yet", {
        rows: this.#late.length,
        error,
      });
      if (!this.#closed) await Bun.sleep(retryMs);
      return false;
    }
  }

  async #commit(rows: readonly string[]): Promise<void> {
    const { sql, epoch } = this.needs;
    await sql.begin((tx) => insertDecided(tx, epoch, `[${rows.join(",")}]`));
  }
}

const jsonOf = (row: DecisionRow): string => storableJson(JSON.stringify(row));

const notCommitted = (cause?: unknown): Failure =>
  new Failure(
    "unavailable",
    "unavailable",
    "The call could not be written to the audit log, so it was not made. Try again.",
    { cause },
  );
