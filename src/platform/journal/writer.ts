/**
 * Puts frames on disk in lsn order: one write for all that a tick brings, one sync for all that was written meanwhile.
 *
 * A segment that is full is left for the next ready one, which begins with a checkpoint: a copy of every open START, so
 * that nothing older is needed to know what is open. After a failed sync the file is left as it is and everything
 * unacknowledged is written again to the next; a second failure before that is durable takes the journal down for good.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import type { Failure } from "../failure.ts";
import type { Log } from "../log.ts";
import { Chronicle, type Stretch } from "./chronicle.ts";
import { slots } from "./control.ts";
import { copyFrame, type FrameType, frameBytes, frameType, seedOf, writeFrame } from "./frame.ts";
import { unavailable } from "./refusals.ts";
import type { OpenKeys, Room, Sizes } from "./room.ts";
import {
  encodeHead,
  retireSegment,
  type SegmentName,
  segmentFile,
  segmentFormat,
  segmentHeadBytes,
} from "./segment.ts";
import { type Chunk, eachFrame, type Page, Tail } from "./tail.ts";
import type { Shelf, SyncThread } from "./threads.ts";

/** One record on its way: `written` when the kernel has it (survives a kill), `durable` when the disk has it. */
export type Ticket = { lsn: number; written: Promise<void>; durable: Promise<void> };

/** For tests: the descriptor that the sync thread is given instead of a segment's. */
export type Faults = { syncDescriptor?(descriptor: number, n: number): number };

export type WriterOptions = {
  dir: string;
  instance: string;
  epoch: number;
  bootId: string;
  segmentBytes: number;
  log: Log;
  faults: Faults;
  onDown(): void;
};

type Segment = Page & {
  name: SegmentName;
  seed: number;
  stretch: Stretch;
  /** Its number with the sync thread. */
  order: number;
  /** The last frame of the checkpoint it begins with. */
  checkpointLsn: number;
};
type Batch = {
  flush: number;
  lastLsn: number;
  written: PromiseWithResolvers<void>;
  durable: PromiseWithResolvers<void>;
};

export class Writer {
  readonly chronicle = new Chronicle();
  /** Why nothing more is written, once that is so. */
  down: Failure | undefined;
  writtenLsn = 0;
  durableLsn = 0;

  readonly #options: WriterOptions;
  readonly #open: OpenKeys;
  readonly #shelf: Shelf;
  readonly #sync: SyncThread;
  readonly #tail = new Tail();
  /** Not yet drained, oldest first; the last one is in use. */
  readonly #segments: Segment[] = [];
  /** Left for the next, and perhaps not yet synced. */
  #left: Segment[] = [];
  #segment: Segment;
  #batch: Batch | undefined;
  #unsynced: Batch[] = [];
  #lsn = 0;
  #failedOver = false;
  #resumedAt = 0;

  constructor(options: WriterOptions, open: OpenKeys, shelf: Shelf, sync: SyncThread) {
    this.#options = options;
    this.#open = open;
    this.#shelf = shelf;
    this.#sync = sync;
    this.#segment = this.#begin(1);
    sync.report({
      synced: (flush) => this.#synced(flush),
      failed: (reason, order) => this.#syncFailed(reason, order),
    });
  }

  room(): Room {
    const { segmentBytes } = this.#options;
    return {
      left: segmentBytes - this.#segment.at,
      ready: this.#shelf.ready,
      capacity: segmentBytes - segmentHeadBytes,
    };
  }

