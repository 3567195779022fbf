import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { LedgerRecord, StartRecord } from "../../db/ledger.ts";
import { newId } from "../../platform/ids.ts";
import { silentLog } from "../../platform/log.ts";
import { expectBalanced, periodsOf, putBudget } from "../../testing/budgets.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { foldDays } from "../usage/folds.ts";
import { mergeBatch } from "../usage/merge.ts";
import { BudgetHolds } from "./holds.ts";
import { updateBudget } from "./store.ts";

const { database, drop } = await testDatabase();
const { sql } = database;
afterAll(drop);
beforeEach(clear);

async function clear(): Promise<void> {
  await sql.unsafe("delete from budgets; delete from budget_periods; delete from holds; delete from alarms");
  await sql.unsafe(
    "delete from requests; delete from attempts; delete from usage_hours; delete from watermarks; delete from usage_spans; delete from usage_marks",
  );
}

const boots = [1, 2].map((epoch) => ({ instance: crypto.randomUUID(), epoch, bootId: "boot" }));
type Boot = (typeof boots)[number];
const merge = (boot: Boot, records: readonly LedgerRecord[]) =>
  mergeBatch(sql, boot, {
    records: records.map((record) => JSON.stringify(record)),
    epoch: boot.epoch,
    reach: null,
  });

const names = {
  project: ["prj_a", "prj_b"],
  user: ["usr_a", "usr_b"],
  client: ["cli_a"],
  key: ["key_a", "key_b"],
};
const subjectOf = fc.oneof(
  fc.constant({ subject: "global" as const, subjectId: null }),
  ...(["project", "user", "client", "key"] as const).map((subject) =>
    fc.constantFrom(...names[subject]).map((subjectId) => ({ subject, subjectId })),
  ),
);
const newBudget = fc.record({
  about: subjectOf,
  period: fc.constantFrom("day", "week", "month", "total" as const),
  timezone: fc.constantFrom("UTC", "Asia/Kolkata", "Pacific/Chatham", "America/Nuuk"),
  limitNano: fc.integer({ min: 0, max: 4_000 }),
  hard: fc.boolean(),
});

const call = fc.record({
  at: fc.nat(1),
  nano: fc.integer({ min: 0, max: 900 }),
  charged: fc.option(fc.integer({ min: 0, max: 1_500 }), { freq: 6 }),
  /** Some clocks are behind or ahead, some calls are of days ago. */
  hoursAgo: fc.constantFrom(0, 0, 0, 1, 26, 190, 800, -1),
  user: fc.constantFrom(null, ...names.user),
  key: fc.constantFrom(null, ...names.key),
  project: fc.constantFrom(null, ...names.project),
  attempts: fc.integer({ min: 1, max: 2 }),
  fate: fc.constantFrom(
    "ends",
    "ends",
    "is lost",
    "is lost and ends",
    "is never sent",
    "ends out of order",
    "goes on",
  ),
});
type Call = typeof call extends fc.Arbitrary<infer T> ? T : never;

/** One call from its hold to its end, piece by piece, so that others run in between. */
async function live(
  holds: readonly BudgetHolds[],
  { at, nano, attempts, fate, ...made }: Call,
): Promise<void> {
  const [boot, asked] = [boots[at] as Boot, holds[at] as BudgetHolds];
  const subjects = { user_id: made.user, client_id: "cli_a", key_id: made.key, project_id: made.project };
  const req = newId("req");
  const when = new Date(Date.now() - made.hoursAgo * 3_600_000).toISOString();
  const starts: StartRecord[] = [];
  for (let att = 1; att <= attempts; att++) {
    const periods = await asked.take({ req, subjects, nano, before: (att - 1) * nano }).catch(() => null);
    if (periods === null) break;
    const isBound = periods.length > 0;
    const held = { hold: isBound ? att * nano : null, periods: isBound ? [...periods] : null };
    starts.push(startRecord({ req, att, at: when, ...subjects, ...held }));
  }
  const last = starts.at(-1);
  if (last === undefined) return;
  if (fate === "is never sent") return asked.drop(req);
  const lost: LedgerRecord = { t: "lost", req, att: last.att, charged: last.hold };
  const end = endRecord(last, { cost: made.charged, close: { charged: made.charged } });
  const pieces: Record<Exclude<typeof fate, "is never sent">, LedgerRecord[][]> = {
    ends: [starts, [end]],
    "is lost": [starts, [lost]],
    "is lost and ends": [starts, [lost], [end], [lost, end]],
    "ends out of order": [[end], starts, [end]],
    "goes on": [starts],
  };
  for (const piece of pieces[fate]) await merge(boot, piece);
}

