import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { testDatabase, testDir } from "../../testing/cluster.ts";
import { decisionLogs, flawOf, forged, type LogPlace, type OpenLog } from "../../testing/decision-log.ts";
import { linkLine, readLine } from "./mcp-log-line.ts";

const { database, drop } = await testDatabase();

const noon = Date.UTC(2026, 10, 30, 12);
const dayMs = 86_400_000;
const [today, tomorrow, after] = ["mcp-20261130.jsonl", "mcp-20261201.jsonl", "mcp-20261202.jsonl"];

const clock = { now: noon };
const { newLog, write, closeAll } = decisionLogs(database, clock);
afterAll(async () => {
  await closeAll();
  await drop();
});
beforeEach(() => {
  clock.now = noon;
});

/** Three days with five decisions each, the first two closed. */
async function threeDays(): Promise<LogPlace & { log: OpenLog }> {
  const place = newLog();
  const log = place.open();
  for (let day = 0; day < 3; day++) {
    clock.now = noon + day * dayMs;
    await write(log, 5);
    await log.tend();
  }
  return { ...place, log };
}

describe("the MCP log", () => {
  test("has one chained line for each decision, in a file of its day that only its owner reads", async () => {
    const { dir, linesOf, membersOf, verify } = await threeDays();
    expect(readdirSync(dir).sort()).toEqual(expect.arrayContaining([today, tomorrow, after]));
    expect(statSync(join(dir, today)).mode & 0o777).toBe(0o600);
    expect(linesOf(today)).toHaveLength(6);
    expect(membersOf(tomorrow)[0]).toMatchObject({
      ...{ kind: "opened", before: today, seq: 7 },
      prev: readLine(linesOf(today).at(-1) ?? "")?.hash,
    });
    expect(await verify()).toEqual({
      outcome: "intact",
      ...{ files: 3, lines: 18, missing: 0, undrained: 0, unwritten: 0 },
    });
  });

  test("is written down in the audit log when a file begins, every hour, at a stop and when its day is over", async () => {
    const { open, said } = newLog();
    const log = open();
    await write(log, 2);
    await log.tend();
    await write(log, 2);
    await log.tend();
    clock.now += 3_600_000;
    await log.tend();
    await log.tend();
    await write(log, 1);
    await log.close();
    const anchored = (lines: number) => ["mcp_log.anchored", today, lines];
    expect(await said()).toEqual([anchored(3), anchored(5), anchored(6)]);
    clock.now += dayMs;
    const next = open();
    await next.tend();
    await next.tend();
    expect((await said()).slice(3)).toEqual([["mcp_log.closed", today, 6]]);
  });

  test("goes on after a crash, without the line that was torn", async () => {
    const { dir, open, membersOf, verify } = newLog();
    await write(open(), 3);
    appendFileSync(join(dir, today), '{"seq":5,"at":"2026-');
    expect(await verify()).toMatchObject({ outcome: "intact", lines: 4 });
    await write(open(), 2);
    expect(membersOf(today).map(({ kind, cut_bytes }) => [kind, cut_bytes])[4]).toEqual(["resumed", 20]);
    expect(await verify()).toMatchObject({ outcome: "intact", lines: 7 });
    appendFileSync(join(dir, today), `{"seq":8,"at":"${"\0".repeat(4_000)}`);
    clock.now += dayMs;
    await write(open(), 1);
    expect(await verify()).toMatchObject({ outcome: "intact", files: 2, lines: 9 });
  });

  test("goes on after a crash in the moment a file began", async () => {
    const { dir, open, verify } = newLog();
    await write(open(), 3);
    writeFileSync(join(dir, tomorrow), "");
    clock.now += dayMs;
    await write(open(), 2);
    expect(await verify()).toMatchObject({ outcome: "intact", files: 2, lines: 7 });
  });

  test("holds up nobody while it cannot be written, and says how many lines are missing once it can", async () => {
    const dir = join(testDir().path, "audit");
    const { open, membersOf, verify } = newLog({ dir, waitingMax: 8_000 });
    const log = open();
    await write(log, 30);
    expect(log.warnings()).toEqual([expect.stringMatching(/cannot be written: ENOENT; \d+ lines are lost/)]);
    mkdirSync(dir);
    await write(log, 1);
    expect(log.warnings()).toEqual([]);
    const kept = membersOf(today).filter(({ kind }) => kind === undefined).length;
    const gaps = membersOf(today).flatMap(({ kind, missing }) => (kind === "gap" ? Number(missing) : []));
    expect(gaps).toHaveLength(1);
    expect(kept + (gaps[0] ?? 0)).toBe(31);
    expect(await verify()).toMatchObject({ outcome: "intact", missing: gaps[0] });
    await write(log, 2);
    expect(membersOf(today)).toHaveLength(1 + kept + 1 + 2);
  });

  test("warns while it goes on in a day that is still to come, because the clock was ahead once", async () => {
    const { open, verify } = newLog();
    clock.now = noon + 40 * dayMs;
    await write(open(), 1);
    clock.now = noon;
    const log = open();
    await write(log, 1);
    expect(log.warnings()).toEqual([
      expect.stringContaining("mcp-20270109.jsonl, a day that is still to come"),
    ]);
    expect(await verify()).toMatchObject({ outcome: "intact" });
    clock.now = noon + 40 * dayMs;
    expect(log.warnings()).toEqual([]);
  });

  test("keeps thousands of lines a second in order", async () => {
    const { open, membersOf, verify } = newLog();
    const log = open();
    await write(log, 20_000);
    expect(membersOf(today).flatMap(({ bytes_in }) => bytes_in ?? [])).toEqual(
      Array.from({ length: 20_000 }, (_, n) => n),
    );
    expect(await verify()).toMatchObject({ outcome: "intact", lines: 20_001 });
  });
});

