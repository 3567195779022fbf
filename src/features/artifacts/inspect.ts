/**
 * Whether what is in the store is what was announced. The store is asked for size, type and checksum; where it cannot
 * tell a checksum, what is not too large is read back and hashed here.
 */
import { Failure } from "../../platform/failure.ts";
import { Turns } from "../../platform/turns.ts";
import type { ObjectStore } from "./object-store.ts";

export type Announced = {
  readonly owner: string;
  readonly key: string;
  readonly contentType: string;
  readonly sizeBytes: number;
  readonly sha256: string;
};

export type Inspection =
  | { readonly verdict: "match"; readonly etag: string; readonly checkedBy: "store" | "bytes" | "size" }
  | { readonly verdict: "missing" }
  | { readonly verdict: "mismatch"; readonly reason: string };

const readBytesMax = 64 * 1_048_576;
/** Hashing is a core's work and reading takes its time: one artifact of an owner at once, and few in all. */
const turnsOfOwner = new Turns({ atOnce: 1 });
const turnsOfAll = new Turns({ atOnce: 4 });
/** A store that sends less is as good as away. */
const bytesPerSecondMin = 1_048_576;
const graceMs = 15_000;

export async function inspect(objects: ObjectStore, announced: Announced): Promise<Inspection> {
  const { key, owner, sizeBytes, contentType, sha256 } = announced;
  const found = await objects.find(key);
  if (found === null) return { verdict: "missing" };
  if (found.sizeBytes !== sizeBytes) return differs(`${found.sizeBytes} bytes instead of ${sizeBytes}`);
  if (found.contentType !== null && plain(found.contentType) !== plain(contentType))
    return differs("another type");
  const { etag } = found;
  if (found.sha256 !== null) {
    return found.sha256 === sha256
      ? { verdict: "match", etag, checkedBy: "store" }
      : differs("another checksum");
  }
  if (sizeBytes > readBytesMax) return { verdict: "match", etag, checkedBy: "size" };
  const read = await turnsOfOwner.run(owner, () =>
    turnsOfAll.run("reading back", async () => hashOf(await objects.read(key), sizeBytes)),
  );
  return read === sha256 ? { verdict: "match", etag, checkedBy: "bytes" } : differs("another checksum");
}

const differs = (reason: string): Inspection => ({ verdict: "mismatch", reason });

const plain = (type: string): string => type.toLowerCase().replaceAll(" ", "");

async function hashOf(stream: ReadableStream<Uint8Array>, sizeBytes: number): Promise<string> {
  const deadline = performance.now() + graceMs + (sizeBytes / bytesPerSecondMin) * 1_000;
  const hash = new Bun.CryptoHasher("sha256");
  // Leaving the loop cancels the stream.
  for await (const chunk of stream) {
    if (performance.now() > deadline) throw tooSlow();
    hash.update(chunk);
  }
  return hash.digest("hex");
}

const tooSlow = (): Failure =>
  new Failure(
    "unavailable",
    "storage_unavailable",
    "The object store is too slow to be read back now. Try again.",
    {
      retryAfterSeconds: 10,
    },
  );
