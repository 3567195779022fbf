/**
 * The journal's two threads as the journal sees them: one that syncs, one that keeps segments ready.
 *
 * sync.ts lies beside this file when run from source. In the binary it is an entry point of its own, which
 * scripts/build.ts puts under its bare name beside the main one, so the same address finds it there; a build that
 * names its entry points otherwise hands in its own `syncWorker`.
 */
import { Worker } from "node:worker_threads";
import type { Log } from "../log.ts";
import {
  controlBytes,
  descriptorOf,
  type KeeperOrder,
  type KeeperTask,
  type KeeperWord,
  type SyncOrder,
  type SyncWord,
  untilOf,
  word,
} from "./control.ts";
import { noSegment } from "./refusals.ts";
import type { KeepDrained } from "./retention.ts";
import { segmentFile } from "./segment.ts";

export function threadAt(given: string | URL | undefined): string | URL {
  return given ?? new URL("./sync.ts", import.meta.url);
}

export type SyncEvents = {
  synced(flush: number): void;
  /** The sync of a file failed, or (with segment undefined) the thread itself is gone. */
  failed(reason: string, segment: number | undefined): void;
};

/** Counts flushes to the sync thread and hears how far it came. */
export class SyncThread {
  readonly #control = new Int32Array(new SharedArrayBuffer(controlBytes));
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  #segment = -1;
  #stopped = false;
  #events: SyncEvents | undefined;
  #gone: string | undefined;

  constructor(at: string | URL) {
    const order: SyncOrder = { role: "sync", control: this.#control.buffer as SharedArrayBuffer };
    this.#worker = new Worker(at, { workerData: order });
    this.#worker.on("message", (said: SyncWord) => {
      if (typeof said === "number") this.#events?.synced(said);
      else this.#events?.failed(said.failed, said.segment);
    });
    const gone = Promise.withResolvers<void>();
    this.#exited = gone.promise;
    const leave = (reason: string) => {
      gone.resolve();
      this.#gone ??= reason;
      if (!this.#stopped) this.#events?.failed(reason, undefined);
    };
    this.#worker.on("error", (error) => leave(`The sync thread failed: ${String(error)}`));
    this.#worker.on("exit", () => leave("The sync thread ended."));
  }

  /** Who hears of it; at once when the thread is already gone. */
  report(events: SyncEvents): void {
    this.#events = events;
    if (this.#gone !== undefined && !this.#stopped) events.failed(this.#gone, undefined);
  }

  /** Later flushes go to this file. Answers its number. */
  goOn(descriptor: number): number {
    if (this.#segment >= 0)
      Atomics.store(this.#control, untilOf(this.#segment), Atomics.load(this.#control, word.flushed));
    this.#segment += 1;
    Atomics.store(this.#control, descriptorOf(this.#segment), descriptor);
    Atomics.store(this.#control, word.segment, this.#segment);
    return this.#segment;
  }

  /** After a failure: syncs begin again with this file, at the next flush. */
  resumeAt(segment: number): void {
    Atomics.store(this.#control, word.resumeAt, segment);
  }

  /** Something was written: wakes the thread, answers the number it will be reported under. */
  flush(): number {
    const flush = (Atomics.add(this.#control, word.flushed, 1) + 1) | 0;
    // Waking costs a system call, and a thread that is still syncing looks again by itself.
    if (Atomics.load(this.#control, word.waiting) === 1) Atomics.notify(this.#control, word.flushed);
    return flush;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    Atomics.store(this.#control, word.stop, 1);
    this.flush();
    await this.#exited;
  }
}

export type ShelfOptions = {
  dir: string;
  epoch: number;
  segmentBytes: number;
  /** Segments of earlier boots that were never begun. */
  leftovers: string[];
  keepDrained: KeepDrained;
  log: Log;
};
export type ReadySegment = { path: string; n: number };

const readyMax = 2;
const retryMs = 1000;

/** Segments made ready ahead of need by the keeper thread. */
export class Shelf {
  readonly #worker: Worker;
  readonly #options: ShelfOptions;
  readonly #ready: ReadySegment[] = [];
  readonly #first = Promise.withResolvers<void>();
  #next = 1;
  #making = false;
  #short = false;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(at: string | URL, options: ShelfOptions) {
    this.#options = options;
    const order: KeeperOrder = { role: "keep" };
    this.#worker = new Worker(at, { workerData: order });
    this.#worker.on("message", (said: KeeperWord) => this.#heard(said));
    this.#worker.on("error", (error) => this.#heard({ failed: String(error), code: "thread" }));
    this.#make();
  }

  get ready(): number {
    return this.#ready.length;
  }

  /** When the first segment is ready; rejects when it cannot be made. */
  get first(): Promise<void> {
    return this.#first.promise;
  }

  take(): ReadySegment | undefined {
    const segment = this.#ready.shift();
    this.#make();
    return segment;
  }

  expire(): void {
    const { dir, keepDrained } = this.#options;
    this.#tell({ expire: dir, ...keepDrained });
  }

  async close(): Promise<void> {
    clearTimeout(this.#retry);
    this.#making = true;
    await this.#worker.terminate();
  }

  #make(): void {
    if (this.#making || this.#ready.length >= readyMax) return;
    this.#making = true;
    const { dir, epoch, segmentBytes, leftovers } = this.#options;
    this.#tell({ make: `${dir}/${segmentFile(epoch, this.#next)}`, bytes: segmentBytes, from: leftovers });
  }

  #heard(said: KeeperWord): void {
    const { log } = this.#options;
    if ("made" in said) {
      if (this.#short) log.info("journal has room again");
      this.#short = false;
      this.#making = false;
      this.#ready.push({ path: said.made, n: this.#next++ });
      this.#first.resolve();
      this.#make();
      return;
    }
    if (!this.#short) log.error("journal cannot make a segment ready", { error: said.failed });
    this.#short = true;
    this.#first.reject(noSegment(this.#options, said.failed));
    this.#retry = setTimeout(() => {
      this.#making = false;
      this.#make();
    }, retryMs);
  }

  #tell(task: KeeperTask): void {
    this.#worker.postMessage(task);
  }
}
