/**
 * The pins as lists and calls ask for them: in memory, the same on all instances within 2 s.
 *
 * With the database away the last known ones hold.
 */
import type { Database } from "../../db/database.ts";
import type { Log } from "../../platform/log.ts";
import { findPinsStamp, listPins, type PinRow } from "./store.ts";

export type PinBookNeeds = {
  database: Pick<Database, "db">;
  /** Of the upstreams that are configured right now. */
  aliases: () => readonly string[];
  /** Called when something may be different. */
  changed: () => void;
  log: Log;
};

export class PinBook {
  readonly #needs: PinBookNeeds;
  #rows: ReadonlyMap<string, readonly PinRow[]> = new Map();
  #known = "";
  #reading: Promise<void> | null = null;

  constructor(needs: PinBookNeeds) {
    this.#needs = needs;
  }

  of(alias: string): readonly PinRow[] {
    return this.#rows.get(alias) ?? [];
  }

  /** Looks once; never rejects. */
  look(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  /** What was committed before the call is known when it resolves. */
  async refresh(): Promise<void> {
    await this.#reading;
    await this.look();
  }

  async #read(): Promise<void> {
    const { database, aliases, changed, log } = this.#needs;
    const names = aliases();
    if (names.length === 0) return;
    try {
      // The stamp first: what changes between the two is read again.
      const known = `${names.join(" ")} ${await findPinsStamp(database.db)}`;
      if (known === this.#known) return;
      const rows = await listPins(database.db, names);
      this.#rows = new Map(names.map((name) => [name, rows.filter(({ alias }) => alias === name)]));
      this.#known = known;
      changed();
    } catch (error) {
      log.debug("pins of upstream tools not read", { error });
    }
  }
}
