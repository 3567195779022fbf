import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { openDatabase } from "../../db/open.ts";
import type { Failure } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { silentLog } from "../../platform/log.ts";
import { expectBalanced, periodsOf, putBudget } from "../../testing/budgets.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { mergeBatch } from "../usage/merge.ts";
import { BudgetHolds } from "./holds.ts";

const { database, gateway, drop } = await testDatabase();
const { sql } = database;
const second = await openDatabase({
  endpoint: gateway,
  direct: null,
  prepare: true,
  applicationName: "second",
});

const bootOf = () => ({ instance: crypto.randomUUID(), epoch: 1, bootId: "boot" });
const instances = [
  { boot: bootOf(), sql },
  { boot: bootOf(), sql: second.sql },
] as const;
const [one, two] = instances.map((needs) => new BudgetHolds({ ...needs, log: silentLog })) as [
  BudgetHolds,
  BudgetHolds,
];
await one.start();
await two.start();
afterAll(async () => {
  await Promise.all([one.stop(), two.stop()]);
  await second.close();
  await drop();
});
beforeEach(async () => {
  await sql.unsafe("delete from budgets; delete from budget_periods; delete from holds; delete from alarms");
  await sql.unsafe("delete from requests; delete from attempts; delete from usage_hours");
});

const nobody = { user_id: null, client_id: "cli_a", key_id: null, project_id: null };
const callOf = (nano: number, over: object = {}) => ({
  req: newId("req"),
  nano,
  before: 0,
  subjects: { ...nobody, ...over },
});
const tried = (holds: BudgetHolds, call: ReturnType<typeof callOf>) =>
  holds.take(call).then(
    (periods) => ({ call, periods, refused: null }),
    (refused: unknown) => ({ call, periods: [], refused: refused as Failure }),
  );

/** The whole call, as its records say: sent under this hold and charged this much. */
function settle(req: string, periods: readonly string[], hold: number, charged: number, at = 0) {
  const start = startRecord({ req, hold, periods: [...periods] });
  const records = [start, endRecord(start, { cost: charged, close: { charged } })];
  const { boot } = instances[at] ?? instances[0];
  return mergeBatch(sql, boot, {
    records: records.map((record) => JSON.stringify(record)),
    epoch: boot.epoch,
    reach: null,
  });
}

describe("money for one call", () => {
  for (const [name, asked] of [
    ["one instance", [one]],
    ["two instances", [one, two]],
  ] as const) {
    test(`sends exactly one of 1,000 parallel calls, fifty times over, on ${name}`, async () => {
      for (let round = 0; round < 50; round++) {
        const budget = await putBudget(database, {
          subject: "client",
          subjectId: `cli_${round}`,
          limitNano: 900,
        });
        const calls = Array.from({ length: 1_000 }, (_, at) =>
          tried(asked[at % asked.length] as BudgetHolds, callOf(500, { client_id: `cli_${round}` })),
        );
        const answers = await Promise.all(calls);
        const sent = answers.filter(({ refused }) => refused === null);
        expect(sent).toHaveLength(1);
        expect(answers.filter(({ refused }) => refused?.code === "insufficient_quota")).toHaveLength(999);
        const [{ call, periods } = { call: callOf(0), periods: [] }] = sent;
        expect(await periodsOf(sql, budget)).toMatchObject([{ spent_nano: 0, held_nano: 500 }]);
        await settle(call.req, periods, 500, 320);
        expect(await periodsOf(sql, budget)).toMatchObject([{ spent_nano: 320, held_nano: 0 }]);
      }
      await expectBalanced(sql);
    }, 60_000);
  }

  test("is in three budgets at once or in none, in whatever order they were made", async () => {
    const subjects = { project_id: "prj_a", key_id: "key_a" };
    const roomy = { limitNano: 100_000 };
    const budgets = [
      await putBudget(database, { subject: "key", subjectId: "key_a", ...roomy }),
      await putBudget(database, { subject: "project", subjectId: "prj_a", limitNano: 999 }),
      await putBudget(database, roomy),
    ];
    const calls = Array.from({ length: 400 }, (_, at) =>
      tried(at % 2 === 0 ? one : two, callOf(500, subjects)),
    );
    const others = Array.from({ length: 100 }, () => tried(two, callOf(10, { key_id: "key_a" })));
    const sent = (await Promise.all(calls)).filter(({ refused }) => refused === null);
    expect(sent.map(({ periods }) => periods.length)).toEqual([3]);
    expect((await Promise.all(others)).filter(({ refused }) => refused === null)).toHaveLength(100);
    const held = await Promise.all(budgets.map(async (id) => (await periodsOf(sql, id))[0]?.held_nano));
    expect(held).toEqual([1_500, 500, 1_500]);
    await expectBalanced(sql);
  });
});

