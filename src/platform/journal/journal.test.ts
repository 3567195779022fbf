import { afterEach, expect, test } from "bun:test";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  utimesSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure } from "../failure.ts";
import { silentLog } from "../log.ts";
import { type Journal, type JournalOptions, openJournal } from "./journal.ts";
import { recoverJournal } from "./recovery.ts";
import { expireDrained } from "./retention.ts";
import { listSegments } from "./segment.ts";

const instance = "0f6d3c0e-6a39-4a8e-9d56-2f5f5f1c7a11";
const dirs: string[] = [];
const journals: Journal[] = [];
const troubles: string[] = [];
const log = { ...silentLog, error: (event: string) => void troubles.push(event) };

afterEach(async () => {
  await Promise.all(journals.splice(0).map((journal) => journal.close()));
  troubles.length = 0;
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true });
});

function newDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "journal-test-"));
  dirs.push(dir);
  return dir;
}

async function open(dir: string, more: Partial<JournalOptions> = {}): Promise<Journal> {
  const options = { dir, instance, epoch: 1, bootId: "boot-a", log, segmentBytes: 64 * 1024 };
  const journal = await openJournal({ ...options, ...more });
  journals.push(journal);
  return journal;
}

const record = (name: string, bytes = 0) => JSON.stringify({ name, text: "é".repeat(bytes / 2) });
const settled = (promise: Promise<void>) =>
  promise.then(
    () => "kept",
    (error: Failure) => error.code,
  );

function refusal(write: () => unknown): string {
  try {
    write();
  } catch (error) {
    if (error instanceof Failure) return `${error.status} ${error.code}`;
    throw error;
  }
  return "admitted";
}

async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error("What was waited for did not come.");
    await Bun.sleep(10);
  }
}

/** Writes until a START is refused; answers the keys that are open then. */
function fill(journal: Journal, bytes: number): string[] {
  const keys: string[] = [];
  for (let i = 0; i < 10_000; i++) {
    const key = `fill-${crypto.randomUUID()}/1`;
    const said = refusal(() => journal.start(key, record(key, bytes)));
    if (said !== "admitted") {
      expect(said).toBe("507 no_room");
      return keys;
    }
    keys.push(key);
  }
  throw new Error("The journal has no end.");
}

test("records come back in order, as they were written, after a restart too", async () => {
  const dir = newDir();
  const journal = await open(dir);
  const start = journal.start("req_1/1", record("start ✓"));
  const note = journal.note(record("note"));
  const end = journal.end("req_1/1", record("end"));
  journal.start("req_2/1", record("open"));
  expect([start.lsn, note.lsn, end.lsn]).toEqual([1, 2, 3]);
  await start.written;
  await end.durable;
  expect(journal.durableLsn()).toBeGreaterThanOrEqual(3);
  const all = [record("start ✓"), record("note"), record("end"), record("open")];
  expect(await journal.read(0, 2)).toEqual({ records: all.slice(0, 2), lastLsn: 2 });
  expect((await journal.read(2, 100)).records).toEqual(all.slice(2));
  expect(await journal.read(4, 100)).toEqual({ records: [], lastLsn: 4 });
  await journal.close();
  const recovered = await recoverJournal(dir, instance);
  expect(await recovered.read(1, 0, 100)).toEqual({ records: all, lastLsn: 4 });
  expect(recovered.epochs).toEqual([1]);
  expect(recovered.corrupt).toEqual([]);
  expect(recovered.open).toEqual([{ epoch: 1, bootId: "boot-a", key: "req_2/1", json: record("open") }]);
});

test("a key that an earlier epoch left open is closed by an END of a later one", async () => {
  const dir = newDir();
  const first = await open(dir);
  await first.start("req_1/1", record("one")).durable;
  await first.start("req_2/1", record("two")).durable;
  await first.close();
  const second = await open(dir, { epoch: 2, bootId: "boot-b" });
  await second.end("req_1/1", record("lost")).durable;
  await second.close();
  const recovered = await recoverJournal(dir, instance);
  expect(recovered.epochs).toEqual([1, 2]);
  expect(recovered.open.map(({ key, bootId }) => [key, bootId])).toEqual([["req_2/1", "boot-a"]]);
  expect((await recovered.read(2, 0, 9)).records).toEqual([record("lost")]);
});

