/**
 * The journal's threads, an entry point of its own: each Worker runs this file in one of two roles.
 *
 * `sync` waits in shared memory for flushes, puts them on disk with fdatasync and says how far it came; nothing else
 * runs here, so that a sync never stands behind password hashes or file reads in Bun's thread pool. `keep` makes
 * segments ready, zero-filled and synced, and removes drained ones. After a failed sync nothing of that descriptor is
 * synced again: the kernel reports a lost page once and calls it clean from then on.
 */
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import {
  descriptorOf,
  type KeeperOrder,
  type KeeperTask,
  type KeeperWord,
  type SyncOrder,
  type SyncWord,
  untilOf,
  word,
} from "./control.ts";
import { expireDrained } from "./retention.ts";
import { readHead } from "./segment.ts";

const restMs = 1;

if (parentPort !== null) run(parentPort, workerData as SyncOrder | KeeperOrder);

function run(port: MessagePort, order: SyncOrder | KeeperOrder): void {
  if (order.role === "sync") {
    syncUntilStopped(new Int32Array(order.control), (said: SyncWord) => port.postMessage(said));
    port.close();
    return;
  }
  port.on("message", (task: KeeperTask) => {
    if ("make" in task) port.postMessage(make(task));
    else expire(task);
  });
}

function syncUntilStopped(control: Int32Array, say: (said: SyncWord) => void): void {
  let segment = 0;
  let synced = 0;
  while (Atomics.load(control, word.stop) === 0) {
    const flushed = Atomics.load(control, word.flushed);
    if (flushed === synced) {
      waitForFlush(control, flushed);
      continue;
    }
    // Read after `flushed`: whatever that counts was then written to this file or to one before it.
    const newest = Atomics.load(control, word.segment);
    const until = segment === newest ? flushed : Atomics.load(control, untilOf(segment));
    if (until === synced) {
      // Left, and all of it on disk: its descriptor may be closed by now.
      segment = (segment + 1) | 0;
      continue;
    }
    try {
      fdatasyncSync(Atomics.load(control, descriptorOf(segment)));
    } catch (error) {
      say({ failed: String(error), segment });
      segment = waitForResume(control, segment);
      continue;
    }
    if (segment !== newest) segment = (segment + 1) | 0;
    synced = until;
    say(synced);
    // A sync costs the same for one record as for hundreds: under load the next one waits for company. What comes after
    // a quiet moment is synced at once.
    Atomics.wait(control, word.stop, 0, restMs);
  }
}

/** Until the journal has written what was lost to a later file. */
function waitForResume(control: Int32Array, failed: number): number {
  for (;;) {
    const flushed = Atomics.load(control, word.flushed);
    const resumeAt = Atomics.load(control, word.resumeAt);
    if (((resumeAt - failed) | 0) > 0 || Atomics.load(control, word.stop) !== 0) return resumeAt;
    waitForFlush(control, flushed);
  }
}

/** Announces that it waits, before it does: a flush in between either sees that and wakes us, or has changed the count. */
function waitForFlush(control: Int32Array, flushed: number): void {
  Atomics.store(control, word.waiting, 1);
  Atomics.wait(control, word.flushed, flushed);
  Atomics.store(control, word.waiting, 0);
}

function make({ make: path, bytes, from }: { make: string; bytes: number; from: string[] }): KeeperWord {
  try {
    if (!from.some((left) => adopt(left, path, bytes))) fill(path, bytes);
    syncPath(dirname(path));
    return { made: path };
  } catch (error) {
    removeIfThere(path);
    return { failed: String(error), code: (error as NodeJS.ErrnoException).code ?? "" };
  }
}

function expire({ expire: dir, ...keep }: Extract<KeeperTask, { expire: string }>): void {
  try {
    expireDrained(dir, keep, Date.now());
  } catch {
    // What cannot be removed now is tried again after the next segment.
  }
}

/** A segment that an earlier boot made ready and never began. */
function adopt(left: string, path: string, bytes: number): boolean {
  try {
    if (statSync(left).size !== bytes || readHead(left) !== "unused") return false;
    renameSync(left, path);
    syncPath(path);
    return true;
  } catch {
    return false;
  }
}

const pieceBytes = 1024 * 1024;

function fill(path: string, bytes: number): void {
  const zeros = Buffer.alloc(Math.min(pieceBytes, bytes));
  const fd = openSync(path, "wx", 0o600);
  try {
    for (let at = 0; at < bytes; ) {
      at += writeSync(fd, zeros, 0, Math.min(zeros.length, bytes - at), at);
      // A piece at a time: one sync of it all would hold up the syncs of the segment in use.
      fdatasyncSync(fd);
    }
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function syncPath(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Never made, or not ours to remove: the next attempt says so again.
  }
}
