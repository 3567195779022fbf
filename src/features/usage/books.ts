/**
 * Keeping the books of a call: START before it is sent, END when it is over.
 *
 * Two ways, one promise: when `durable` and `end` resolve, the record survives the process and the machine. On disk it
 * is the journal that keeps it, and Postgres hears of it a moment later (drain.ts). With SPECGATE_JOURNAL=database it is
 * Postgres itself, and a call waits for a commit. Neither ever resolves for a record that is not safe.
 */
import type { Database } from "../../db/database.ts";
import type { EndRecord, LedgerRecord, StartRecord } from "../../db/ledger.ts";
import { Failure } from "../../platform/failure.ts";
import type { Log } from "../../platform/log.ts";
import { mergeBatch, type Owner } from "./merge.ts";

export type Books = {
  /**
   * Throws `no_room` or `journal_unavailable` when nothing may be sent. The call may be sent when `written` resolves,
   * and its first byte may go to the caller when `durable` does.
   */
  start(record: StartRecord): { written: Promise<void>; durable: Promise<void> };
  /** Resolves when durable; rejects when it cannot be made durable. */
  end(record: EndRecord): Promise<void>;
};

/** What the disk's way needs of the journal. */
export type BooksJournal = {
  start(key: string, json: string): { written: Promise<void>; durable: Promise<void> };
  end(key: string, json: string): { durable: Promise<void> };
};

const recordKey = (record: { req: string; att: number }): string => `${record.req}/${record.att}`;

export function diskBooks(journal: BooksJournal): Books {
  return {
    start: (record) => {
      try {
        return journal.start(recordKey(record), JSON.stringify(lean(record)));
      } catch (error) {
        throw tooManyBudgets(record, error) ?? error;
      }
    },
    end: async (record) => await journal.end(recordKey(record), JSON.stringify(record)).durable,
  };
}

/** What of a record that is too large its caller cannot see. */
function tooManyBudgets({ periods }: StartRecord, error: unknown): Failure | null {
  if (!(error instanceof Failure) || error.code !== "record_too_large" || periods === null) return null;
  const { kind, code, message } = error;
  return new Failure(kind, code, `${message} Among it are the ${periods.length} hard budgets that bind it.`);
}

/** Without the fields that say nothing: most of a START is null, and every byte of it is written, read and sent. */
function lean(record: StartRecord): Partial<StartRecord> {
  const kept: Record<string, unknown> = {};
  for (const name in record) {
    const value = record[name as keyof StartRecord];
    if (value !== null) kept[name] = value;
  }
  return kept;
}

export const batchMax = 500;
const waitingMax = 10_000;
const retryMs = 500;

type Waiting = { record: StartRecord | EndRecord; json: string; done: PromiseWithResolvers<void> };

/** One batch in flight; what arrives meanwhile goes with the next. Call `close` to wait for what is still to be told. */
export function databaseBooks(needs: { sql: Database["sql"]; owner: Owner; log: Log }): Books & {
  close(): Promise<void>;
} {
  const books = new DatabaseBooks(needs);
  return {
    start(record) {
      const durable = books.add(record);
      // The same promise twice: without a journal a call is written down when it is committed, and not before.
      return { written: durable, durable };
    },
    end: (record) => books.add(record),
    close: () => books.close(),
  };
}

class DatabaseBooks {
  #waiting: Waiting[] = [];
  /** Outcomes whose callers were told that they could not be kept; told to Postgres as soon as it is back. */
  #late: string[] = [];
  /** The last transaction failed. What is late then asks again and again whether the database is back. */
  #away = false;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(private readonly needs: { sql: Database["sql"]; owner: Owner; log: Log }) {}

  add(record: StartRecord | EndRecord): Promise<void> {
    // An END always finds room: its call has already been sent.
    if (record.t === "start" && (this.#away || this.#waiting.length >= waitingMax)) throw notKept();
    const done = Promise.withResolvers<void>();
    this.#waiting.push({ record, json: JSON.stringify(record), done });
    this.#running ??= this.#run();
    return done.promise;
  }

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
      else if (!(await this.#writeLate()) && this.#closed) return;
    }
    // Before anything else can run: what is added from now on begins a run of its own.
    this.#running = undefined;
  }

  async #write(batch: Waiting[]): Promise<void> {
    try {
      const records = batch.map((waiting) => waiting.json);
      const merged = await mergeBatch(this.needs.sql, this.needs.owner, this.#batch(records));
      const refused = new Map(
        merged.outcome === "merged" ? merged.refused.map((one) => [one.record, one.error]) : [],
      );
      this.#away = false;
      for (const { json, done } of batch) {
        if (refused.has(json)) done.reject(notKept(refused.get(json)));
        else done.resolve();
      }
    } catch (error) {
      this.#away = true;
      // Everyone who waits is told at once; each of them would otherwise wait for a time limit of its own.
      for (const waiting of [...batch, ...this.#waiting.splice(0)]) {
        this.#remember(waiting.record);
        waiting.done.reject(notKept(error));
      }
    }
  }

  /** A lost answer may hide a commit, so a START whose call was never sent is followed by its end. */
  #remember(record: StartRecord | EndRecord): void {
    const records: LedgerRecord[] = record.t === "start" ? [record, neverSent(record)] : [record];
    this.#late.push(...records.map((one) => JSON.stringify(one)));
  }

  async #writeLate(): Promise<boolean> {
    const records = this.#late.slice(0, batchMax);
    try {
      await mergeBatch(this.needs.sql, this.needs.owner, this.#batch(records));
      this.#late.splice(0, records.length);
      this.#away = false;
      return true;
    } catch (error) {
      this.needs.log.warn("the database does not take the books yet", { records: this.#late.length, error });
      if (!this.#closed) await Bun.sleep(retryMs);
      return false;
    }
  }

  #batch(records: string[]) {
    return { records, epoch: this.needs.owner.epoch, reach: null };
  }
}

function neverSent(start: StartRecord): EndRecord {
  const close = {
    state: "failed",
    status: 503,
    cost: 0,
    charged: 0,
    delivery: "none",
    duration_ms: 0,
  } as const;
  return {
    t: "end",
    req: start.req,
    att: start.att,
    state: "failed",
    status: null,
    error: "journal_unavailable",
    usage: null,
    cost: 0,
    delivery: "none",
    first_token_ms: null,
    duration_ms: 0,
    // A further attempt that was never sent leaves the request as the one before it did.
    close: start.att === 1 ? close : null,
  };
}

const notKept = (cause?: unknown): Failure =>
  new Failure("unavailable", "journal_unavailable", "The call cannot be written down right now. Try again.", {
    cause,
  });
