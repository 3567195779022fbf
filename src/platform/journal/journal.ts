/**
 * The write-ahead journal: a record whose `durable` has come true survives a kill and a power cut.
 *
 * It knows frames, keys and JSON text, and nothing of what they mean. A START is admitted only while the room already
 * on disk holds the END of every open key, so an END never meets a full disk. Once down it refuses every record and says
 * why. Writing is writer.ts, room is room.ts, the threads are threads.ts, earlier epochs are recovery.ts.
 */
import { statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../failure.ts";
import type { Log } from "../log.ts";
import type { Reading } from "./chronicle.ts";
import { endJsonBytesMax, frameType, jsonBytesMax, keyBytesMax } from "./frame.ts";
import { noRoom, unavailable } from "./refusals.ts";
import type { KeepDrained } from "./retention.ts";
import { OpenKeys, type Sizes } from "./room.ts";
import { listSegments, readHead } from "./segment.ts";
import { Shelf, SyncThread, threadAt } from "./threads.ts";
import { type Faults, type Ticket, Writer } from "./writer.ts";

export type { Reading, Ticket };

export type JournalOptions = {
  dir: string;
  /** A uuid: whose journal this is. */
  instance: string;
  /** Higher at each boot; one that holds records is refused. */
  epoch: number;
  bootId: string;
  log: Log;
  /** Where sync.ts lies, in a build where it is not found by itself. */
  syncWorker?: string | URL;
  segmentBytes?: number;
  /** Drained segments go when they are older than this, or more than this lies in newer ones. */
  keepDrained?: KeepDrained;
  faults?: Faults;
};

export type JournalStatus = {
  up: boolean;
  reason?: string;
  /** Keys that are open. */
  open: number;
  durableLsn: number;
  writtenLsn: number;
  /** Bytes made ready on disk that hold no record. */
  freeBytes: number;
};

const segmentBytesDefault = 16 * 1024 * 1024;
const keepDrainedDefault = { ms: 24 * 3_600_000, bytes: 1024 ** 3 };

/** Opens a new epoch; recover the earlier ones first. Rejects when not even the first segment can be made ready. */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  const { dir, epoch, log, segmentBytes = segmentBytesDefault, keepDrained = keepDrainedDefault } = options;
  const leftovers = findLeftovers(dir, epoch, segmentBytes);
  const thread = threadAt(options.syncWorker);
  const shelf = new Shelf(thread, { dir, epoch, segmentBytes, leftovers, keepDrained, log });
  // Started now: both threads take their time to come up.
  const sync = new SyncThread(thread);
  try {
    await shelf.first;
    return new Journal(options, segmentBytes, shelf, sync);
  } catch (error) {
    await Promise.all([shelf.close(), sync.stop()]);
    throw error;
  }
}

/** Segments of earlier boots that were never begun; half-made ones are removed. */
function findLeftovers(dir: string, epoch: number, segmentBytes: number): string[] {
  const leftovers: string[] = [];
  for (const name of listSegments(dir)) {
    const path = join(dir, name.file);
    const unused = name.drainedTo === undefined && readHead(path) === "unused";
    if (!unused && name.epoch >= epoch)
      throw new Error(`The journal already holds epoch ${name.epoch}: epoch ${epoch} cannot be opened.`);
    if (!unused) continue;
    if (statSync(path).size === segmentBytes) leftovers.push(path);
    else unlinkSync(path);
  }
  return leftovers;
}

export class Journal {
  readonly #open = new OpenKeys();
  readonly #listeners: (() => void)[] = [];
  readonly #shelf: Shelf;
  readonly #writer: Writer;
  #closed: Promise<void> | undefined;

  constructor(options: JournalOptions, segmentBytes: number, shelf: Shelf, sync: SyncThread) {
    this.#shelf = shelf;
    const { dir, instance, epoch, bootId, log, faults = {} } = options;
    const onDown = () => {
      for (const listener of this.#listeners) listener();
    };
    const writing = { dir, instance, epoch, bootId, segmentBytes, log, faults, onDown };
    this.#writer = new Writer(writing, this.#open, shelf, sync);
  }

  /**
   * Opens `key`. Throws `no_room` (507) when an END could then meet a full disk, `journal_unavailable` (503) when the
   * journal is down, `record_too_large` (413) above 8 KiB.
   */
  start(key: string, json: string): Ticket {
    const sizes = this.#measure(key, json, jsonBytesMax);
    if (this.#open.has(key)) throw new Error(`The journal's key ${key} is open already.`);
    if (!this.#open.admitsStart(this.#writer.room(), sizes)) throw noRoom();
    const ticket = this.#writer.append(frameType.start, key, json, sizes);
    this.#open.add({ key, json, sizes });
    return ticket;
  }

  /**
   * Closes `key`, with at most 2 KiB; never refused for room. A key that is not open here closes one of an earlier
   * epoch: such a record has no room set aside and can be refused like a note.
   */
  end(key: string, json: string): Ticket {
    const sizes = this.#measure(key, json, endJsonBytesMax);
    if (!this.#open.has(key) && !this.#open.admits(this.#writer.room(), sizes)) throw noRoom();
    const ticket = this.#writer.append(frameType.end, key, json, sizes);
    this.#open.remove(key);
    return ticket;
  }

  /** A record that opens and closes nothing. Refused as a START is. */
  note(json: string): Ticket {
    const sizes = this.#measure("", json, jsonBytesMax);
    if (!this.#open.admits(this.#writer.room(), sizes)) throw noRoom();
    return this.#writer.append(frameType.note, "", json, sizes);
  }

  /** Durable records after `afterLsn`, in lsn order. Go on from `lastLsn`: it also counts what is no record. */
  async read(afterLsn: number, recordsMax: number): Promise<Reading> {
    const { durableLsn, chronicle } = this.#writer;
    if (afterLsn >= durableLsn) return { records: [], lastLsn: afterLsn };
    return chronicle.read(afterLsn, recordsMax, durableLsn);
  }

  durableLsn(): number {
    return this.#writer.durableLsn;
  }

  /** All up to `lsn` is in the database, and all of earlier epochs: segments that end there stay a while and then go. */
  drained(lsn: number): void {
    if (this.#writer.retire(lsn)) this.#shelf.expire();
  }

  status(): JournalStatus {
    const { down, durableLsn, writtenLsn } = this.#writer;
    const { left, ready, capacity } = this.#writer.room();
    return {
      up: down === undefined && this.#closed === undefined,
      ...(down === undefined ? {} : { reason: String(down.cause) }),
      open: this.#open.size,
      durableLsn,
      writtenLsn,
      freeBytes: left + ready * capacity,
    };
  }

  /** Called once, when the journal goes down. */
  onDown(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Syncs what was written and stops the threads; later records are refused. */
  close(): Promise<void> {
    this.#closed ??= Promise.all([this.#writer.close(), this.#shelf.close()]).then(() => {});
    return this.#closed;
  }

  #measure(key: string, json: string, jsonBytesLimit: number): Sizes {
    if (this.#writer.down !== undefined) throw this.#writer.down;
    if (this.#closed !== undefined) throw unavailable("the journal is closed");
    const sizes = { key: Buffer.byteLength(key), json: Buffer.byteLength(json) };
    if (sizes.key > keyBytesMax || sizes.key !== key.length)
      throw new Error(`A key of the journal is at most ${keyBytesMax} ASCII characters.`);
    if (sizes.json > jsonBytesLimit)
      throw new Failure(
        "too_large",
        "record_too_large",
        `What is recorded of this call takes ${sizes.json} bytes; at most ${jsonBytesLimit} are kept.`,
      );
    return sizes;
  }
}