describe("a hold", () => {
  test("is asked of those alone who are under a hard budget", async () => {
    await putBudget(database, { subject: "project", subjectId: "prj_a" });
    await putBudget(database, { subject: "key", subjectId: "key_a", hard: false });
    await one.reload();
    expect(one.isBound({ ...nobody, project_id: "prj_a" })).toBe(true);
    expect(one.isBound({ ...nobody, project_id: "prj_b" })).toBe(false);
    expect(one.isBound({ ...nobody, key_id: "key_a" })).toBe(false);
    const waited = performance.now();
    while (!two.isBound({ ...nobody, project_id: "prj_a" })) await Bun.sleep(10);
    expect(performance.now() - waited).toBeLessThan(2_000);
    expect(await one.take(callOf(5))).toEqual([]);
    expect(await sql`select * from holds`).toHaveLength(0);
    await sql`update budgets set ended_at = now(), version = version + 1`;
    await one.reload();
    expect(one.isBound({ ...nobody, project_id: "prj_a" })).toBe(false);
  });

  test("grows for a further attempt, in the same periods, or stays as it was", async () => {
    const budget = await putBudget(database, { limitNano: 1_000 });
    const call = callOf(400);
    const periods = await one.take(call);
    // Whoever asks again as before has lost the answer.
    expect(await two.take(call)).toEqual(periods);
    expect(await sql`select nano from holds where req = ${call.req}`).toMatchObject([{ nano: 400 }]);
    expect(await two.take({ ...call, before: 400 })).toEqual(periods);
    expect((await tried(one, { ...call, before: 800 })).refused?.code).toBe("insufficient_quota");
    expect(await sql`select nano from holds where req = ${call.req}`).toMatchObject([{ nano: 800 }]);
    await putBudget(database, { limitNano: 0 });
    expect(await one.take({ ...call, nano: 200, before: 800 })).toEqual(periods);
    expect(await periodsOf(sql, budget)).toMatchObject([{ held_nano: 1_000 }]);
    await settle(call.req, periods, 1_000, 990);
    expect(await periodsOf(sql, budget)).toMatchObject([{ held_nano: 0, spent_nano: 990 }]);
  });

  test("is given back when its call is not sent", async () => {
    const budget = await putBudget(database);
    const calls = Array.from({ length: 100 }, () => callOf(700));
    await Promise.all(calls.map((call) => one.take(call)));
    expect(await periodsOf(sql, budget)).toMatchObject([{ held_nano: 70_000 }]);
    // Whichever instance took them.
    for (const [at, { req }] of calls.entries()) (at % 2 === 0 ? one : two).drop(req);
    while ((await sql`select * from holds`).length > 0) await Bun.sleep(5);
    expect(await periodsOf(sql, budget)).toMatchObject([{ held_nano: 0 }]);
  });

  test("is refused in words that name the budget, its time and when it starts anew", async () => {
    await putBudget(database, { subject: "project", subjectId: "prj_a", limitNano: 1 });
    const { refused } = await tried(one, callOf(2, { project_id: "prj_a" }));
    const now = new Date();
    const ends = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1));
    expect(refused?.message).toBe(
      `The budget of project prj_a for this month has no room left for this call. It starts anew at ${ends.toISOString()}.`,
    );
    expect([refused?.kind, refused?.status]).toEqual(["budget", 429]);
    expect(refused?.retryAfterSeconds).toBeWithin(
      Math.floor((ends.getTime() - Date.now()) / 1_000) - 5,
      Math.ceil((ends.getTime() - Date.now()) / 1_000) + 5,
    );
  });

  test("of a boot that was taken over is refused", async () => {
    await putBudget(database);
    const { boot } = instances[0];
    await sql`insert into instances (id, epoch, nonce) values (${boot.instance}, 2, 'n')`;
    expect((await tried(one, callOf(1))).refused?.code).toBe("budget_unavailable");
    await sql`delete from instances`;
    expect(await one.take(callOf(1))).toHaveLength(1);
  });
});

