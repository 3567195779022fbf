/**
 * Where the bytes of artifacts are: the store that the configuration names.
 */
import { createDisk, type Disk } from "./features/artifacts/disk.ts";
import type { ObjectStore } from "./features/artifacts/object-store.ts";
import { createS3Store } from "./features/artifacts/s3.ts";
import type { Config } from "./platform/config.ts";
import type { DataDir } from "./platform/data-dir.ts";
import { type Log, silentLog } from "./platform/log.ts";

type Input = {
  config: Pick<Config, "storage">;
  dir: DataDir;
  addresses: () => { publicUrl: string };
  log: Log;
};

/** For a gateway, which alone takes uploads into its data dir. */
export async function wireStorage(input: Input): Promise<Storage> {
  const { addresses, log } = input;
  const storage = openStorage({ ...input, publicUrl: () => addresses().publicUrl });
  // Loads what it needs, so that no caller waits for it, and says early when the store is away.
  void storage.objects.check().catch(() => undefined);
  // Nobody else uploads here, so what is unfinished now will never be finished.
  await storage.disk
    ?.sweepPartials(0)
    .catch((error: unknown) => log.warn("unfinished uploads remain", { error }));
  return storage;
}

export type StorageNeeds = {
  config: Pick<Config, "storage">;
  dir: DataDir;
  publicUrl: () => string;
  log?: Log;
};

export type Storage = {
  readonly objects: ObjectStore;
  /** Null: callers go to another host for the bytes, and there is nothing at /blobs. */
  readonly disk: Disk | null;
};

export function openStorage({ config: { storage }, dir, publicUrl, log = silentLog }: StorageNeeds): Storage {
  if (storage.kind === "s3") return { objects: createS3Store(storage, { log }), disk: null };
  const disk = createDisk({
    place: localPlace(dir.instance),
    root: dir.file("blobs"),
    key: dir.secretFile("blobs-key", 32),
    publicUrl,
  });
  return { objects: disk, disk };
}

export const localPlace = (instance: string): string => `local ${instance}`;
