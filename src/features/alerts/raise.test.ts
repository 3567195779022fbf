import { afterAll, beforeEach, expect, test } from "bun:test";
import { type Alarm, hasAlarms, insertAlarms, takeAlarms } from "../../db/alarms.ts";
import type { Database } from "../../db/database.ts";
import { alarms } from "../../db/schema.ts";
import { unavailable } from "../../db/unavailable.ts";
import { silentLog } from "../../platform/log.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { until } from "../../testing/receiver.ts";
import { raiseLag } from "./lag.ts";
import { createRaise } from "./raise.ts";

const { database } = await testDatabase();
afterAll(() => database.close());
beforeEach(async () => {
  await database.db.delete(alarms);
});

const at = Date.parse("2026-05-01T10:59:00.000Z");
const clock = { now: () => at };
const alarm = (once: string, payload: Record<string, unknown> = {}): Alarm => ({
  type: "provider.down",
  once,
  payload,
});
const kept = () => database.db.select().from(alarms).orderBy(alarms.id);

/** The database, which can be taken away, and how often it was asked. */
function faulty() {
  const state = { isAway: false, asked: 0 };
  const away: Pick<Database, "db"> = {
    get db() {
      state.asked += 1;
      if (state.isAway) throw unavailable();
      return database.db;
    },
  };
  return { state, away };
}

test("an alarm is kept with the moment at which it was raised, once", async () => {
  const { state, away } = faulty();
  let written = 0;
  const needs = { database: away, clock, log: silentLog, written: () => void written++ };
  const { raise, close } = createRaise(needs);
  for (let i = 0; i < 5; i++) raise(alarm("a", { provider: "p" }));
  await until(async () => (await kept()).length === 1);
  const asked = state.asked;
  for (let i = 0; i < 100; i++) raise(alarm("a"));
  expect(state.asked).toBe(asked);
  expect(await kept()).toMatchObject([
    { type: "provider.down", once: "a", payload: { provider: "p" }, at: new Date(at), handedAt: null },
  ]);
  expect(written).toBe(1);
  const other = createRaise(needs);
  other.raise(alarm("a"));
  await Promise.all([close(), other.close()]);
  expect(await kept()).toHaveLength(1);
});

test("while the database is away alarms wait, as many as there is room for, and are written when it is back", async () => {
  const { state, away } = faulty();
  const warned: string[] = [];
  const log = { ...silentLog, warn: (event: string) => void warned.push(event) };
  const { raise, close } = createRaise({ database: away, clock, log, written: () => {}, retryMs: 20 });
  state.isAway = true;
  for (let i = 0; i < 1_500; i++) raise(alarm(`a${i}`));
  await Bun.sleep(100);
  // A caller's burst is no burst against the database.
  expect(state.asked).toBeLessThan(20);
  expect(warned).toEqual(["too many alarms wait for the database; further ones are lost"]);
  state.isAway = false;
  await until(async () => (await kept()).length === 1_000);
  raise(alarm("later"));
  await until(async () => (await kept()).length === 1_001);
  await close();
});

test("a close writes what is there, and takes nothing more", async () => {
  const { raise, close } = createRaise({ database, clock, log: silentLog, written: () => {} });
  raise(alarm("last"));
  await close();
  raise(alarm("too late"));
  expect(await kept()).toMatchObject([{ once: "last" }]);
});

test("a close does not wait for a database that is away", async () => {
  const { state, away } = faulty();
  state.isAway = true;
  const { raise, close } = createRaise({ database: away, clock, log: silentLog, written: () => {} });
  raise(alarm("a"));
  const begun = performance.now();
  await close();
  expect(performance.now() - begun).toBeLessThan(2_500);
});

test("an alarm that cannot be kept holds up no other", async () => {
  const errors: unknown[] = [];
  const log = { ...silentLog, error: (event: string) => void errors.push(event) };
  const { raise, close } = createRaise({ database, clock, log, written: () => {} });
  raise(alarm("first"));
  await until(async () => (await kept()).length === 1);
  raise({ ...alarm("broken"), type: null as unknown as Alarm["type"] });
  raise(alarm("second"));
  await close();
  expect((await kept()).map(({ once }) => once)).toEqual(["first", "second"]);
  expect(errors).toEqual(["an alarm could not be kept"]);
});

test("whatever a caller names a model, its alarm is kept", async () => {
  const hostile = [
    "\0",
    "half a pair \ud800",
    "x".repeat(100_000),
    `${"x".repeat(100_000)}y`,
    "😀".repeat(5_000),
    "'; --",
  ];
  await insertAlarms(
    database.db,
    hostile.map((model) => alarm(`price.unknown:p/${model}`, { model })),
  );
  expect(await kept()).toHaveLength(hostile.length);
  await insertAlarms(
    database.db,
    hostile.map((model) => alarm(`price.unknown:p/${model}`, { model })),
  );
  expect(await kept()).toHaveLength(hostile.length);
});

test("an alarm is taken by one alone, also at the same time", async () => {
  await insertAlarms(
    database.db,
    Array.from({ length: 50 }, (_, i) => alarm(`a${i}`)),
  );
  const taken = await Promise.all(
    Array.from({ length: 8 }, () => database.transaction((tx) => takeAlarms(tx, 20))),
  );
  expect(taken.flat()).toHaveLength(50);
  expect(await hasAlarms(database.db)).toBe(false);
});

test("a meter that is behind is told once an hour", () => {
  const raised: Alarm[] = [];
  const raise = (one: Alarm) => void raised.push(one);
  const lagging = (seconds: number, now: number) =>
    raiseLag({ lag: () => ({ records: 12, seconds }), raise, instance: "i1", clock: { now: () => now } });
  lagging(30, at);
  expect(raised).toEqual([]);
  lagging(30.6, at);
  expect(raised).toEqual([
    {
      type: "meter.lag",
      once: "meter.lag:i1:2026-05-01T10",
      payload: { instance: "i1", records: 12, seconds: 31 },
    },
  ]);
  lagging(90, at + 30_000);
  lagging(90, at + 120_000);
  expect(new Set(raised.map(({ once }) => once))).toEqual(
    new Set(["meter.lag:i1:2026-05-01T10", "meter.lag:i1:2026-05-01T11"]),
  );
});