test("an epoch is opened once, and never after a higher one", async () => {
  const dir = newDir();
  await (await open(dir, { epoch: 4 })).close();
  await expect(open(dir, { epoch: 4 })).rejects.toThrow("epoch 4 cannot be opened");
  await expect(open(dir, { epoch: 3 })).rejects.toThrow("already holds epoch 4");
});

test("records of another instance are refused, not passed over", async () => {
  const dir = newDir();
  await (await open(dir)).close();
  await expect(recoverJournal(dir, crypto.randomUUID())).rejects.toThrow("belongs to instance");
});

test("segments made ready and never used serve the next boot", async () => {
  const dir = newDir();
  const first = await open(dir);
  await until(() => readdirSync(dir).length === 3);
  await first.close();
  const second = await open(dir, { epoch: 2 });
  await until(() => readdirSync(dir).filter((file) => file.startsWith("2-")).length === 3);
  expect(readdirSync(dir).filter((file) => file.startsWith("1-"))).toEqual(["1-1.wal"]);
  await second.note(record("here")).durable;
});

test("a record above its limit is refused and an END may be 2 KiB", async () => {
  const journal = await open(newDir());
  expect(refusal(() => journal.start("a/1", "x".repeat(8193)))).toBe("413 record_too_large");
  journal.start("a/1", "x".repeat(8192));
  expect(refusal(() => journal.end("a/1", "x".repeat(2049)))).toBe("413 record_too_large");
  await journal.end("a/1", "x".repeat(2048)).durable;
  expect(journal.status().open).toBe(0);
});

test("a rotation carries every open START along, so older segments are not needed", async () => {
  const dir = newDir();
  const journal = await open(dir);
  const open1 = record("open for long", 500);
  journal.start("long/1", open1);
  for (let i = 0; i < 400; i++) {
    const key = `short-${i}/1`;
    journal.start(key, record(key, 400));
    await journal.end(key, record("end", 200)).durable;
    if (i % 50 === 0) await until(() => journal.status().freeBytes > 100_000);
  }
  const { records } = await journal.read(0, 10_000);
  expect(records.length).toBe(801);
  expect(troubles).toEqual([]);
  journal.drained(journal.durableLsn());
  const kept = readdirSync(dir).filter((file) => file.endsWith(".drained"));
  expect(kept.length).toBeGreaterThan(2);
  await journal.close();
  for (const file of kept) rmSync(join(dir, file));
  const recovered = await recoverJournal(dir, instance);
  expect(recovered.open).toEqual([{ epoch: 1, bootId: "boot-a", key: "long/1", json: open1 }]);
  expect(recovered.corrupt).toEqual([]);
});

test("drained segments can be read again until they go, the oldest first", async () => {
  const dir = newDir();
  const journal = await open(dir);
  const written: string[] = [];
  for (let i = 0; i < 60; i++) {
    await until(() => journal.status().freeBytes > 70_000);
    for (let j = 0; j < 4; j++) written.push(record(`${i}.${j}`, 1000));
    await Promise.all(written.slice(-4).map((json) => journal.note(json).durable));
  }
  expect((await journal.read(0, 10)).records).toEqual(written.slice(0, 10));
  journal.drained(journal.durableLsn());
  expect((await journal.read(0, 1000)).records).toEqual(written);
  await journal.close();
  const recovered = await recoverJournal(dir, instance);
  expect((await recovered.read(1, 0, 1000)).records).toEqual(written);
  recovered.drained(1, written.length);
  expect(readdirSync(dir).filter((file) => /^1-1\.\d+\.drained$/.test(file))).toHaveLength(1);
  const again = await recoverJournal(dir, instance);
  expect((await again.read(1, 17, 1000)).records).toEqual(written.slice(17));

  const drained = () => listSegments(dir).flatMap((one) => (one.drainedTo === undefined ? [] : [one.file]));
  const count = drained().length;
  expireDrained(dir, { ms: 60_000, bytes: 1e9 }, Date.now());
  expect(drained().length).toBe(count);
  const old = new Date(Date.now() - 120_000);
  const oldest = drained().find((file) => file.startsWith("1-1.")) ?? "";
  utimesSync(join(dir, oldest), old, old);
  expireDrained(dir, { ms: 60_000, bytes: 1e9 }, Date.now());
  expect(drained()).not.toContain(oldest);
  const before = drained();
  expireDrained(dir, { ms: 60_000, bytes: 130_000 }, Date.now());
  expect(drained().length).toBeGreaterThan(1);
  expect(drained()).toEqual(before.slice(-drained().length));
  expect(drained().length).toBeLessThan(before.length);
});

