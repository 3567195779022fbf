/**
 * What `specgate artifact put` sends: a file, or what comes on standard input, measured and hashed once. It is held open
 * and read again for each try, never in memory as a whole; what is no longer what was measured is not sent to its end.
 */
import { type FileHandle, open } from "node:fs/promises";
import { resolve } from "node:path";
import { Failure } from "../platform/failure.ts";
import type { Meter } from "./artifact-meter.ts";
import { bytesOf, onDisk, withSpool, writeAt } from "./artifact-spool.ts";
import { Misuse, type World } from "./world.ts";

export type Source = {
  readonly sizeBytes: number;
  /** 64 lower-case hexadecimal digits. */
  readonly sha256: string;
  /** Once more from the first byte. Throws `file_changed` before the last bytes of another content leave. */
  bytes(): AsyncGenerator<Uint8Array>;
};

/** `name` is a file's, or `-`. */
export function withSource<T>(
  world: World,
  name: string,
  meter: Meter,
  work: (source: Source) => Promise<T>,
): Promise<T> {
  if (name !== "-") return withFile(world, name, async (file) => work(await sourceOf(file, meter)));
  return withSpool(world, async (file) => {
    meter.begin("reading", null);
    let sizeBytes = 0;
    for await (const piece of world.stdinBytes()) {
      await onDisk("a temporary file", () => writeAt(file, piece, sizeBytes));
      sizeBytes += piece.length;
      meter.at(sizeBytes);
    }
    return work(await sourceOf(file, meter));
  });
}

async function withFile<T>(world: World, name: string, work: (file: FileHandle) => Promise<T>): Promise<T> {
  const unreadable = (error: unknown) =>
    new Misuse([`${name} cannot be read: ${error instanceof Error ? error.message : String(error)}`]);
  const file = await open(resolve(world.cwd, name), "r").catch((error: unknown) => {
    throw unreadable(error);
  });
  try {
    if (!(await file.stat()).isFile())
      throw new Misuse([`${name} is not a file; would be one, or - for standard input`]);
    return await work(file);
  } finally {
    await file.close();
  }
}

async function sourceOf(file: FileHandle, meter: Meter): Promise<Source> {
  const hash = new Bun.CryptoHasher("sha256");
  let sizeBytes = 0;
  meter.begin("reading", (await file.stat()).size);
  for await (const piece of bytesOf(file)) {
    hash.update(piece);
    sizeBytes += piece.length;
    meter.at(sizeBytes);
  }
  const sha256 = hash.digest("hex");
  return { sizeBytes, sha256, bytes: () => unchanged(file, sizeBytes, sha256) };
}

async function* unchanged(file: FileHandle, sizeBytes: number, sha256: string): AsyncGenerator<Uint8Array> {
  const hash = new Bun.CryptoHasher("sha256");
  let readBytes = 0;
  for await (const piece of bytesOf(file, sizeBytes)) {
    hash.update(piece);
    readBytes += piece.length;
    if (readBytes === sizeBytes && hash.digest("hex") !== sha256) throw fileChanged();
    yield piece;
  }
  if (readBytes < sizeBytes) throw fileChanged();
}

const fileChanged = (): Failure =>
  new Failure("conflict", "file_changed", "The file changed while it was uploaded; put it again");