describe("specgate audit verify on the MCP log", () => {
  test("names the line that was changed, removed, repeated or put elsewhere", async () => {
    const place = await threeDays();
    const files = [today, tomorrow, after];
    const deeds: Record<string, (lines: string[], at: number) => string[]> = {
      change: (lines, at) => lines.with(at, (lines[at] ?? "").replace(/"bytes_in":\d/, '"bytes_in":9')),
      remove: (lines, at) => lines.toSpliced(at, 1),
      repeat: (lines, at) => lines.toSpliced(at, 0, lines[at] ?? ""),
      swap: (lines, at) => lines.with(at, lines[at + 1] ?? "").with(at + 1, lines[at] ?? ""),
      garble: (lines, at) => lines.with(at, "not a line"),
    };
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...files),
        fc.constantFrom(...Object.keys(deeds)),
        fc.integer({ min: 1, max: 4 }),
        async (file, deed, at) => {
          const lines = place.linesOf(file);
          place.put(file, deeds[deed]?.(lines, at) ?? []);
          const flaw = flawOf(await place.verify());
          place.put(file, lines);
          // What is repeated is wrong where it stands the second time.
          expect([deed, flaw?.file, flaw?.line]).toEqual([deed, file, at + (deed === "repeat" ? 2 : 1)]);
        },
      ),
      { numRuns: 40 },
    );
    expect(await place.verify()).toMatchObject({ outcome: "intact" });
  });

  test("finds a file that was written anew with sound hashes", async () => {
    const { linesOf, put, verify } = await threeDays();
    for (const file of [today, after]) {
      const lines = linesOf(file);
      put(
        file,
        forged(lines, (members, at) => (at === 3 ? { ...members, bytes_in: 99 } : members)),
      );
      expect(flawOf(await verify())).toMatchObject({
        file,
        line: 6,
        why: expect.stringContaining("audit log"),
      });
      put(file, lines);
    }
  });

  test("finds an end that was cut off, and what was added to a closed file", async () => {
    const { dir, linesOf, put, verify } = await threeDays();
    for (const file of [today, after]) {
      const lines = linesOf(file);
      put(file, lines.slice(0, -2));
      expect(flawOf(await verify())).toMatchObject({
        file,
        line: 4,
        why: expect.stringContaining("cut off"),
      });
      put(file, lines);
    }
    const lines = linesOf(today);
    const last = readLine(lines.at(-1) ?? "");
    if (last === undefined) throw new Error("no line");
    put(today, [...lines, linkLine(last, '{"n":6}').line]);
    expect(flawOf(await verify())).toMatchObject({ file: today, line: 7 });
    put(today, lines);
    appendFileSync(join(dir, today), "half a line");
    expect(flawOf(await verify())).toMatchObject({ file: today, line: 7 });
    put(today, [lines[0] ?? "", ...lines.slice(3)]);
    expect(flawOf(await verify())).toMatchObject({ file: today, line: 2 });
    truncateSync(join(dir, today));
    expect(flawOf(await verify())).toMatchObject({ file: today });
  });

  test("finds a file that is missing, whichever it is, while its time is not over", async () => {
    for (const gone of [today, tomorrow, after]) {
      const { dir, verify } = await threeDays();
      unlinkSync(join(dir, gone));
      expect(flawOf(await verify())).toMatchObject({ file: gone, line: null });
      expect(flawOf(await verify(30))).toMatchObject({ file: gone });
    }
    const { dir, verify } = await threeDays();
    unlinkSync(join(dir, today));
    clock.now = noon + 31 * dayMs;
    expect(await verify(30)).toMatchObject({ outcome: "intact", files: 2 });
    expect(flawOf(await verify(31))).toMatchObject({ file: today });
  });

  test("looks at the files of a span alone when one is asked for", async () => {
    const { put, linesOf, verify } = await threeDays();
    put(today, linesOf(today).toSpliced(2, 1));
    const from = new Date(noon + dayMs / 2);
    expect(await verify(null, { from, to: null })).toMatchObject({ outcome: "intact", files: 2, lines: 12 });
    expect(flawOf(await verify(null, { from: null, to: from }))).toMatchObject({ file: today, line: 3 });
  });

  test("tells a file that went because its time was over from one that is gone", async () => {
    const { dir, sweep, said, verify, log } = await threeDays();
    clock.now = noon + 11 * dayMs;
    const terms = { now: clock.now, days: 10 };
    const bytes = statSync(join(dir, today)).size;
    expect(await sweep(terms, { dryRun: true })).toEqual({ files: 1, bytes });
    expect(await sweep({ now: clock.now, days: null }, { dryRun: false })).toEqual({ files: 0, bytes: 0 });
    expect(await sweep(terms, { dryRun: false })).toEqual({ files: 1, bytes });
    expect((await said()).at(-1)).toEqual(["mcp_log.removed", today, undefined]);
    // Though files are kept for longer from now on.
    expect(await verify(null)).toMatchObject({ outcome: "intact", files: 2 });
    await sweep({ now: clock.now + 5 * dayMs, days: 10 }, { dryRun: false });
    await write(log, 2);
    expect(await verify(null)).toMatchObject({ outcome: "intact", files: 1 });
  });

  test("finds a file that was taken away from a gateway that runs, which begins another", async () => {
    const { dir, open, membersOf, verify } = newLog();
    const log = open();
    await write(log, 3);
    await log.tend();
    unlinkSync(join(dir, today));
    await log.tend();
    expect(flawOf(await verify())).toMatchObject({ file: today, line: null });
    clock.now += 1_000;
    await write(log, 9);
    expect(membersOf(today)).toHaveLength(10);
    expect(flawOf(await verify())).toMatchObject({ file: today, line: 4 });
  });

  test("is not led astray by other gateways over the same database", async () => {
    const [one, other] = [await threeDays(), await threeDays()];
    expect(await one.verify()).toMatchObject({ outcome: "intact" });
    rmSync(other.dir, { recursive: true });
    expect(await one.verify()).toMatchObject({ outcome: "intact" });
    expect(await other.verify()).toMatchObject({ outcome: "broken" });
  });
});
