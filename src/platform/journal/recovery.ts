/**
 * What earlier boots left in the journal: every record they wrote, and every key they opened and did not close.
 *
 * Runs before the new epoch is opened and changes nothing but copying a corrupt file aside. It invents no record and
 * gives up none that is sound. Segments that were drained are not scanned: the checkpoint that opens the next segment
 * names each key still open then. A key is closed by an END of its own epoch or of any later one.
 */
import { closeSync, constants, copyFileSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { Chronicle, type Reading } from "./chronicle.ts";
import { type Bytes, bytesOf, frameType, jsonIn, keyIn, seedOf } from "./frame.ts";
import { type Run, scanSegment } from "./scan.ts";
import {
  assertOurs,
  listSegments,
  readHead,
  retireSegment,
  type SegmentHead,
  type SegmentName,
  segmentHeadBytes,
} from "./segment.ts";

export type OpenKey = { epoch: number; bootId: string; key: string; json: string };
/** `hole`: something that was synced is damaged or gone. `torn`: the end of a write that power loss cut off. */
export type Damage = { file: string; at: number; kind: "hole" | "torn" };

export type Recovered = {
  open: OpenKey[];
  /** Ascending; also those that were drained and are kept for a database that was set back. */
  epochs: number[];
  corrupt: Damage[];
  /** Records of an epoch after `afterLsn`, as Journal.read tells them. */
  read(epoch: number, afterLsn: number, recordsMax: number): Promise<Reading>;
  /** Everything of this epoch up to lsn is in the database; oldest epoch first. Such segments are not scanned again. */
  drained(epoch: number, lsn: number): void;
};

type FoundRun = Run & { file: string };
type FoundSegment = {
  name: SegmentName;
  head: SegmentHead | "damaged";
  runs: Run[];
  litterAt: number | undefined;
};
type FoundEpoch = {
  epoch: number;
  /** Up to here it was drained, as far as the names of drained segments tell. */
  drainedTo: number | undefined;
  bootId: string;
  segments: FoundSegment[];
  chronicle: Chronicle;
  durable: number;
  damage: Damage[];
};

export async function recoverJournal(dir: string, instance: string): Promise<Recovered> {
  const epochs = new Map<number, FoundEpoch>();
  const reader = new SegmentReader();
  for (const name of listSegments(dir)) {
    const head = readHead(join(dir, name.file));
    if (head === "unused") continue;
    if (head !== "damaged") assertOurs(head, name, instance);
    const found = epochs.get(name.epoch) ?? newEpoch(name.epoch);
    epochs.set(name.epoch, found);
    if (head !== "damaged") found.bootId = head.boot_id;
    addSegment(found, dir, name, head, seedOf(instance, name.epoch, name.n), reader);
  }
  const found = [...epochs.values()];
  for (const epoch of found) epoch.damage = findDamage(epoch);
  const corrupt = found.flatMap((epoch) => epoch.damage);
  for (const file of new Set(corrupt.filter(isHole).map((one) => one.file))) copyAside(join(dir, file));
  return {
    open: findOpen(found),
    epochs: [...epochs.keys()],
    corrupt,
    read: async (epoch, afterLsn, recordsMax) =>
      epochs.get(epoch)?.chronicle.read(afterLsn, recordsMax, Number.POSITIVE_INFINITY) ?? {
        records: [],
        lastLsn: afterLsn,
      },
    drained(epoch, lsn) {
      const one = epochs.get(epoch);
      if (one !== undefined) retire(one, dir, lsn);
    },
  };
}

const newEpoch = (epoch: number): FoundEpoch => ({
  epoch,
  drainedTo: undefined,
  bootId: "",
  segments: [],
  chronicle: new Chronicle(),
  durable: 0,
  damage: [],
});

const isHole = (damage: Damage): boolean => damage.kind === "hole";

function addSegment(
  epoch: FoundEpoch,
  dir: string,
  name: SegmentName,
  head: SegmentHead | "damaged",
  seed: number,
  reader: SegmentReader,
): void {
  const path = join(dir, name.file);
  epoch.drainedTo = name.drainedTo ?? epoch.drainedTo;
  if (name.drainedTo !== undefined && head !== "damaged") {
    const lastLsn = name.drainedTo;
    epoch.chronicle.add({ path, seed, at: segmentHeadBytes, firstLsn: head.first_lsn, lastLsn });
    return;
  }
  const scan = scanSegment(reader.read(path), seed);
  for (const { at, firstLsn, lastLsn } of scan.runs)
    epoch.chronicle.add({ path, seed, at, firstLsn, lastLsn });
  if (name.drainedTo !== undefined) return;
  epoch.durable = Math.max(epoch.durable, scan.durable);
  epoch.segments.push({ name, head, runs: scan.runs, litterAt: scan.litterAt });
}

function findDamage(epoch: FoundEpoch): Damage[] {
  const { segments, durable } = epoch;
  const found: Damage[] = [];
  for (const { name, head, runs } of segments)
    if (head === "damaged") found.push({ file: name.file, at: 0, kind: runs.length > 0 ? "hole" : "torn" });
  const runs: FoundRun[] = segments
    .flatMap(({ name, runs }) => runs.map((run) => ({ ...run, file: name.file })))
    .sort((a, b) => a.firstLsn - b.firstLsn);
  let lsn = firstLsn(epoch) - 1;
  let before: FoundRun | undefined;
  for (const run of runs) {
    if (run.firstLsn > lsn + 1) {
      const kind = lsn + 1 <= durable ? "hole" : "torn";
      const behind = before === undefined || (before.file !== run.file && run.at > segmentHeadBytes);
      found.push(
        behind
          ? { file: run.file, at: segmentHeadBytes, kind }
          : { file: before?.file ?? run.file, at: before?.end ?? 0, kind },
      );
    }
    if (run.lastLsn > lsn) before = run;
    lsn = Math.max(lsn, run.lastLsn);
  }
  const last = segments.at(-1);
  if (last?.litterAt !== undefined) found.push({ file: last.name.file, at: last.litterAt, kind: "torn" });
  return found;
}

/** The lsn that the scanned segments must begin with, by the best witness there is. */
function firstLsn({ segments, drainedTo }: FoundEpoch): number {
  const first = segments[0];
  if (first !== undefined && first.head !== "damaged") return first.head.first_lsn;
  if (drainedTo !== undefined) return drainedTo + 1;
  if (first === undefined || first.name.n === 1) return 1;
  return Math.min(...segments.flatMap(({ runs }) => runs.map((run) => run.firstLsn)));
}

function findOpen(epochs: FoundEpoch[]): OpenKey[] {
  const open = new Map<string, OpenKey>();
  for (const found of epochs) {
    const { epoch, bootId, chronicle } = found;
    if (found.segments.length === 0) continue;
    // A hole may have swallowed a checkpoint: then drained segments are asked too.
    const after = found.damage.some(isHole) ? 0 : firstLsn(found) - 1;
    chronicle.walk(after, Number.POSITIVE_INFINITY, (frame, buffer) => {
      if (frame.type === frameType.end) open.delete(keyIn(buffer, frame));
      if (frame.type === frameType.start || frame.type === frameType.checkpoint) {
        const key = keyIn(buffer, frame);
        open.set(key, { epoch, bootId, key, json: jsonIn(buffer, frame) });
      }
      return true;
    });
  }
  return [...open.values()];
}

function retire(epoch: FoundEpoch, dir: string, lsn: number): void {
  for (let first = epoch.segments[0]; first !== undefined; first = epoch.segments[0]) {
    const { head, runs } = first;
    const lastLsn = Math.max(head === "damaged" ? 0 : head.first_lsn - 1, ...runs.map((run) => run.lastLsn));
    if (lastLsn > lsn) return;
    const bytes = runs.at(-1)?.end ?? segmentHeadBytes;
    epoch.chronicle.moved(join(dir, first.name.file), retireSegment(dir, first.name, lastLsn, bytes));
    epoch.segments.shift();
  }
}

/** Once: a later boot that finds the same damage keeps the first copy, and a full disk must not stop a boot. */
function copyAside(path: string): void {
  try {
    copyFileSync(path, `${path}.corrupt`, constants.COPYFILE_EXCL);
  } catch {
    // The damaged file itself is still there, and the report names it.
  }
}

/** One buffer for all segments, so that a boot after a long outage does not take their sum in memory. */
class SegmentReader {
  #buffer: Buffer = Buffer.alloc(0);

  read(path: string): Bytes {
    const fd = openSync(path, "r");
    try {
      const { size } = fstatSync(fd);
      if (this.#buffer.length < size) this.#buffer = Buffer.allocUnsafe(size);
      let at = 0;
      while (at < size) {
        const count = readSync(fd, this.#buffer, at, size - at, at);
        if (count === 0) break;
        at += count;
      }
      return bytesOf(this.#buffer.subarray(0, at));
    } finally {
      closeSync(fd);
    }
  }
}