describe("alarms", () => {
  const alarms = async () =>
    (await sql<{ once: string; payload: object }[]>`select once, payload from alarms order by id`).map(
      ({ once, payload }) => [once.replace(/bud_\w+/, "bud").replace(/req_\w+/, "req"), payload] as const,
    );

  test("tell each threshold once a period, also several that are passed at once", async () => {
    await putBudget(database, { limitNano: 1_000, thresholds: [10, 50, 80, 100], hard: false });
    const spend = (nano: number) => {
      const start = startRecord();
      return mergeBatch(sql, instances[0].boot, {
        records: [start, endRecord(start, { cost: nano, close: { charged: nano } })].map((it) =>
          JSON.stringify(it),
        ),
        epoch: 1,
        reach: null,
      });
    };
    await spend(60);
    expect(await alarms()).toEqual([]);
    await spend(500);
    await spend(1);
    expect((await alarms()).map(([once]) => once.replace(/@\w+/, ""))).toEqual([
      "budget.threshold:bud:10",
      "budget.threshold:bud:50",
    ]);
    await spend(439);
    await spend(1_000);
    const told = await alarms();
    expect(told.map(([once]) => once.replace(/@\w+/, "")).slice(2)).toEqual([
      "budget.threshold:bud:80",
      "budget.threshold:bud:100",
      "budget.exhausted:bud",
    ]);
    expect(told[2]?.[1]).toMatchObject({ threshold: 80, limit_usd: "0.000001", spent_usd: "0.000001" });
  });

  test("tell of the first call that finds no room when half is spent, and of no call that is too large", async () => {
    await putBudget(database, { limitNano: 1_000, thresholds: [] });
    const spend = async (nano: number) => {
      const call = callOf(nano);
      await settle(call.req, await one.take(call), nano, nano);
    };
    await spend(499);
    await tried(one, callOf(900));
    await spend(451);
    await tried(one, callOf(1_001));
    const held = callOf(40);
    const periods = await one.take(held);
    expect(await alarms()).toEqual([]);
    await tried(one, callOf(11));
    await tried(two, callOf(11));
    const [told, ...more] = await alarms();
    expect(more).toEqual([]);
    expect(told?.[0]).toStartWith("budget.exhausted:bud@");
    expect(told?.[1]).toMatchObject({ spent_usd: "0.00000095", held_usd: "0.00000004" });
    await settle(held.req, periods, 40, 60);
    expect((await alarms()).map(([once]) => once.replace(/[:@].*/, ""))).toEqual([
      "budget.exhausted",
      "budget.overrun",
    ]);
  });

  test("tell when all is spent, though a call that was too large had been refused before", async () => {
    await putBudget(database, { limitNano: 1_000, thresholds: [] });
    await tried(one, callOf(5_000));
    expect(await alarms()).toEqual([]);
    const call = callOf(1_000);
    await settle(call.req, await one.take(call), 1_000, 1_000);
    expect((await alarms()).map(([once]) => once.replace(/@\w+/, ""))).toEqual(["budget.exhausted:bud"]);
  });

  test("tell of a charge beyond its hold", async () => {
    await putBudget(database, { limitNano: 1_000, thresholds: [] });
    const call = callOf(900);
    await settle(call.req, await one.take(call), 900, 901);
    const [overrun] = await alarms();
    expect(overrun).toMatchObject([
      "budget.overrun:req",
      { request_id: call.req, hold_usd: "0.0000009", charged_usd: "0.000000901" },
    ]);
  });
});
