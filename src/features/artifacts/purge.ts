/**
 * What goes: uploads that nobody completed, artifacts whose time is over, those that were rejected or deleted.
 *
 * The object goes first, then the row is marked, so that a crash between the two leaves work to do again and never an
 * object that nobody knows of. Doing it twice, or in two places at once, is as good as once.
 */
import type { Actor } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { Database } from "../../db/database.ts";
import type { Log } from "../../platform/log.ts";
import type { ObjectStore } from "./object-store.ts";
import { type ArtifactRow, listDue, markPurged } from "./store.ts";
import { follow } from "./view.ts";

export type PurgeNeeds = { database: Database; changes: Changes; objects: ObjectStore; log: Log };

const batchRows = 200;
const removalsAtOnce = 8;

/** Nobody asked: their time was over. */
const gateway: Actor = {
  id: "specgate",
  kind: "system",
  clientId: null,
  ip: null,
  userAgent: null,
  requestId: null,
};

export class Purge {
  readonly #needs: PurgeNeeds;

  constructor(needs: PurgeNeeds) {
    this.#needs = needs;
  }

  /** Everything that is due. Returns how many artifacts, and how many bytes, are gone. */
  async run(): Promise<{ artifacts: number; bytes: number }> {
    const { database, objects } = this.#needs;
    const gone = { artifacts: 0, bytes: 0 };
    for (let after = ""; ; ) {
      const due = await listDue(database.db, objects.place, after, batchRows);
      const last = due.at(-1);
      if (last === undefined) return gone;
      after = last.id;
      for (const { sizeBytes } of await this.#bury(due)) {
        gone.artifacts += 1;
        gone.bytes += sizeBytes;
      }
    }
  }

  /** Their objects alone. Returns the ids of those that are gone; what the store does not let go stays for the next time. */
  async remove(rows: readonly ArtifactRow[]): Promise<string[]> {
    const { objects, log } = this.#needs;
    const waiting = rows.filter(({ place, status }) => place === objects.place && status !== "purged");
    const removed: string[] = [];
    const work = async () => {
      for (let row = waiting.pop(); row !== undefined; row = waiting.pop()) {
        try {
          await objects.remove(row.key);
          removed.push(row.id);
        } catch (error) {
          log.warn("an object could not be removed", { artifact: row.id, error });
        }
      }
    };
    await Promise.all(Array.from({ length: removalsAtOnce }, work));
    return removed;
  }

  async #bury(due: readonly ArtifactRow[]): Promise<ArtifactRow[]> {
    const ids = await this.remove(due);
    return this.#needs.changes.make(gateway, async (change) => {
      const purged = await markPurged(change.tx, ids);
      for (const row of purged) await follow(change, "purged", row, { size_bytes: row.sizeBytes });
      return purged;
    });
  }
}
