/** What is in a store, asked past the gateway: every object with its bytes' hash, and what is not one yet. */
import { createReadStream, existsSync, readdirSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { GetObjectCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import type { Store } from "./artifacts-shelf.ts";
import { sha256Of } from "./artifacts-shelf.ts";

export type Kept = { sizeBytes: number; sha256: string };

/** By key. */
export function objectsOf({ bucket }: Store, dataDir: string): Promise<Map<string, Kept>> {
  return bucket === null ? onDisk(join(dataDir, "blobs")) : inBucket(bucket);
}

/** How many there are, without looking into them. */
export async function countOf({ bucket }: Store, dataDir: string): Promise<number> {
  if (bucket !== null) return (await listed(bucket)).length;
  const root = join(dataDir, "blobs");
  if (!existsSync(root)) return 0;
  const entries = readdirSync(root, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile() && !entry.parentPath.includes(".partial")).length;
}

/** Files of uploads that were under way, with the time of their last byte. */
export function partialsOf(dataDir: string): { path: string; modifiedAt: number }[] {
  const folder = join(dataDir, "blobs/.partial");
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    const found = statSync(path, { throwIfNoEntry: false });
    return found === undefined ? [] : [{ path, modifiedAt: found.mtimeMs }];
  });
}

async function onDisk(root: string): Promise<Map<string, Kept>> {
  const kept = new Map<string, Kept>();
  if (!existsSync(root)) return kept;
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const key = relative(root, path).replaceAll(sep, "/");
    if (!entry.isFile() || key.startsWith(".partial/")) continue;
    const hash = new Bun.CryptoHasher("sha256");
    for await (const piece of createReadStream(path)) hash.update(piece);
    kept.set(key, { sizeBytes: statSync(path).size, sha256: hash.digest("hex") });
  }
  return kept;
}

type Bucket = NonNullable<Store["bucket"]>;

async function inBucket(bucket: Bucket): Promise<Map<string, Kept>> {
  const kept = new Map<string, Kept>();
  const client = clientOf(bucket);
  const look = async (Key: string) => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket.name, Key }));
    const bytes = (await Body?.transformToByteArray()) ?? new Uint8Array();
    kept.set(Key, { sizeBytes: bytes.length, sha256: sha256Of(bytes) });
  };
  try {
    const keys = await listed(bucket);
    for (let at = 0; at < keys.length; at += 50) await Promise.all(keys.slice(at, at + 50).map(look));
  } finally {
    client.destroy();
  }
  return kept;
}

async function listed(bucket: Bucket): Promise<string[]> {
  const client = clientOf(bucket);
  const keys: string[] = [];
  try {
    for (let after: string | undefined, more = true; more; ) {
      const asked = { Bucket: bucket.name, ContinuationToken: after };
      const page = await client.send(new ListObjectsV2Command(asked));
      keys.push(...(page.Contents ?? []).map(({ Key = "" }) => Key));
      after = page.NextContinuationToken;
      more = after !== undefined;
    }
  } finally {
    client.destroy();
  }
  return keys;
}

function clientOf({ server }: Bucket): S3Client {
  const { endpoint, region, accessKeyId, secretAccessKey } = server;
  return new S3Client({
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
  });
}
