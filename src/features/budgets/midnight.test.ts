import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Failure } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { silentLog } from "../../platform/log.ts";
import { expectBalanced, periodsOf, putBudget } from "../../testing/budgets.ts";
import { type FakeTimeDatabase, isMissing, startFakeTime } from "../../testing/fake-time.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { mergeBatch } from "../usage/merge.ts";
import { BudgetHolds } from "./holds.ts";

describe.skipIf(isMissing)("the database's clock", () => {
  let server: FakeTimeDatabase;
  let holds: BudgetHolds;
  const boot = { instance: crypto.randomUUID(), epoch: 1, bootId: "boot" };
  beforeAll(async () => {
    server = await startFakeTime();
    holds = new BudgetHolds({ sql: server.database.sql, boot, log: silentLog });
  });
  afterAll(() => server?.stop());

  const take = async (budget: string, nano: number) => {
    const req = newId("req");
    const subjects = { user_id: null, client_id: null, key_id: budget, project_id: null };
    return holds.take({ req, subjects, nano, before: 0 }).then(
      (periods) => ({ req, periods, refused: null }),
      (refused: unknown) => ({ req, periods: [], refused: refused as Failure }),
    );
  };
  const settle = (
    budget: string,
    { req, periods }: Awaited<ReturnType<typeof take>>,
    charged: number,
    at: string,
  ) => {
    const start = startRecord({ req, key_id: budget, hold: 900, periods: [...periods], at });
    const records = [start, endRecord(start, { cost: charged, close: { charged } })];
    return mergeBatch(server.database.sql, boot, {
      records: records.map((record) => JSON.stringify(record)),
      epoch: 1,
      reach: null,
    });
  };
  const put = (key: string, over: Parameters<typeof putBudget>[1]) =>
    putBudget(server.database, { subject: "key", subjectId: key, limitNano: 1_000, ...over });
  const spentIn = async (budget: string) =>
    (await periodsOf(server.database.sql, budget)).map((period) => [
      period.starts_at.toISOString(),
      period.ends_at?.toISOString() ?? null,
      period.spent_nano,
      period.held_nano,
    ]);
  const now = async (): Promise<number> => {
    const [row] = await server.database.sql<{ now: Date }[]>`select clock_timestamp() as now`;
    return row?.now.getTime() ?? 0;
  };

  test("opens a new month at its zone's midnight, and what was held before settles in the old one", async () => {
    server.set("2027-01-31T18:29:58.000Z");
    const budget = await put("key_month", { timezone: "Asia/Kolkata" });
    const before = await take("key_month", 900);
    expect(before.periods).toEqual([`${budget}@20261231T183000Z`]);
    const refused = await take("key_month", 900);
    expect(refused.refused?.message).toEndWith("It starts anew at 2027-01-31T18:30:00.000Z.");
    while ((await now()) < Date.parse("2027-01-31T18:30:00.000Z")) await Bun.sleep(50);
    const after = await take("key_month", 900);
    expect(after.periods).toEqual([`${budget}@20270131T183000Z`]);
    // The call went on over midnight, and its time is that of its beginning or, by another clock, of its end.
    await settle("key_month", before, 800, "2027-01-31T18:30:01.000Z");
    await settle("key_month", after, 300, "2027-01-31T18:30:01.500Z");
    expect(await spentIn(budget)).toEqual([
      ["2026-12-31T18:30:00.000Z", "2027-01-31T18:30:00.000Z", 800, 0],
      ["2027-01-31T18:30:00.000Z", "2027-02-28T18:30:00.000Z", 300, 0],
    ]);
    await expectBalanced(server.database.sql);
  });

  test("gives a day of 23 and one of 25 hours the money of one day", async () => {
    server.set("2027-03-28T12:00:00Z");
    const budget = await put("key_day", { period: "day", timezone: "Europe/Berlin" });
    const short = await take("key_day", 900);
    server.set("2027-03-28T21:59:59.900Z");
    expect((await take("key_day", 900)).refused?.code).toBe("insufficient_quota");
    server.set("2027-03-28T22:00:00.100Z");
    const next = await take("key_day", 900);
    server.set("2027-10-30T22:00:00.100Z");
    const long = await take("key_day", 900);
    server.set("2027-10-31T22:59:59.900Z");
    expect((await take("key_day", 900)).refused?.code).toBe("insufficient_quota");
    server.set("2027-10-31T23:00:00.100Z");
    const last = await take("key_day", 900);
    for (const held of [short, next, long, last])
      await settle("key_day", held, 900, new Date(await now()).toISOString());
    expect(await spentIn(budget)).toEqual([
      ["2027-03-27T23:00:00.000Z", "2027-03-28T22:00:00.000Z", 900, 0],
      ["2027-03-28T22:00:00.000Z", "2027-03-29T22:00:00.000Z", 900, 0],
      ["2027-10-30T22:00:00.000Z", "2027-10-31T23:00:00.000Z", 900, 0],
      ["2027-10-31T23:00:00.000Z", "2027-11-01T23:00:00.000Z", 900, 0],
    ]);
  });

  test("begins a week on the day that the budget says", async () => {
    server.set("2027-05-01T12:00:00Z");
    const budgets = await Promise.all([
      put("key_week", { period: "week", weekStart: "sunday", limitNano: 10_000 }),
      put("key_week", { period: "week", weekStart: "monday", limitNano: 10_000 }),
    ]);
    // A Saturday, a Sunday and a Monday.
    for (const time of ["2027-05-01T12:00:00Z", "2027-05-02T12:00:00Z", "2027-05-03T12:00:00Z"]) {
      server.set(time);
      await settle("key_week", await take("key_week", 900), 900, time);
    }
    const [sunday, monday] = await Promise.all(budgets.map(spentIn));
    expect(sunday?.map(([starts, , spent]) => [starts, spent])).toEqual([
      ["2027-04-25T00:00:00.000Z", 900],
      ["2027-05-02T00:00:00.000Z", 1_800],
    ]);
    expect(monday?.map(([starts, , spent]) => [starts, spent])).toEqual([
      ["2027-04-26T00:00:00.000Z", 1_800],
      ["2027-05-03T00:00:00.000Z", 900],
    ]);
  });

  test("may go back over a midnight: what is held stays where it is, and the old period has its money still", async () => {
    server.set("2027-06-02T00:00:01Z");
    const budget = await put("key_back", { period: "day" });
    const ahead = await take("key_back", 900);
    server.set("2027-06-01T23:59:50Z");
    const behind = await take("key_back", 900);
    await settle("key_back", ahead, 500, "2027-06-02T00:00:01Z");
    await settle("key_back", behind, 400, "2027-06-01T23:59:50Z");
    expect((await spentIn(budget)).map(([starts, , spent, held]) => [starts, spent, held])).toEqual([
      ["2027-06-01T00:00:00.000Z", 400, 0],
      ["2027-06-02T00:00:00.000Z", 500, 0],
    ]);
  });
});
