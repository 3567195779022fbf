/**
 * Carries the journal's records into Postgres: one drain per instance, oldest epoch first, then the live journal.
 *
 * A batch is one transaction of at most 500 records; a batch follows at once while more are waiting, else after 100 ms.
 * While the database is away nothing is lost: the journal keeps everything, and the drain goes on where the database says it stands. When the database
 * stands further back than it did (a failover, a restore), its records are merged again from there.
 * It never parses a record and never drops one: a record that Postgres refuses in every form is logged whole.
 */
import type { Database } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Log } from "../../platform/log.ts";
import { settleOlderHolds } from "./lost-holds.ts";
import { mergeBatch, type Notes, type Owner } from "./merge.ts";
import { closeForgotten, findWatermarks } from "./watermarks.ts";

export type Tail = { records: string[]; lastLsn: number };

export type LiveJournal = {
  /** Durable records after this lsn, in order. */
  read(afterLsn: number, recordsMax: number): Promise<Tail>;
  durableLsn(): number;
  /** Everything up to this lsn is in Postgres. */
  drained(lsn: number): void;
};

export type OldJournals = {
  readonly epochs: readonly number[];
  read(epoch: number, afterLsn: number, recordsMax: number): Promise<Tail>;
  drained(epoch: number, lsn: number): void;
};

export type DrainNeeds = {
  sql: Database["sql"];
  owner: Owner;
  /** The kernel's. */
  bootId: string;
  journal: LiveJournal;
  recovered: OldJournals;
  /** What others wrote into the journal beside the calls. */
  notes: Notes;
  clock: Clock;
  log: Log;
};

export type Drain = {
  start(): void;
  /** How many durable records Postgres does not have yet, and for how long that has been so. */
  lag(): { records: number; seconds: number };
  /** Resolves when everything that is durable now is in Postgres; rejects when the drain stops before. */
  settled(): Promise<void>;
  /** Finishes the batch in hand and stops. */
  stop(): Promise<void>;
};

const recordsMax = 500;
const pauseMs = 100;
const retryMsMax = 1_000;

export function createDrain(needs: DrainNeeds): Drain {
  return new JournalDrain(needs);
}

type Waiter = { lsn: number; done: PromiseWithResolvers<void> };

class JournalDrain implements Drain {
  #running: Promise<void> | undefined;
  #stopped = false;
  /** The database's watermark of the live journal, once it has been asked. */
  #merged = 0;
  #oldDone = false;
  #forgottenDone = false;
  /** Everything that was durable at this time is in Postgres. */
  #even: number;
  /** Everything up to this lsn was durable at this time. */
  #goal: { lsn: number; at: number };
  #waiters: Waiter[] = [];
  #wake: () => void = () => {};

  constructor(private readonly needs: DrainNeeds) {
    this.#even = needs.clock.monotonic();
    this.#goal = { lsn: 0, at: this.#even };
  }

  start(): void {
    this.#running ??= this.#run();
  }

  lag(): { records: number; seconds: number } {
    const records = Math.max(0, this.needs.journal.durableLsn() - this.#merged);
    const behind = records > 0 || !this.#oldDone;
    return { records, seconds: behind ? (this.needs.clock.monotonic() - this.#even) / 1000 : 0 };
  }

  settled(): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#waiters.push({ lsn: this.needs.journal.durableLsn(), done });
    this.#settle();
    this.#wake();
    return done.promise;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#running;
    for (const { done } of this.#waiters.splice(0)) done.reject(new Error("the drain has stopped"));
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stopped) {
      try {
        await this.#drainAll(() => {
          if (failures > 0)
            this.needs.log.info("the ledger is being drained again", { records: this.lag().records });
          failures = 0;
        });
      } catch (error) {
        if (failures === 0) this.needs.log.warn("the ledger cannot be drained right now", { error });
        failures += 1;
        await this.#pause(Math.min(retryMsMax, pauseMs * 2 ** (failures - 1)));
      }
    }
  }

  /** Begins with the database's own watermarks, because after a failure it may be another database. */
  async #drainAll(reached: () => void): Promise<void> {
    const watermarks = await findWatermarks(this.needs.sql, this.needs.owner);
    reached();
    this.#oldDone = false;
    for (const epoch of this.needs.recovered.epochs.toSorted((a, b) => a - b)) {
      await this.#drainOld(epoch, watermarks.get(epoch) ?? 0);
    }
    this.#oldDone = true;
    this.#merged = watermarks.get(this.needs.owner.epoch) ?? 0;
    this.#settle();
    while (!this.#stopped) {
      const more = await this.#drainLive();
      if (!more) await this.#pause(pauseMs);
    }
  }

  async #drainOld(epoch: number, watermark: number): Promise<void> {
    const { recovered } = this.needs;
    let after = watermark;
    while (!this.#stopped) {
      const tail = await recovered.read(epoch, after, recordsMax);
      if (tail.lastLsn <= after) {
        recovered.drained(epoch, after);
        return;
      }
      after = await this.#merge(epoch, after, tail);
    }
  }

  /** Returns whether more may be waiting already. */
  async #drainLive(): Promise<boolean> {
    const { journal, owner, clock } = this.needs;
    // Under steady load there are always records on their way; what counts is how long the oldest has been.
    if (this.#merged >= this.#goal.lsn) {
      this.#even = this.#goal.at;
      this.#goal = { lsn: journal.durableLsn(), at: clock.monotonic() };
    }
    if (journal.durableLsn() > this.#merged) {
      const tail = await journal.read(this.#merged, recordsMax);
      if (tail.lastLsn > this.#merged) {
        this.#merged = await this.#merge(owner.epoch, this.#merged, tail);
        journal.drained(this.#merged);
        this.#settle();
      }
      if (tail.records.length >= recordsMax) return true;
    }
    if (!this.#forgottenDone) await this.#closeForgotten();
    return false;
  }

  /** Everything that earlier boots wrote down is merged; what has no end by now will have none. */
  async #closeForgotten(): Promise<void> {
    const { owner, bootId, sql, log } = this.needs;
    const closed = await closeForgotten(sql, owner);
    if (closed > 0) log.info("calls of an earlier run had no end", { requests: closed });
    const { dropped, charged } = await settleOlderHolds(sql, owner, bootId);
    if (dropped + charged > 0) log.info("an earlier run held money", { dropped, charged });
    this.#forgottenDone = true;
  }

  /** Returns the lsn to go on after. */
  async #merge(epoch: number, after: number, tail: Tail): Promise<number> {
    const reach = { after, to: tail.lastLsn };
    const { sql, owner, notes } = this.needs;
    const merged = await mergeBatch(sql, owner, { records: tail.records, epoch, reach }, notes);
    if (merged.outcome === "behind") {
      this.needs.log.warn("the database has lost ledger rows; they are merged again", {
        epoch,
        from: merged.lsn,
        to: after,
      });
      return merged.lsn;
    }
    for (const { record, error } of merged.refused)
      this.needs.log.error("a ledger record could not be stored", { epoch, record, error });
    return tail.lastLsn;
  }

  #settle(): void {
    if (!this.#oldDone) return;
    const reached = this.#waiters.filter((waiter) => waiter.lsn <= this.#merged);
    this.#waiters = this.#waiters.filter((waiter) => waiter.lsn > this.#merged);
    for (const { done } of reached) done.resolve();
  }

  async #pause(milliseconds: number): Promise<void> {
    if (this.#stopped) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, milliseconds);
    this.#wake = resolve;
    await promise;
    clearTimeout(timer);
  }
}
