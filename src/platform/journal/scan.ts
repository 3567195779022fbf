/**
 * Finds every valid frame of a segment, whatever happened to the bytes around it.
 *
 * Frames are read one after the other; where one is bad or missing, the search goes on at each multiple of 8. Text
 * inside a record is never taken for a frame: JSON holds no zero byte, and a frame's length does.
 */
import { type Bytes, paddedLength, readFrame } from "./frame.ts";
import { isZero, segmentHeadBytes } from "./segment.ts";

/** Frames that lie one behind the other, with one lsn after the other. */
export type Run = { firstLsn: number; lastLsn: number; at: number; end: number };
export type Scan = {
  runs: Run[];
  /** The highest lsn that a frame here says was synced. */
  durable: number;
  /** Where the first bytes lie that are no frame, behind the last frame. */
  litterAt: number | undefined;
};

export function scanSegment(bytes: Bytes, seed: number): Scan {
  const runs: Run[] = [];
  let durable = 0;
  let run: Run | undefined;
  let at = segmentHeadBytes;
  while (at < bytes.buffer.length) {
    const frame = readFrame(bytes, at, seed);
    if (frame === undefined) {
      run = undefined;
      at = Math.max(at + 8, nextNonZero(bytes.buffer, at));
      continue;
    }
    if (run !== undefined && frame.lsn === run.lastLsn + 1) run.lastLsn = frame.lsn;
    else {
      run = { firstLsn: frame.lsn, lastLsn: frame.lsn, at, end: at };
      runs.push(run);
    }
    durable = Math.max(durable, frame.durable);
    at = paddedLength(frame.end);
    run.end = at;
  }
  const end = runs.at(-1)?.end ?? segmentHeadBytes;
  const litter = nextNonZero(bytes.buffer, end);
  return { runs, durable, litterAt: litter < bytes.buffer.length ? litter : undefined };
}

const stretchBytes = 64 * 1024;

/** The first multiple of 8, from `from` on, at which a word is not zero; the end when there is none. */
function nextNonZero(buffer: Buffer, from: number): number {
  let at = from;
  while (at < buffer.length && isZero(buffer.subarray(at, at + stretchBytes))) at += stretchBytes;
  while (at < buffer.length && isZero(buffer.subarray(at, at + 8))) at += 8;
  return Math.min(at, buffer.length);
}
