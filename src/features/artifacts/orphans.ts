/**
 * Objects that should be gone: of an upload that ended after its row was purged.
 *
 * No row is ever deleted, so an object without one says something of the database: an older backup was restored, or it is
 * a copy whose original goes on with the same bucket. The object may be all that is left, or somebody else's, so it is
 * counted and stays until somebody says that it may go. What belongs to no owner of this database stays whatever anybody
 * says: another gateway may have it in the same bucket. Young ones are not looked at.
 */
import type { Database } from "../../db/database.ts";
import type { SweepTerms } from "../../db/sweep.ts";
import type { Clock } from "../../platform/clock.ts";
import { keyPrefixes, partsOf } from "./key.ts";
import type { ListedObject, ObjectStore } from "./object-store.ts";
import type { Gone } from "./purge.ts";
import { removeObjects } from "./removal.ts";
import { findPurged, listOwners } from "./store-orphans.ts";

export type OrphansNeeds = {
  database: Pick<Database, "db">;
  objects: ObjectStore;
  clock: Pick<Clock, "now">;
};

export type OrphansTerms = SweepTerms & {
  /** Those that have no row go too. */
  readonly unknownObjects?: boolean | undefined;
};

export type OrphansGone = Gone & {
  /** Old objects whose key this gateway did not make, or whose owner it does not know. */
  foreign: number;
  /** Old objects of owners who are known, which have no row and stay. */
  unknown: number;
};

const orphanedMs = 7 * 86_400_000;
const batchObjects = 500;

/** Throws 503 `storage_unavailable` when the store is away from the start. */
export async function sweepOrphans(needs: OrphansNeeds, terms: OrphansTerms): Promise<OrphansGone> {
  const gone: OrphansGone = { objects: 0, bytes: 0, failed: 0, error: null, foreign: 0, unknown: 0 };
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
  { dryRun, signal, unknownObjects = false }: OrphansTerms,
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
  // Asked after the object was seen; its row was there before anybody could upload it.
  const purged = await findPurged(
    database.db,
    known.map(({ id }) => id),
  );
  const orphans = known.filter(({ id }) => purged.get(id) ?? unknownObjects);
  if (!unknownObjects) gone.unknown += known.filter(({ id }) => !purged.has(id)).length;
  const { removed, failed, error } = dryRun
    ? { removed: orphans, failed: [], error: null }
    : await removeObjects(objects, orphans, signal);
  gone.objects += removed.length;
  gone.bytes += removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  gone.failed += failed.length;
  gone.error = error ?? gone.error;
}