  append(type: FrameType, key: string, json: string, sizes: Sizes): Ticket {
    const size = frameBytes(sizes.key, sizes.json);
    while (this.#segment.at + size > this.#options.segmentBytes) this.#rotate();
    const lsn = ++this.#lsn;
    const chunk = this.#tail.place(this.#segment, size, lsn);
    const draft = { type, lsn, durable: this.durableLsn, key, json };
    writeFrame(chunk.bytes, chunk.fill - size, this.#segment.seed, draft, sizes);
    const batch = this.#batch ?? this.#openBatch();
    batch.lastLsn = lsn;
    return { lsn, written: batch.written.promise, durable: batch.durable.promise };
  }

  /** Renames the segments that end at or below `lsn`; answers whether there were any. */
  retire(lsn: number): boolean {
    let retired = false;
    for (let next = this.#segments[1]; next !== undefined; next = this.#segments[1]) {
      const first = this.#segments[0];
      // The next segment's checkpoint must be on disk before this one is no longer looked at.
      if (first === undefined || first.stretch.lastLsn > lsn || next.checkpointLsn > this.durableLsn) break;
      const path = first.stretch.path;
      const { lastLsn } = first.stretch;
      this.chronicle.moved(path, retireSegment(this.#options.dir, first.name, lastLsn, first.at));
      this.#segments.shift();
      retired = true;
    }
    return retired;
  }

  async close(): Promise<void> {
    this.#flush();
    await this.#unsynced.at(-1)?.durable.promise.catch(() => {});
    await this.#sync.stop();
    for (const segment of [...this.#left, this.#segment]) closeSync(segment.fd);
  }

  #openBatch(): Batch {
    const batch: Batch = {
      flush: 0,
      lastLsn: 0,
      written: Promise.withResolvers<void>(),
      durable: Promise.withResolvers<void>(),
    };
    // Nobody need wait for either; a rejection that nobody hears would end the process.
    batch.written.promise.catch(() => {});
    batch.durable.promise.catch(() => {});
    this.#batch = batch;
    setImmediate(() => this.#flush());
    return batch;
  }

  #flush(): void {
    if (this.#batch === undefined || this.down !== undefined) return;
    try {
      this.#tail.write();
    } catch (error) {
      this.#failOver(`a write failed: ${String(error)}`);
      return;
    }
    this.#flushed();
  }

  /** All of the tail was written: tells the sync thread, and whoever waits for `written`. */
  #flushed(): number {
    const flush = this.#sync.flush();
    this.writtenLsn = this.#lsn;
    if (this.#batch === undefined) return flush;
    this.#batch.flush = flush;
    this.#unsynced.push(this.#batch);
    this.#batch.written.resolve();
    this.#batch = undefined;
    return flush;
  }

  #synced(flush: number): void {
    if (this.down !== undefined) return;
    let count = 0;
    for (const batch of this.#unsynced) {
      if (((batch.flush - flush) | 0) > 0) break;
      count += 1;
      this.durableLsn = batch.lastLsn;
      batch.durable.resolve();
    }
    if (count === 0) return;
    this.#unsynced.splice(0, count);
    this.#failedOver = false;
    this.#tail.forget(this.durableLsn);
    while (this.#left[0] !== undefined && this.#left[0].stretch.lastLsn <= this.durableLsn)
      closeSync(this.#left.shift()?.fd ?? -1);
  }

  #rotate(): void {
    const full = this.#segment;
    this.#flush();
    if (this.down !== undefined) throw this.down;
    // The write failed over to a new segment, where there is room.
    if (this.#segment !== full) return;
    this.#leave(this.#lsn);
    this.#segment = this.#begin(this.#lsn + 1);
    this.#checkpoint();
  }

  #leave(lastLsn: number): void {
    this.#segment.stretch.lastLsn = lastLsn;
    this.#left.push(this.#segment);
  }

  /** The next ready segment. Throws, and takes the journal down, when there is none. */
  #begin(firstLsn: number): Segment {
    const { instance, epoch, faults } = this.#options;
    const ready = this.#shelf.take();
    if (ready === undefined) throw this.#goDown("no segment was ready when one was needed");
    if (this.#left.length >= slots - 1) throw this.#goDown("the disk has not finished a sync for too long");
    const { path, n } = ready;
    const seed = seedOf(instance, epoch, n);
    const fd = this.#openHeaded(path, n, firstLsn);
    const stretch = { path, seed, at: segmentHeadBytes, firstLsn, lastLsn: Number.POSITIVE_INFINITY };
    this.chronicle.add(stretch);
    const segment: Segment = {
      name: { file: segmentFile(epoch, n), epoch, n, drainedTo: undefined },
      fd,
      at: segmentHeadBytes,
      seed,
      stretch,
      order: this.#sync.goOn(faults.syncDescriptor?.(fd, n) ?? fd),
      checkpointLsn: 0,
    };
    this.#segments.push(segment);
    return segment;
  }

  #openHeaded(path: string, n: number, firstLsn: number): number {
    const { instance, epoch, bootId } = this.#options;
    const head = { format: segmentFormat, instance, epoch, boot_id: bootId, n, first_lsn: firstLsn };
    try {
      const fd = openSync(path, "r+");
      writeSync(fd, encodeHead(head), 0, segmentHeadBytes, 0);
      return fd;
    } catch (error) {
      throw this.#goDown(`a segment cannot be begun: ${String(error)}`);
    }
  }

  #checkpoint(): void {
    for (const { key, json, sizes } of this.#open.all()) this.append(frameType.checkpoint, key, json, sizes);
    this.#segment.checkpointLsn = this.#lsn;
  }

  #syncFailed(reason: string, order: number | undefined): void {
    if (order === undefined) this.#goDown(reason);
    // Older: a file that was left in the meantime, for a failed write.
    else if (order >= this.#resumedAt) this.#failOver(`a sync failed: ${reason}`);
  }

  #failOver(reason: string): void {
    if (this.down !== undefined) return;
    if (this.#failedOver) {
      this.#goDown(reason);
      return;
    }
    this.#failedOver = true;
    this.#options.log.error("journal leaves a segment", { file: this.#segment.name.file, error: reason });
    try {
      this.#writeAgain(this.#tail.takeAll());
      const flush = this.#flushed();
      for (const batch of this.#unsynced) batch.flush = flush;
    } catch (error) {
      this.#goDown(`${reason}; then ${String(error)}`);
    }
  }

  #writeAgain(chunks: Chunk[]): void {
    for (const { stretch } of this.#segments) stretch.lastLsn = Math.min(stretch.lastLsn, this.durableLsn);
    this.#leave(this.durableLsn);
    this.#segment = this.#begin(this.durableLsn + 1);
    this.#resumedAt = this.#segment.order;
    this.#sync.resumeAt(this.#resumedAt);
    for (const chunk of chunks)
      eachFrame(chunk, (at, size, lsn) => {
        if (lsn > this.durableLsn) this.#placeAgain(chunk, at, size, lsn);
      });
    this.#checkpoint();
    this.#tail.write();
  }

  #placeAgain(from: Chunk, at: number, size: number, lsn: number): void {
    if (this.#segment.at + size > this.#options.segmentBytes) {
      // What lies in a segment is flushed before the next begins, or its sync would not count it.
      this.#tail.write();
      this.#sync.flush();
      this.#leave(lsn - 1);
      this.#segment = this.#begin(lsn);
    }
    const chunk = this.#tail.place(this.#segment, size, lsn);
    copyFrame(from.bytes, at, chunk.bytes, chunk.fill - size, this.#segment.seed);
  }

  #goDown(reason: string): Failure {
    if (this.down !== undefined) return this.down;
    const failure = unavailable(reason);
    this.down = failure;
    this.#options.log.error("journal is down", { error: reason });
    for (const batch of [...this.#unsynced, ...(this.#batch === undefined ? [] : [this.#batch])]) {
      batch.written.reject(failure);
      batch.durable.reject(failure);
    }
    this.#batch = undefined;
    this.#unsynced = [];
    void this.#sync.stop();
    this.#options.onDown();
    return failure;
  }
}
