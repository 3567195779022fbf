/**
 * Whether artifacts can be kept and fetched: in the data dir, or in a bucket, which is tried as callers will use it.
 *
 * What would refuse every artifact is a failure; what merely weakens a promise, or stops pages, is a warning.
 */
import { existsSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import type { Database } from "../db/database.ts";
import { createS3Store } from "../features/artifacts/s3.ts";
import { type Elsewhere, listElsewhere } from "../features/artifacts/store-orphans.ts";
import type { Config } from "../platform/config.ts";
import type { DataDir } from "../platform/data-dir.ts";
import { fleetingDisk } from "../platform/disk.ts";
import { localPlace } from "../wiring-storage.ts";
import type { Finding } from "./doctor.ts";
import { checkBucket } from "./doctor-bucket.ts";

/** `publicUrl` is where this gateway's own pages come from. */
export async function checkStorage(config: Config, publicUrl: string): Promise<Finding[]> {
  const { storage, corsOrigins } = config;
  if (storage.kind === "local") return checkLocal(config);
  const store = createS3Store(storage);
  try {
    return await checkBucket(store, storage, [...new Set([publicUrl, ...corsOrigins])]);
  } finally {
    await store.close();
  }
}

/** What stayed behind when the gateway was pointed at another store. Where the schema is old there is nothing to tell. */
export async function checkElsewhere(
  { storage }: Config,
  { instance }: DataDir,
  { db }: Pick<Database, "db">,
): Promise<Finding[]> {
  // A store that is only named makes no key.
  const place = storage.kind === "s3" ? createS3Store(storage).place : localPlace(instance);
  const elsewhere = await listElsewhere(db, place).catch(() => []);
  return elsewhere.map((there) => warning(inAnotherStore(there)));
}

/** For whoever reads that nothing more is to go. */
export function inAnotherStore({ place, count, bytes }: Elsewhere): string {
  const artifacts = count === 1 ? "1 artifact" : `${count} artifacts`;
  return (
    `${artifacts} (${bytes} bytes) in another store (${place}): ` +
    "not served and not purged from here, and their room stays taken. Point the gateway at that store to let them go."
  );
}

const name = "storage";
/** Below this every upload is refused: the database and the journal may share the disk. */
const freeBytesMin = 256 * 1024 * 1024;

function checkLocal({ dataDir, gateway }: Config): Finding[] {
  if (!existsSync(dataDir))
    return [{ name, status: "failure", message: `there is no data dir at ${dataDir}` }];
  const blobs = `${dataDir}/blobs`;
  const dir = existsSync(blobs) ? blobs : dataDir;
  try {
    const probe = `${dir}/doctor-${crypto.randomUUID()}`;
    writeFileSync(probe, "", { flag: "wx", mode: 0o600 });
    rmSync(probe);
    const kind = fleetingDisk(dir);
    const message = `${dir} is on ${kind}: mount a volume, or set SPECGATE_STORAGE=s3`;
    return [freeRoom(dir, gateway.artifacts.sizeBytesMax), ...(kind ? [warning(message)] : [])];
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return [{ name, status: "failure", message: `${dir} cannot be written to: ${why}` }];
  }
}

function freeRoom(dir: string, sizeBytesMax: number): Finding {
  const { bavail, bsize } = statfsSync(dir);
  const free = bavail * bsize;
  const message = `artifacts are kept in ${dir}; ${(free / 2 ** 30).toFixed(1)} GiB free`;
  if (free < freeBytesMin) return { name, status: "failure", message: `${message}, so uploads are refused` };
  if (free - sizeBytesMax < freeBytesMin)
    return warning(`${message}, too little for one artifact of artifacts.size_bytes_max`);
  return { name, status: "ok", message };
}

const warning = (message: string): Finding => ({ name, status: "warning", message });
