/** The MCP log's files against the audit log's rows, as `specgate audit verify` holds them, and what a killed gateway lost. */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { rmSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { testDatabase, testDir } from "../../testing/cluster.ts";
import { decisionLogs, flawOf, forged, type LogPlace } from "../../testing/decision-log.ts";
import { lineOf, saysOf } from "./decision-row.ts";
import { findLost } from "./mcp-log-lost.ts";
import { verifyLog } from "./mcp-log-verify.ts";

const { database, drop } = await testDatabase();
const noon = Date.UTC(2026, 10, 30, 12);
const hourMs = 3_600_000;
const today = "mcp-20261130.jsonl";
const clock = { now: noon };
const { newLog, write, insert, decisionsOf, closeAll } = decisionLogs(database, clock);
afterAll(async () => {
  await closeAll();
  await drop();
});
beforeEach(() => {
  clock.now = noon;
});

/** Ten decisions, and nothing that the audit log said of the file: so a kill in the first moment leaves it. */
async function killedEarly(): Promise<LogPlace> {
  const place = newLog();
  // Within 20 s, so that not all of it is what a kill may take.
  const log = place.open();
  for (let at = 0; at < 10; at++) {
    clock.now += 2_000;
    await write(log, 1);
  }
  clock.now += hourMs;
  expect(await place.said()).toEqual([]);
  expect(await place.verify()).toMatchObject({ outcome: "intact", lines: 11, undrained: 0, unwritten: 0 });
  return place;
}

describe("of a file that no anchor covers, specgate audit verify", () => {
  test("finds each line that says something else than the audit log, however sound its hash is", async () => {
    const { linesOf, put, verify } = await killedEarly();
    const lines = linesOf(today);
    const lies: [string, unknown][] = [
      ["principal", "cli_nobody"],
      ["client", null],
      ["request", "req_00000000000000000000000000000000"],
      ["at", "2026-11-30T12:00:00.999Z"],
      ["event", "evt_00000000000000000000000000000000"],
      ["tool", "task_list"],
      ["verdict", "denied"],
      ["rule", null],
      ["revisions", { cli_runner: 4 }],
      ["outcome", { transport: 200, rpc: null, tool: "error" }],
      ["args_hmac", "0".repeat(64)],
      ["bytes_in", 9_999],
      ["at", "not a time"],
    ];
    for (const [name, lie] of lies) {
      put(
        today,
        forged(lines, (members, at) => (at === 5 ? { ...members, [name]: lie } : members)),
      );
      expect([name, flawOf(await verify())]).toMatchObject([name, { file: today, line: 6 }]);
    }
    put(today, lines);
    expect(await verify()).toMatchObject({ outcome: "intact" });
  });

  test("finds that it was emptied, shortened, written anew without some lines, or is gone", async () => {
    const { dir, linesOf, put, verify } = await killedEarly();
    const lines = linesOf(today);
    const deeds: [string, string[]][] = [
      ["emptied", []],
      ["all but the first line cut", lines.slice(0, 1)],
      ["without one", forged(lines.toSpliced(4, 1), (members) => members)],
      ["one twice instead of another", forged(lines.with(4, lines[5] ?? ""), (members) => members)],
    ];
    for (const [deed, left] of deeds) {
      put(today, left);
      expect([deed, flawOf(await verify())]).toEqual([
        deed,
        expect.objectContaining({ file: today, why: expect.stringContaining("have no line") }),
      ]);
    }
    unlinkSync(join(dir, today));
    expect(flawOf(await verify())?.why).toStartWith("8 decisions of the audit log have no line");
    expect(flawOf(await verify(30))).toMatchObject({ file: today });
    // Its time would be over by then.
    clock.now += 40 * 24 * hourMs;
    expect(await verify(30)).toMatchObject({ outcome: "intact" });
  });

  test("finds a decision that was invented, once the journal has been drained past it", async () => {
    const { open, instance, linesOf, put, verify } = newLog();
    const log = open();
    await write(log, 3);
    for (const row of decisionsOf(instance, 2)) log.append(lineOf(saysOf(row)));
    await log.flush();
    expect(await verify()).toMatchObject({ outcome: "intact", undrained: 2 });
    clock.now += 60_000;
    await write(log, 1);
    expect(flawOf(await verify())).toMatchObject({ file: today, line: 5 });
    put(today, linesOf(today).slice(0, 4));
    expect(await verify()).toMatchObject({ outcome: "intact", unwritten: 1 });
  });

  test("does not believe a data dir whose id was changed", async () => {
    const { dir, instance } = await killedEarly();
    const other = newLog();
    await other.verify();
    const as = (id: string) =>
      verifyLog({ db: database.db, dir, instance: id, days: null, now: clock.now }, { from: null, to: null });
    expect(await as(instance)).toMatchObject({ outcome: "intact" });
    const unknown = `${instance.slice(0, -4)}abcd`;
    expect(flawOf(await as(unknown))?.why).toContain(`no gateway with the id ${unknown}`);
    // Of another gateway over the same database.
    expect(flawOf(await as(other.instance))).toMatchObject({
      file: today,
      line: 2,
      why: expect.stringContaining(instance),
    });
    const anchored = newLog();
    const log = anchored.open();
    await write(log, 1);
    await log.close();
    rmSync(dir, { recursive: true });
    expect(flawOf(await as(unknown))?.why).toContain("ever ran over this database");
  });
});

test("the audit log hears within a second of a file that was begun, and of one that an earlier start left", async () => {
  const { open, said } = newLog();
  const log = open();
  await write(log, 3);
  await Bun.sleep(700);
  expect(await said()).toEqual([["mcp_log.anchored", today, 4]]);
  await write(log, 3);
  // A start after a kill, at which nobody calls.
  await open().tend();
  expect((await said()).at(-1)).toEqual(["mcp_log.anchored", today, 7]);
  await open().tend();
  expect(await said()).toHaveLength(2);
});

describe("lines that a gateway took with it when it was killed", () => {
  test("are written by the next start from the audit log, marked as such", async () => {
    const { open, instance, dir, membersOf, verify } = newLog();
    await write(open(), 5);
    const lost = decisionsOf(instance, 3);
    await insert(lost);
    // So long as nobody has started it again.
    expect(await verify()).toMatchObject({ outcome: "intact", unwritten: 3 });
    clock.now += hourMs;
    const next = open();
    const rows = decisionsOf(instance, 2, 2);
    await insert(rows);
    for (const row of rows) next.append(lineOf(saysOf(row)));
    await next.flush();
    expect(await verify()).toMatchObject({ outcome: "intact", unwritten: 3 });
    await next.restore((before) => findLost(database.db, { instance, boot: 2 }, before, clock.now));
    await next.flush();
    const restored = membersOf(today).filter((one) => one.restored === true);
    expect(restored.map(({ event }) => event)).toEqual(lost.map((row) => row.event_id));
    clock.now += hourMs;
    expect(await verify()).toMatchObject({ outcome: "intact", lines: 1 + 5 + 1 + 2 + 3, unwritten: 0 });
    await open().restore((before) => findLost(database.db, { instance, boot: 3 }, before, clock.now));
    expect(membersOf(today)).toHaveLength(12);
    rmSync(dir, { recursive: true });
  });

  test("are counted by a gap line when there are too many", async () => {
    const { open, instance, membersOf, verify } = newLog({ dir: testDir().path });
    await write(open(), 2);
    await insert(decisionsOf(instance, 7));
    const next = open();
    await next.restore((before) => findLost(database.db, { instance, boot: 2 }, before, clock.now, 3));
    await next.flush();
    expect(membersOf(today).at(-1)).toMatchObject({ kind: "gap", missing: 4 });
    clock.now += hourMs;
    expect(await verify()).toMatchObject({ outcome: "intact", missing: 4, unwritten: 0 });
  });
});
