/**
 * The records of one epoch in lsn order, read from its segment files a window at a time.
 *
 * It holds where the frames lie, never the frames. After a failed sync a frame can stand in two segments; stretches
 * are sorted by their first lsn and what was already passed is skipped, so each record is told once, from any sound
 * copy. A mark after each read makes the next one start where it ended.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { type Bytes, bytesOf, type Frame, frameType, jsonIn, paddedLength, readFrame } from "./frame.ts";
import { scanSegment } from "./scan.ts";

/** Frames of one segment with one lsn after the other; `lastLsn` is Infinity while the segment is being written. */
export type Stretch = { path: string; seed: number; at: number; firstLsn: number; lastLsn: number };
export type Reading = { records: string[]; lastLsn: number };
/** Answers whether to go on after this frame. */
export type Visit = (frame: Frame, buffer: Buffer) => boolean;

type Mark = { stretch: Stretch; at: number; lsn: number };
type Walk = { fd: number; seed: number; at: number; lsn: number; stopped: boolean };
type Span = { afterLsn: number; limitLsn: number; visit: Visit };

const windowBytes = 256 * 1024;

export class Chronicle {
  #stretches: Stretch[] = [];
  #marks: Mark[] = [];
  #window: Bytes | undefined;
  readonly #searched = new Set<string>();

  add(stretch: Stretch): void {
    this.#stretches.push(stretch);
    this.#stretches.sort((a, b) => a.firstLsn - b.firstLsn);
  }

  /** From now on a segment is found under another name. */
  moved(path: string, to: string): void {
    for (const stretch of this.#stretches) if (stretch.path === path) stretch.path = to;
    const gone = this.#stretches[0];
    if (gone !== undefined && !existsSync(gone.path)) this.#stretches.shift();
  }

  /** Records after `afterLsn` and up to `limitLsn`; `lastLsn` also counts what was passed over and is no record. */
  read(afterLsn: number, recordsMax: number, limitLsn: number): Reading {
    const records: string[] = [];
    const lastLsn = this.walk(afterLsn, limitLsn, (frame, buffer) => {
      if (frame.type !== frameType.checkpoint) records.push(jsonIn(buffer, frame));
      return records.length < recordsMax;
    });
    return { records, lastLsn };
  }

  /** Shows each frame after `afterLsn` and up to `limitLsn` once, in order; answers the last lsn shown. */
  walk(afterLsn: number, limitLsn: number, visit: Visit): number {
    let lsn = afterLsn;
    for (let i = 0; i < this.#stretches.length; i++) {
      const stretch = this.#stretches[i];
      if (stretch === undefined || stretch.lastLsn <= lsn) continue;
      if (stretch.firstLsn > limitLsn) break;
      const span = { afterLsn: lsn, limitLsn: Math.min(limitLsn, stretch.lastLsn), visit };
      const walked = this.#walkStretch(stretch, span);
      lsn = Math.max(lsn, walked.lsn);
      if (walked.stopped) break;
      // Unreadable where a frame must be: look for what is sound behind it, once for each file.
      if (lsn < span.limitLsn && this.#search(stretch)) i = -1;
    }
    return lsn;
  }

  #walkStretch(stretch: Stretch, span: Span): { lsn: number; stopped: boolean } {
    const mark = this.#marks.find((one) => one.stretch === stretch && one.lsn === span.afterLsn);
    const fd = openIfThere(stretch.path);
    if (fd === undefined) return { lsn: span.afterLsn, stopped: false };
    const walk: Walk = {
      fd,
      seed: stretch.seed,
      at: mark?.at ?? stretch.at,
      lsn: mark?.lsn ?? stretch.firstLsn - 1,
      stopped: false,
    };
    try {
      while (walk.lsn < span.limitLsn && !walk.stopped && this.#walkWindow(walk, span));
    } finally {
      closeSync(fd);
    }
    // Two, so that a reader whose work failed and who asks again finds its place too.
    this.#marks = [...this.#marks.slice(-1), { stretch, at: walk.at, lsn: walk.lsn }];
    return walk;
  }

  /** False when no frame follows. A frame cut off by the window's end begins the next window. */
  #walkWindow(walk: Walk, { afterLsn, limitLsn, visit }: Span): boolean {
    this.#window ??= bytesOf(Buffer.allocUnsafe(windowBytes));
    const window = this.#window;
    const length = readSync(walk.fd, window.buffer, 0, windowBytes, walk.at);
    let next = 0;
    while (walk.lsn < limitLsn && !walk.stopped) {
      const frame = readFrame(window, next, walk.seed);
      if (frame === undefined || frame.end > length || frame.lsn !== walk.lsn + 1) break;
      next = paddedLength(frame.end);
      walk.lsn = frame.lsn;
      walk.stopped = frame.lsn > afterLsn && !visit(frame, window.buffer);
    }
    walk.at += next;
    return next > 0;
  }

  /** Replaces a stretch by the sound runs of its file; false when that was done before. */
  #search(stretch: Stretch): boolean {
    if (this.#searched.has(stretch.path)) return false;
    this.#searched.add(stretch.path);
    this.#stretches = this.#stretches.filter((one) => one !== stretch);
    const { path, seed } = stretch;
    const runs = readIfThere(path, (bytes) => scanSegment(bytes, seed).runs) ?? [];
    for (const { at, firstLsn, lastLsn } of runs) this.add({ path, seed, at, firstLsn, lastLsn });
    // Still being written: the last run goes on.
    const last = this.#stretches.findLast((one) => one.path === path);
    if (last !== undefined) last.lastLsn = stretch.lastLsn;
    return true;
  }
}

// A drained segment goes when its time has come, and a reader may still know of it.
function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function readIfThere<T>(path: string, use: (bytes: Bytes) => T): T | undefined {
  const fd = openIfThere(path);
  if (fd === undefined) return undefined;
  closeSync(fd);
  return use(bytesOf(readFileSync(path)));
}
