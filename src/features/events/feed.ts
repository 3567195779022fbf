/**
 * The event feed of one process: reads the log in commit order and hands each row to whoever listens, once.
 *
 * It reads on a word from the database, and each second besides, so that a lost word costs a second and nothing else. It
 * never passes a transaction that could still commit. Whoever joins gets the feed's place in the log with the first row
 * after it, so that reading up to there and listening from there neither skips nor repeats.
 */
import type { Database } from "../../db/database.ts";
import type { Log } from "../../platform/log.ts";
import { type EventRow, findHorizon, notifyEvents, type Position, readEvents } from "./store.ts";

/** Hears rows in the log's order. Must not throw. */
export type Listener = (rows: readonly EventRow[]) => void;

const channel = "specgate_events";
const pollMs = 1_000;
/** One word per instance in this time, however many changes. */
const wordsEveryMs = 50;
/** When something is written but a transaction before it still runs: at first, and then twice as long each time. */
const waitingMs = 25;
const rowsMax = 1_000;

export class EventFeed {
  readonly #needs: { database: Database; log: Log };
  readonly #listeners = new Set<Listener>();
  readonly #waiters = new Set<() => void>();
  #place: Position = { xid: "0", id: 0 };
  #reading: Promise<void> | null = null;
  #again = false;
  #closed = false;
  #away = false;
  #poll: Timer | null = null;
  #soon: Timer | null = null;
  #patienceMs = waitingMs;
  #word: Timer | null = null;

  constructor(needs: { database: Database; log: Log }) {
    this.#needs = needs;
  }

  /** Begins at the log's current end. Throws when the database is away. */
  async start(): Promise<void> {
    const { db, direct } = this.#needs.database;
    this.#place = { xid: (await findHorizon(db)).horizon, id: 0 };
    this.#poll = setInterval(() => void this.read(), pollMs);
    const read = () => void this.read();
    await direct.listen(channel, read, read);
  }

  /** Where the log has been read up to. */
  get place(): Position {
    return this.#place;
  }

  /** Returns how to stop. What is heard comes right after `place` as it is now. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Call it after a commit that wrote events: they are read here at once, and by the others soon. */
  told(): void {
    void this.read();
    if (this.#closed) return;
    this.#word ??= setTimeout(() => {
      this.#word = null;
      // The rows are there; should the word get lost, they are read within a second anyway.
      notifyEvents(this.#needs.database.db, channel).catch(() => undefined);
    }, wordsEveryMs);
  }

  /** Reads the log to its end, once started. Never throws: a database that is away is read when it is back. */
  async read(): Promise<void> {
    if (this.#closed || this.#poll === null) return;
    this.#again = true;
    this.#reading ??= this.#readAll();
    await this.#reading;
  }

  /** Resolves when something about `subject` was told, the time is over, or `signal` fires. Never rejects. */
  waitFor(subject: string, milliseconds: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiters.add(resolve);
    const stop = this.listen((rows) => {
      if (rows.some(({ payload }) => payload.id === subject)) resolve();
    });
    const timer = setTimeout(resolve, milliseconds);
    const leave = () => resolve();
    signal.addEventListener("abort", leave);
    if (signal.aborted) resolve();
    return promise.finally(() => {
      this.#waiters.delete(resolve);
      stop();
      clearTimeout(timer);
      signal.removeEventListener("abort", leave);
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of [this.#poll, this.#soon, this.#word]) if (timer !== null) clearTimeout(timer);
    for (const leave of this.#waiters) leave();
    await this.#reading;
  }

  async #readAll(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      try {
        await this.#pass();
        this.#away = false;
      } catch (error) {
        if (!this.#away) this.#needs.log.warn("events cannot be read", { error });
        this.#away = true;
      }
    }
    // In the same turn as the loop's last look, so that no word falls between the two.
    this.#reading = null;
  }

  async #pass(): Promise<void> {
    const { db } = this.#needs.database;
    // The horizon first, the rows after it: those below were all decided when it was read.
    const { horizon, waiting } = await findHorizon(db);
    // Transaction ids that went back belong to another cluster, whose log begins anew.
    if (BigInt(horizon) < BigInt(this.#place.xid)) this.#place = { xid: horizon, id: 0 };
    const until = { xid: horizon, id: 0 };
    for (let full = true; full; ) {
      const rows = await readEvents(db, { after: this.#place, until, projectIds: null, rowsMax });
      full = rows.length === rowsMax;
      this.#place = (full ? rows.at(-1) : undefined) ?? until;
      for (const listener of rows.length === 0 ? [] : this.#listeners) listener(rows);
    }
    this.#patienceMs = waiting ? Math.min(pollMs, this.#patienceMs * 2) : waitingMs;
    if (waiting && this.#soon === null && !this.#closed) {
      this.#soon = setTimeout(() => {
        this.#soon = null;
        void this.read();
      }, this.#patienceMs);
    }
  }
}
