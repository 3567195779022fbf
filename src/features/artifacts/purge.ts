/**
 * What goes: uploads that nobody completed, artifacts whose time is over, those that were rejected or deleted.
 *
 * The object goes first, then the row is marked, so that a crash between the two leaves work to do again and never an
 * object that nobody knows of. Doing it twice, or in two places at once, is as good as once. What the store does not let
 * go stays, row and all, for the next time.
 */
import { gatewayItself } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { Database } from "../../db/database.ts";
import { forGood, type SweepTerms } from "../../db/sweep.ts";
import { Failure } from "../../platform/failure.ts";
import type { Log } from "../../platform/log.ts";
import type { ObjectStore } from "./object-store.ts";
import { removeObjects } from "./removal.ts";
import { type ArtifactRow, giveRoomBack, listDue, markPurged } from "./store.ts";
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
      if (after === "" && !dryRun) await requireStore(objects);
      after = last.id;
      if (dryRun) add(gone, due);
      // A store that let none of so many go will not let the others go either.
      else if ((await this.#purge(due, gone, signal)) === batchRows) break;
    }
    return gone;
  }

  /**
   * What was ended just now: its objects at once, and the rest where nothing can be uploaded in its name any more. What is
   * left is for the next run. Returns those that are purged. Never throws.
   */
  async bury(rows: readonly ArtifactRow[]): Promise<ArtifactRow[]> {
    const { objects, log } = this.#needs;
    const here = rows.filter(({ place, status }) => place === objects.place && status !== "purged");
    const { removed, failed, error } = await removeObjects(objects, here);
    for (const { id } of failed) log.warn("an object could not be removed yet", { artifact: id, error });
    if (removed.length === 0) return [];
    return this.#mark(removed).catch((reason: unknown) => {
      log.warn("what is gone could not be marked yet", { error: reason });
      return [];
    });
  }

  /** Returns how many failed. */
  async #purge(due: readonly ArtifactRow[], gone: Gone, signal?: AbortSignal): Promise<number> {
    const { removed, failed, error } = await removeObjects(this.#needs.objects, due, signal);
    gone.failed += failed.length;
    gone.error = error ?? gone.error;
    if (removed.length > 0) add(gone, await this.#mark(removed));
    return failed.length;
  }

  /** Those of them that are due. */
  #mark(removed: readonly ArtifactRow[]): Promise<ArtifactRow[]> {
    const ids = removed.map(({ id }) => id);
    return this.#needs.changes.make(gatewayItself, async (change) => {
      const rows = await markPurged(change.tx, ids);
      for (const row of rows) await follow(change, "purged", row, { size_bytes: row.sizeBytes });
      await giveRoomBack(change.tx, rows);
      return rows;
    });
  }
}

/** A full disk takes nothing more, and yet lets go: this is what makes room on it. */
async function requireStore(objects: Pick<ObjectStore, "check">): Promise<void> {
  try {
    await objects.check();
  } catch (error) {
    if (!(error instanceof Failure && error.kind === "no_room")) throw error;
  }
}

const add = (gone: Gone, rows: readonly ArtifactRow[]): void => {
  gone.objects += rows.length;
  gone.bytes += rows.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
};
