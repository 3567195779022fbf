/**
 * Hears of everything that stops being valid, whoever stopped it: this process, a command beside it, another instance.
 *
 * The log in the database is the truth, read on NOTIFY and each second besides, so that a lost word costs a second and
 * nothing else. A row may become visible after one with a higher xid, so the place to read on from never passes a
 * transaction that could still commit; rows beyond that place are acted on at once and merely read again.
 */
import type { Database } from "../../db/database.ts";
import type { Log } from "../../platform/log.ts";
import { revocationChannel } from "./revocations.ts";
import { type Place, type RevocationPage, readRevocations } from "./store.ts";

export type RevocationFeedNeeds = {
  database: Database;
  /** Called before anyone else, with the subject of each revocation. */
  forget: (subject: string) => void;
  /** Called when it is no longer known what was missed. */
  forgetAll: () => void;
  log: Log;
};

const pollMs = 1_000;
const pageRows = 1_000;

export class RevocationFeed {
  readonly #needs: RevocationFeedNeeds;
  readonly #listeners = new Set<(subject: string) => void>();
  #settledXid = "0";
  /** Rows acted on that are still beyond the settled place. */
  #acted = new Set<number>();
  #reading: Promise<void> | null = null;
  #again = false;
  #closed = false;
  #away = false;
  #timer: Timer | null = null;

  constructor(needs: RevocationFeedNeeds) {
    this.#needs = needs;
  }

  /** Begins at the log's current end. The cache must be empty. Throws when the database is away. */
  async start(): Promise<void> {
    const end = await readRevocations(this.#needs.database.db, { xid: "0", id: 0 }, 0);
    this.#settledXid = end.settledXid;
    this.#timer = setInterval(() => void this.read(), pollMs);
    // postgres.js listens again by itself after a lost connection and then calls the last argument, so that the log
    // is read up to date at once.
    const read = () => void this.read();
    await this.#needs.database.direct.listen(revocationChannel, read, read);
  }

  /** `listener` hears each subject at least once. Returns how to stop. */
  onRevoked(listener: (subject: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The connection that listens is the database's and closes with it: an UNLISTEN could wait for one that is gone. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#reading;
  }

  /** Reads the log to its end, once started. Never throws: a database that is away is read when it is back. */
  async read(): Promise<void> {
    if (this.#closed || this.#timer === null) return;
    this.#again = true;
    this.#reading ??= this.#readAll();
    await this.#reading;
  }

  async #readAll(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      try {
        await this.#pass();
        this.#away = false;
      } catch (error) {
        if (!this.#away) this.#needs.log.warn("revocations cannot be read", { error });
        this.#away = true;
      }
    }
    // In the same turn as the loop's last look, so that no word falls between the two.
    this.#reading = null;
  }

  async #pass(): Promise<void> {
    const { db } = this.#needs.database;
    let place: Place = { xid: this.#settledXid, id: 0 };
    const seen = new Set<number>();
    let first: RevocationPage | null = null;
    for (let full = true; full; ) {
      const page = await readRevocations(db, place, pageRows);
      first ??= page;
      for (const row of page.rows) {
        seen.add(row.id);
        if (!this.#acted.has(row.id)) this.#act(row.subject);
        place = row;
      }
      full = page.rows.length === pageRows;
    }
    this.#acted = seen;
    if (first !== null) this.#advance(first.settledXid);
  }

  #advance(settledXid: string): void {
    // A cluster whose transaction ids went back is another one: what its log said before is not known here.
    if (BigInt(settledXid) < BigInt(this.#settledXid)) this.#needs.forgetAll();
    this.#settledXid = settledXid;
  }

  #act(subject: string): void {
    this.#needs.forget(subject);
    for (const listener of this.#listeners) this.#tell(listener, subject);
  }

  /** One listener's mistake must not keep the log from being read on. */
  #tell(listener: (subject: string) => void, subject: string): void {
    try {
      listener(subject);
    } catch (error) {
      this.#needs.log.error("a listener failed on a revocation", { error });
    }
  }
}
