/**
 * A segment: one file `<epoch>-<n>.wal` of fixed size, zero-filled and synced before it is used, never used twice.
 *
 * Its first 4 KiB hold a magic word and a line of JSON that says whose it is; frames follow. A file whose head is all
 * zeros was made ready and never begun. Drained ones are cut to their data and renamed `<epoch>-<n>.<last lsn>.drained`:
 * a boot need not read them, and they stay a while for a database that was set back. A head that names another
 * instance, or a format of the future, is refused: such records may be neither believed nor passed over.
 */
import { closeSync, openSync, readdirSync, readSync, renameSync, truncateSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";

export const segmentHeadBytes = 4096;
export const segmentFormat = 1;

export type SegmentName = { file: string; epoch: number; n: number; drainedTo: number | undefined };
export type SegmentHead = {
  format: number;
  instance: string;
  epoch: number;
  boot_id: string;
  n: number;
  first_lsn: number;
};

const magic = Buffer.from("SGWAL\n\0\0", "latin1");
const namePattern = /^(\d+)-(\d+)(?:\.wal|\.(\d+)\.drained)$/;

export const segmentFile = (epoch: number, n: number): string => `${epoch}-${n}.wal`;

/** The segments of a directory, oldest first. */
export function listSegments(dir: string): SegmentName[] {
  const names: SegmentName[] = [];
  for (const file of readdirSync(dir)) {
    const match = namePattern.exec(file);
    if (match === null) continue;
    const drainedTo = match[3] === undefined ? undefined : Number(match[3]);
    names.push({ file, epoch: Number(match[1]), n: Number(match[2]), drainedTo });
  }
  return names.sort((a, b) => a.epoch - b.epoch || a.n - b.n);
}

export function encodeHead(head: SegmentHead): Buffer {
  const block = Buffer.alloc(segmentHeadBytes);
  const text = Buffer.from(`${JSON.stringify(head)}\n`);
  magic.copy(block, 0);
  block.writeUInt32LE(text.length, 8);
  block.writeUInt32LE(crc32(text), 12);
  text.copy(block, 16);
  return block;
}

/** `unused`: made ready and never begun. `damaged`: begun, and its head cannot be read. */
export function readHead(path: string): SegmentHead | "unused" | "damaged" {
  const block = Buffer.alloc(2 * segmentHeadBytes);
  const fd = openSync(path, "r");
  try {
    const length = readSync(fd, block, 0, block.length, 0);
    if (isZero(block.subarray(0, length))) return "unused";
    return decodeHead(block.subarray(0, Math.min(length, segmentHeadBytes))) ?? "damaged";
  } finally {
    closeSync(fd);
  }
}

/** Throws when the head is sound and speaks of another instance, another place or a later format. */
export function assertOurs(head: SegmentHead, name: SegmentName, instance: string): void {
  if (head.format > segmentFormat)
    throw new Error(
      `Journal file ${name.file} has format ${head.format}; this build reads up to ${segmentFormat}.`,
    );
  if (head.instance !== instance)
    throw new Error(`Journal file ${name.file} belongs to instance ${head.instance}, not to ${instance}.`);
  if (head.epoch !== name.epoch || head.n !== name.n)
    throw new Error(`Journal file ${name.file} says it is ${segmentFile(head.epoch, head.n)}.`);
}

/** Marks a segment as wholly in the database: cut to its data, renamed, its time set to now. */
export function retireSegment(dir: string, name: SegmentName, lastLsn: number, bytes: number): string {
  const path = join(dir, name.file);
  const retired = join(dir, `${name.epoch}-${name.n}.${lastLsn}.drained`);
  truncateSync(path, bytes);
  const now = new Date();
  utimesSync(path, now, now);
  renameSync(path, retired);
  return retired;
}

const zeros = Buffer.alloc(64 * 1024);

export function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const end = Math.min(at + zeros.length, bytes.length);
    if (bytes.compare(zeros, 0, end - at, at, end) !== 0) return false;
  }
  return true;
}

function decodeHead(block: Buffer): SegmentHead | undefined {
  if (block.length < 16 || block.compare(magic, 0, 8, 0, 8) !== 0) return undefined;
  const text = block.subarray(16, 16 + block.readUInt32LE(8));
  if (crc32(text) !== block.readUInt32LE(12)) return undefined;
  return JSON.parse(text.toString()) as SegmentHead;
}
