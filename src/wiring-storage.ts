/**
 * Where the bytes of artifacts are: the store that the configuration names.
 */
import { createDisk, type Disk } from "./features/artifacts/disk.ts";
import type { ObjectStore } from "./features/artifacts/object-store.ts";
import { createS3Store } from "./features/artifacts/s3.ts";
import type { Config } from "./platform/config.ts";
import type { DataDir } from "./platform/data-dir.ts";

export type StorageNeeds = { config: Pick<Config, "storage">; dir: DataDir; publicUrl: () => string };

export type Storage = {
  readonly objects: ObjectStore;
  /** Null: callers go to another host for the bytes, and there is nothing at /blobs. */
  readonly disk: Disk | null;
};

export function openStorage({ config: { storage }, dir, publicUrl }: StorageNeeds): Storage {
  if (storage.kind === "s3") return { objects: createS3Store(storage), disk: null };
  const disk = createDisk({
    place: `local ${dir.instance}`,
    root: dir.file("blobs"),
    key: dir.secretFile("blobs-key", 32),
    publicUrl,
  });
  return { objects: disk, disk };
}