test("at any quiet point what is held and spent is the sum of the holds and of what is charged", async () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.array(call, { minLength: 1, maxLength: 12 }).map((calls) => ({ calls })) },
    { weight: 2, arbitrary: newBudget.map((budget) => ({ budget })) },
    { weight: 1, arbitrary: fc.nat(9).map((ends) => ({ ends })) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 12 }), async (steps) => {
      await clear();
      const holds = boots.map((boot) => new BudgetHolds({ sql, boot, log: silentLog }));
      const budgets: string[] = [];
      for (const doing of steps) {
        if ("calls" in doing) await Promise.all(doing.calls.map((one) => live(holds, one)));
        else if ("budget" in doing) {
          const { about, ...terms } = doing.budget;
          budgets.push(await putBudget(database, { ...about, ...terms }));
        } else {
          const id = budgets[doing.ends];
          if (id !== undefined) await updateBudget(database.db, id, { endedAt: new Date() });
        }
        // Dropped holds go a moment later.
        await Bun.sleep(2);
        await Promise.all(holds.map((one) => one.settled()));
        await expectBalanced(sql);
      }
      const [over] =
        await sql`select count(*)::int as n from budget_periods where held_nano < 0 or spent_nano < 0`;
      expect(over?.n).toBe(0);
    }),
    { numRuns: 40 },
  );
}, 120_000);

describe("a budget made in mid-period", () => {
  test("has spent what its subject was charged, once, however many merges run at that moment", async () => {
    let isOver = false;
    let merged = 0;
    const load = boots.map(async (boot) => {
      while (!isOver) {
        const pairs = Array.from({ length: 5 }, () => {
          const start = startRecord({ project_id: "prj_a", user_id: `usr_${merged % 3}` });
          return [start, endRecord(start, { cost: 7, close: { charged: 7 } })];
        });
        // In one batch or in two, as it happens.
        if (merged++ % 2 === 0) await merge(boot, pairs.flat());
        else for (const records of pairs) await merge(boot, records);
      }
    });
    const budgets: string[] = [];
    const zones = ["UTC", "Asia/Kolkata", "Pacific/Chatham"];
    for (let made = 0; made < 30; made++) {
      // In the middle of one.
      for (const begun = merged; merged === begun; ) await Bun.sleep(0);
      await Bun.sleep(made % 5);
      const about =
        made % 2 === 0 ? { subject: "project", subjectId: "prj_a" } : { subject: "user", subjectId: "usr_1" };
      const period = (["day", "week", "month"] as const)[made % 4] ?? "total";
      const timezone = zones[made % 3] ?? "UTC";
      budgets.push(await putBudget(database, { ...(about as { subject: "user" }), period, timezone }));
    }
    isOver = true;
    await Promise.all(load);
    expect(merged).toBeGreaterThan(30);
    await expectBalanced(sql);
    const [row] = await sql`select sum(charged_nano)::int as n from requests`;
    expect((await periodsOf(sql, budgets[0] as string))[0]?.spent_nano).toBe(row?.n);
  });

  test("of all time counts what was long ago, folded or not", async () => {
    const ago = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString();
    const about = { user_id: "usr_a", project_id: "prj_a", key_id: "key_a" };
    const spend = async (days: number) => {
      const start = startRecord({ ...about, at: ago(days) });
      await merge(boots[0] as Boot, [start, endRecord(start, { cost: 10, close: { charged: 10 } })]);
    };
    for (const days of [0, 1, 3, 40, 400]) await spend(days);
    const foldedDays = await foldDays(database, { pauseMs: 0 });
    expect(foldedDays).toBeGreaterThan(300);
    // Into a day that is folded already.
    for (const days of [3, 41]) await spend(days);
    const subjects = { global: null, user: "usr_a", project: "prj_a", client: "cli_a", key: "key_a" };
    for (const [subject, subjectId] of Object.entries(subjects)) {
      const about = { subject: subject as "global", subjectId: subjectId as null };
      const budget = await putBudget(database, { ...about, period: "total" });
      expect([subject, await periodsOf(sql, budget)]).toMatchObject([subject, [{ spent_nano: 70 }]]);
    }
    await spend(500);
    await expectBalanced(sql);
  }, 60_000);

  test("tells at once of the thresholds that were passed before it was made", async () => {
    const start = startRecord();
    await merge(boots[0] as Boot, [start, endRecord(start, { cost: 800, close: { charged: 800 } })]);
    await putBudget(database, { limitNano: 1_000, thresholds: [50, 80, 100] });
    const told = await sql`select payload ->> 'threshold' as threshold from alarms order by id`;
    expect(told.map(({ threshold }) => threshold)).toEqual(["50", "80"]);
  });

  test("charges nothing to the time before it", async () => {
    const old = startRecord({ at: new Date(Date.now() - 400 * 86_400_000).toISOString() });
    const budget = await putBudget(database);
    await merge(boots[0] as Boot, [old, endRecord(old, { cost: 5, close: { charged: 5 } })]);
    expect(await periodsOf(sql, budget)).toMatchObject([{ spent_nano: 0 }]);
  });
});