test("a START is refused before an END could meet a full disk, and every END fits", async () => {
  const dir = newDir();
  const journal = await open(dir);
  // Nothing can be made ready at this name, as on a disk that is full.
  mkdirSync(join(dir, "1-4.wal"));
  await until(() => readdirSync(dir).length === 4);
  const keys = fill(journal, 300);
  expect(keys.length).toBeGreaterThan(20);
  expect(refusal(() => journal.note("x".repeat(8192)))).toBe("507 no_room");
  const ends = keys.map((key) => journal.end(key, "e".repeat(2048)));
  expect(await settled(Promise.all(ends.map((end) => end.durable)).then(() => {}))).toBe("kept");
  expect(journal.status().up).toBe(true);
  fill(journal, 300);
  rmdirSync(join(dir, "1-4.wal"));
  await until(() => refusal(() => journal.start("again/1", record("again"))) === "admitted");
});

test("after a failed sync everything unacknowledged is written again, and kept", async () => {
  const dir = newDir();
  const { descriptor, close } = unsyncable();
  const syncDescriptor = (own: number, n: number) => (n === 1 ? descriptor : own);
  const journal = await open(dir, { faults: { syncDescriptor }, segmentBytes: 128 * 1024 });
  await until(() => readdirSync(dir).length === 3);
  const names = Array.from({ length: 40 }, (_, i) => `k-${i}/1`);
  const tickets = names.map((key) => journal.start(key, record(key, 300)));
  await Promise.all(tickets.map((ticket) => ticket.durable));
  await journal.end("k-0/1", record("end")).durable;
  expect(troubles).toEqual(["journal leaves a segment"]);
  const all = [...names.map((key) => record(key, 300)), record("end")];
  expect((await journal.read(0, 100)).records).toEqual(all);
  expect(journal.status().up).toBe(true);
  await journal.close();
  close();
  const recovered = await recoverJournal(dir, instance);
  expect((await recovered.read(1, 0, 100)).records).toEqual(all);
  expect(recovered.open.map(({ key }) => key)).toEqual(names.slice(1));
  expect(recovered.corrupt).toEqual([]);
});

test("a second failed sync takes the journal down: all who wait hear it, nothing more is taken", async () => {
  const { descriptor, close } = unsyncable();
  const journal = await open(newDir(), { faults: { syncDescriptor: () => descriptor } });
  let heard = 0;
  journal.onDown(() => heard++);
  await until(() => journal.status().freeBytes > 150_000);
  const ticket = journal.start("a/1", record("a"));
  expect(await settled(ticket.written)).toBe("kept");
  expect(await settled(ticket.durable)).toBe("journal_unavailable");
  expect(heard).toBe(1);
  expect(refusal(() => journal.end("a/1", record("a")))).toBe("503 journal_unavailable");
  expect(refusal(() => journal.start("b/1", record("b")))).toBe("503 journal_unavailable");
  expect(journal.status()).toMatchObject({
    up: false,
    durableLsn: 0,
    reason: expect.stringContaining("EINVAL"),
  });
  close();
});

test("a failed write goes on in a new segment", async () => {
  const dir = newDir();
  let broken = -1;
  const syncDescriptor = (own: number, n: number) => {
    if (n === 1) broken = own;
    return own;
  };
  const journal = await open(dir, { faults: { syncDescriptor } });
  await until(() => readdirSync(dir).length === 3);
  await journal.start("a/1", record("a")).durable;
  standIn(broken);
  await journal.end("a/1", record("b")).durable;
  expect((await journal.read(0, 10)).records).toEqual([record("a"), record("b")]);
  expect(journal.status().up).toBe(true);
});

/** Makes a descriptor stand for something that takes no write. */
function standIn(descriptor: number): void {
  closeSync(descriptor);
  const others: number[] = [];
  let opened = openSync("/dev/null", "r");
  for (; opened !== descriptor; opened = openSync("/dev/null", "r")) others.push(opened);
  for (const other of others) closeSync(other);
}

/** A descriptor on which fdatasync fails, as on a disk that lost a page. */
function unsyncable(): { descriptor: number; close(): void } {
  const descriptor = openSync("/dev/null", "r");
  return { descriptor, close: () => closeSync(descriptor) };
}
