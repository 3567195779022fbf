/**
 * Files of a command's own, for bytes that must be whole before anything is done with them. They lose their name as soon
 * as they are made, so that nothing is left of them however the command ends.
 */
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure } from "../platform/failure.ts";
import type { World } from "./world.ts";

/** Empty, readable and writable, and nobody else's. */
export async function withSpool<T>(world: World, work: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await onDisk("a temporary file", () => nameless(world.env.TMPDIR || tmpdir()));
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

async function nameless(parent: string): Promise<FileHandle> {
  const dir = await mkdtemp(join(parent, "specgate-"));
  try {
    return await open(join(dir, "bytes"), "wx+", 0o600);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

export async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; )
    at += (await file.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
}

const pieceBytes = 256 * 1_024;

/** From its beginning to its end, or to `sizeBytes` of it. */
export async function* bytesOf(
  file: FileHandle,
  sizeBytes = Number.POSITIVE_INFINITY,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < sizeBytes; ) {
    // A piece of its own each time: whoever sends it may hold it for a while.
    const piece = new Uint8Array(Math.min(pieceBytes, sizeBytes - at));
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield piece.subarray(0, bytesRead);
  }
}

/** What the disk refuses is a failure that says what was about to be done. */
export async function onDisk<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Failure("no_room", "not_written", `${what} cannot be written: ${why}`, { cause });
  }
}