test("a month begins and ends at its zone's midnights, also where the clocks are changed there", async () => {
  const rows: [string, string, string, string, string, string][] = [
    // Havana's midnight comes twice in autumn; the first begins the day.
    [
      "day",
      "America/Havana",
      "monday",
      "2026-11-01T04:30:00Z",
      "2026-11-01T04:00:00Z",
      "2026-11-02T05:00:00Z",
    ],
    [
      "day",
      "America/Havana",
      "monday",
      "2026-11-01T05:30:00Z",
      "2026-11-01T04:00:00Z",
      "2026-11-02T05:00:00Z",
    ],
    // Cairo's does not come at all in spring.
    ["day", "Africa/Cairo", "monday", "2026-04-24T09:00:00Z", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"],
    [
      "day",
      "Europe/Berlin",
      "monday",
      "2026-03-29T12:00:00Z",
      "2026-03-28T23:00:00Z",
      "2026-03-29T22:00:00Z",
    ],
    [
      "day",
      "Europe/Berlin",
      "monday",
      "2026-10-25T12:00:00Z",
      "2026-10-24T22:00:00Z",
      "2026-10-25T23:00:00Z",
    ],
    [
      "month",
      "Asia/Kolkata",
      "monday",
      "2026-11-30T18:29:59Z",
      "2026-10-31T18:30:00Z",
      "2026-11-30T18:30:00Z",
    ],
    [
      "month",
      "Asia/Kolkata",
      "monday",
      "2026-11-30T18:30:00Z",
      "2026-11-30T18:30:00Z",
      "2026-12-31T18:30:00Z",
    ],
    [
      "month",
      "Europe/Berlin",
      "monday",
      "2026-03-15T00:00:00Z",
      "2026-02-28T23:00:00Z",
      "2026-03-31T22:00:00Z",
    ],
    [
      "week",
      "Europe/Berlin",
      "monday",
      "2026-03-29T12:00:00Z",
      "2026-03-22T23:00:00Z",
      "2026-03-29T22:00:00Z",
    ],
    [
      "week",
      "Europe/Berlin",
      "sunday",
      "2026-03-29T12:00:00Z",
      "2026-03-28T23:00:00Z",
      "2026-04-04T22:00:00Z",
    ],
    ["week", "UTC", "sunday", "2026-11-28T23:59:59Z", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"],
    ["week", "UTC", "monday", "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"],
  ];
  for (const row of rows) {
    const [period, zone, weekStart, at, starts, ends] = row;
    const [found] = await sql`
      select budget_period_start(${period}, ${zone}, ${weekStart}, ${at}::timestamptz) as starts,
        budget_period_end(${period}, ${zone}, ${weekStart}, ${at}::timestamptz) as ends`;
    expect([row, found?.starts, found?.ends]).toEqual([row, new Date(starts), new Date(ends)]);
  }
});

test("every moment lies in its period, and every period begins where the one before it ends", async () => {
  const zones = [
    "America/Havana",
    "Africa/Cairo",
    "America/Nuuk",
    "Atlantic/Azores",
    "Asia/Beirut",
    "Asia/Kolkata",
  ];
  for (const zone of [...zones, "America/Asuncion", "Australia/Lord_Howe", "Antarctica/Troll"]) {
    for (const period of ["day", "week", "month"]) {
      const [wrong] = await sql`
        with moments as (
          select at, budget_period_start(${period}, ${zone}, 'sunday', at) as starts,
            budget_period_end(${period}, ${zone}, 'sunday', at) as ends
          from generate_series(timestamptz '2025-01-01', timestamptz '2026-12-31', interval '211 minutes') as at
        )
        select count(*)::int as moments,
          count(*) filter (where at < starts or at >= ends)::int as outside,
          count(*) filter (where budget_period_start(${period}, ${zone}, 'sunday', ends) <> ends)::int as gaps,
          count(*) filter (where budget_period_end(${period}, ${zone}, 'sunday', starts - interval '1 second') <> starts)::int
            as overlaps
        from moments`;
      expect([zone, period, wrong]).toEqual([
        zone,
        period,
        { moments: expect.any(Number), outside: 0, gaps: 0, overlaps: 0 },
      ]);
    }
  }
}, 60_000);
