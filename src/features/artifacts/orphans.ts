/**
 * Objects that no row knows of: of an upload that ended after its row was purged, or of rows that a restored database has
 * lost.
 *
 * The database is asked after the object was seen. Its row was there before anybody could upload it, so one that is found
 * without a row has lost it. Young ones stay, for whoever restores a backup today; what belongs to no owner of this
 * database stays for good, because another gateway may have it in the same bucket.
 */
import type { Database } from "../../db/database.ts";
import type { SweepTerms } from "../../db/sweep.ts";
import type { Clock } from "../../platform/clock.ts";
import { keyPrefixes, partsOf } from "./key.ts";
import type { ListedObject, ObjectStore } from "./object-store.ts";
import type { Gone } from "./purge.ts";
import { removeObjects } from "./removal.ts";
import { listKept, listOwners } from "./store-orphans.ts";

export type OrphansNeeds = {
  database: Pick<Database, "db">;
  objects: ObjectStore;
  clock: Pick<Clock, "now">;
};

/** `foreign`: old objects whose key this gateway did not make, or whose owner it does not know. */
export type OrphansGone = Gone & { foreign: number };

const orphanedMs = 7 * 86_400_000;
const batchObjects = 500;

/** Throws 503 `storage_unavailable` when the store is away from the start. */
export async function sweepOrphans(needs: OrphansNeeds, terms: SweepTerms): Promise<OrphansGone> {
  const gone: OrphansGone = { objects: 0, bytes: 0, failed: 0, error: null, foreign: 0 };
  let batch: ListedObject[] = [];
  const settle = async () => {
    const found = batch;
    batch = [];
    await sweepBatch(needs, terms, found, gone);
  };
  for (const prefix of keyPrefixes) {
    for await (const found of oldOnes(needs, prefix)) {
      batch.push(found);
      if (batch.length === batchObjects) await settle();
      if (terms.signal?.aborted) return gone;
    }
  }
  await settle();
  return gone;
}

async function* oldOnes({ objects, clock }: OrphansNeeds, prefix: string): AsyncIterable<ListedObject> {
  const before = clock.now() - orphanedMs;
  for await (const found of objects.list(prefix)) if (found.modifiedAt.getTime() < before) yield found;
}

async function sweepBatch(
  { database, objects }: OrphansNeeds,
  { dryRun, signal }: SweepTerms,
  found: readonly ListedObject[],
  gone: OrphansGone,
): Promise<void> {
  const ours = found.flatMap((object) => {
    const parts = partsOf(object.key);
    return parts === null ? [] : [{ ...object, ...parts }];
  });
  const owners = await listOwners(
    database.db,
    ours.map(({ owner }) => owner),
  );
  const known = ours.filter(({ owner }) => owners.has(owner));
  gone.foreign += found.length - known.length;
  const kept = await listKept(
    database.db,
    known.map(({ id }) => id),
  );
  const orphans = known.filter(({ id }) => !kept.has(id));
  const { removed, failed, error } = dryRun
    ? { removed: orphans, failed: [], error: null }
    : await removeObjects(objects, orphans, signal);
  gone.objects += removed.length;
  gone.bytes += removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  gone.failed += failed.length;
  gone.error = error ?? gone.error;
}
