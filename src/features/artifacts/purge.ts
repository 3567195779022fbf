/**
 * What goes: uploads that nobody completed, artifacts whose time is over, those that were rejected or deleted.
 *
 * The object goes first, then the row is marked, so that a crash between the two leaves work to do again and never an
 * object that nobody knows of. Doing it twice, or in two places at once, is as good as once. What the store does not let
 * go stays, row and all, for the next time.
 */
import type { Actor } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { Database } from "../../db/database.ts";
import { forGood, type SweepTerms } from "../../db/sweep.ts";
import type { Log } from "../../platform/log.ts";
import type { ObjectStore } from "./object-store.ts";
import { removeObjects } from "./removal.ts";
import { type ArtifactRow, listDue, markPurged } from "./store.ts";
import { follow } from "./view.ts";

export type PurgeNeeds = { database: Database; changes: Changes; objects: ObjectStore; log: Log };

/** What became of what was due, or of the objects nobody knows of. */
export type Gone = {
  objects: number;
  bytes: number;
  /** Those that the store did not let go, and why the last one. */
  failed: number;
  error: unknown;
};

const batchRows = 200;

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

  /** Everything that is due. Throws 503 `storage_unavailable` when the store is away from the start. */
  async run({ dryRun, signal }: SweepTerms = forGood): Promise<Gone> {
    const { database, objects } = this.#needs;
    const gone: Gone = { objects: 0, bytes: 0, failed: 0, error: null };
    for (let after = ""; !signal?.aborted; ) {
      const due = await listDue(database.db, objects.place, after, batchRows);
      const last = due.at(-1);
      if (last === undefined) break;
      if (after === "" && !dryRun) await objects.check();
      after = last.id;
      if (dryRun) add(gone, due);
      // A store that let none of so many go will not let the others go either.
      else if ((await this.#bury(due, gone, signal)) === batchRows) break;
    }
    return gone;
  }

  /** Their objects alone; what the store does not let go stays for the next run. */
  async remove(rows: readonly ArtifactRow[]): Promise<void> {
    const { objects, log } = this.#needs;
    const here = rows.filter(({ place, status }) => place === objects.place && status !== "purged");
    const { failed, error } = await removeObjects(objects, here);
    for (const { id } of failed) log.warn("an object could not be removed yet", { artifact: id, error });
  }

  /** Returns how many failed. */
  async #bury(due: readonly ArtifactRow[], gone: Gone, signal?: AbortSignal): Promise<number> {
    const { objects, changes } = this.#needs;
    const { removed, failed, error } = await removeObjects(objects, due, signal);
    gone.failed += failed.length;
    gone.error = error ?? gone.error;
    if (removed.length === 0) return failed.length;
    const ids = removed.map(({ id }) => id);
    const purged = await changes.make(gateway, async (change) => {
      const rows = await markPurged(change.tx, ids);
      for (const row of rows) await follow(change, "purged", row, { size_bytes: row.sizeBytes });
      return rows;
    });
    add(gone, purged);
    return failed.length;
  }
}

const add = (gone: Gone, rows: readonly ArtifactRow[]): void => {
  gone.objects += rows.length;
  gone.bytes += rows.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
};
