import { afterAll, beforeEach, expect, test } from "bun:test";
import type { LedgerRecord } from "../../db/ledger.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import type { Group } from "./contract.ts";
import { foldDays } from "./folds.ts";
import { mergeBatch } from "./merge.ts";
import { summarise } from "./present.ts";
import { findDifferences } from "./self-check.ts";
import type { Sight } from "./store.ts";
import { foldPiece } from "./store-folds.ts";
import { type SumQuestion, sumUsage } from "./store-sums.ts";

const { database, drop } = await testDatabase();
afterAll(drop);
const owner = { instance: crypto.randomUUID(), epoch: 1 };
const dayMs = 86_400_000;
const today = Math.floor(Date.now() / dayMs) * dayMs;

beforeEach(async () => {
  await database.sql.unsafe(
    `delete from requests; delete from attempts; delete from usage_hours; delete from usage_tag_hours;
     delete from usage_spans; delete from usage_marks`,
  );
});

const merge = async (...records: LedgerRecord[]) => {
  const texts = records.map((record) => JSON.stringify(record));
  for (let at = 0; at < texts.length; at += 400)
    await mergeBatch(database.sql, owner, { records: texts.slice(at, at + 400), epoch: 1, reach: null });
};

const pick = <One>(from: readonly One[], at: number): One => from[at % from.length] as One;

/** One call, made of a number, some days and hours ago. */
function callOf(number: number, daysAgo: number): [LedgerRecord, LedgerRecord] {
  const start = startRecord({
    at: new Date(today - daysAgo * dayMs + ((number * 7_919) % 86_400) * 1_000).toISOString(),
    provider: pick(["openai", "claude"], number),
    model: pick(["a", "b", "c"], number * 7),
    project_id: pick(["prj_1", "prj_2", null], number * 3),
    client_id: pick(["cli_1", "cli_2", null], number * 5),
    user_id: pick(["usr_1", null], number * 11),
    session_id: pick(["ses_1", null], number),
    task_id: pick(["tsk_1", "tsk_2", null], number * 13),
    key_id: pick(["key_1", null], number * 17),
    tags: pick<Record<string, string> | null>(
      [{ team: "red" }, { team: "blue", run: "1" }, null, {}],
      number,
    ),
  });
  const unknown = number % 6 === 0;
  const over = unknown
    ? { state: "unknown" as const, cost: null, usage: null, close: { charged: 900 + number } }
    : { state: pick(["settled", "failed", "estimated"] as const, number), cost: 100 + number };
  return [
    start,
    endRecord(start, { ...over, duration_ms: (number * 37) % 5_000, first_token_ms: number % 900 }),
  ];
}

const sights: Sight[] = [
  { of: "all" },
  { of: "project", id: "prj_1" },
  { of: "client", id: "cli_2" },
  { of: "person", id: "usr_1", projectIds: ["prj_2"] },
];
const groupings: Group[][] = [
  [],
  ["day"],
  ["hour", "model"],
  ["model", "project"],
  ["client"],
  ["user", "day"],
  ["task", "project"],
  ["session", "key"],
  ["tag"],
  ["tag", "day"],
  ["project", "tag"],
];
const spans = [
  {},
  { from: new Date(today - 50 * dayMs + 5_000_000) },
  { from: new Date(today - 40 * dayMs), to: new Date(today - 3 * dayMs + 9_999_999) },
];
const narrowings = [{}, { model: "a", project: "prj_1" }, { task: "tsk_1" }, { tag: "team=blue" }];

async function answers(): Promise<string[]> {
  const all: string[] = [];
  for (const sight of sights)
    for (const by of groupings)
      for (const span of spans)
        for (const filters of narrowings) {
          const asked: SumQuestion = {
            sight,
            by,
            filters,
            from: undefined,
            to: undefined,
            ...span,
            rowsMax: 10_000,
          };
          const { data, totals } = summarise(await sumUsage(database.db, asked), by, "tag" in filters);
          const lines = data.map((row) => JSON.stringify(row)).sort();
          all.push(JSON.stringify([sight, by, span, filters, lines, totals]));
        }
  return all;
}

test("folding changes no answer, nor does what comes for a folded day afterwards", async () => {
  const calls = Array.from({ length: 300 }, (_, number) => callOf(number, number % 75));
  await merge(...calls.flat());
  const before = await answers();
  expect(await foldDays(database, { pauseMs: 0 })).toBe(new Date().getUTCHours() >= 1 ? 74 : 73);
  expect(await answers()).toEqual(before);
  expect(await foldDays(database, { pauseMs: 0 })).toBe(0);

  // An end that was unknown, calls of days that are folded, and one from before all of them.
  const late = calls
    .filter(([, end]) => end.t === "end" && end.state === "unknown")
    .map(([start]) => endRecord(start as { req: string; att: number }, { cost: 5, duration_ms: 77 }));
  const more = [400, 401, 402, 403].map((number) => callOf(number, number === 403 ? 120 : number % 60));
  await merge(...late, ...more.flat());
  const after = await answers();
  expect(after).not.toEqual(before);
  await database.sql.unsafe("delete from usage_marks; delete from usage_spans");
  expect(await answers()).toEqual(after);
});

test("days are read where they are folded, and not added up from their hours again", async () => {
  await merge(...callOf(1, 10), ...callOf(2, 10));
  await foldDays(database, { pauseMs: 0 });
  await database.sql.unsafe("delete from usage_hours");
  const asked = { sight: { of: "all" }, filters: {}, from: undefined, to: undefined, rowsMax: 9 } as const;
  for (const by of [["day"], ["model"], []] as Group[][]) {
    const { totals } = summarise(await sumUsage(database.db, { ...asked, by }), by);
    expect(totals.requests).toBe(2);
  }
});

test("two instances that fold and merge at once come to the same sums", async () => {
  const calls = Array.from({ length: 400 }, (_, number) => callOf(number, 2 + (number % 20)));
  await merge(...calls.slice(0, 200).flat());
  const other = { instance: crypto.randomUUID(), epoch: 1 };
  const texts = calls.slice(200).map((records) => records.map((record) => JSON.stringify(record)));
  await Promise.all([
    foldDays(database, { pauseMs: 0 }),
    foldDays(database, { pauseMs: 0 }),
    (async () => {
      for (let at = 0; at < texts.length; at += 10)
        await mergeBatch(database.sql, other, {
          records: texts.slice(at, at + 10).flat(),
          epoch: 1,
          reach: null,
        });
    })(),
  ]);
  const folded = await answers();
  expect(await findDifferences(database.db, { now: Date.now(), pauseMs: 0 })).toEqual([]);
  await database.sql.unsafe("delete from usage_marks; delete from usage_spans");
  expect(await answers()).toEqual(folded);
});

test("what comes while an hour is half folded is counted once, on whichever side of the mark", async () => {
  const at = (number: number) => ({
    at: new Date(today - 5 * dayMs + (number % 2) * 1_800_000).toISOString(),
  });
  const inOneHour = (number: number) => {
    const [start, end] = callOf(number, 5);
    return [{ ...start, ...at(number) }, end] as LedgerRecord[];
  };
  await merge(...Array.from({ length: 200 }, (_, number) => inOneHour(number)).flat());
  let late = 1_000;
  let pieces = 0;
  for (let isDone = false; !isDone; pieces++) {
    ({ isDone } = await foldPiece(database, 1));
    if (pieces < 40) await merge(...inOneHour(late++), ...inOneHour(late++));
    const [sums] = await database.sql`
      select (select sum(charged_nano) from requests)::int as charged,
        sum_charged('global', null, 'epoch', null)::int as global,
        sum_charged('client', 'cli_1', 'epoch', null)::int as client,
        (select sum(charged_nano) from requests where client_id = 'cli_1')::int as "ofClient"`;
    expect([sums?.global, sums?.client]).toEqual([sums?.charged, sums?.ofClient]);
  }
  expect(pieces).toBeGreaterThan(15);
  const folded = await answers();
  expect(await findDifferences(database.db, { now: today, pauseMs: 0 })).toEqual([]);
  await database.sql.unsafe("delete from usage_marks; delete from usage_spans");
  expect(await answers()).toEqual(folded);
}, 60_000);

test("a day of very many groups is folded without keeping the merges waiting", async () => {
  const count = 20_000;
  await merge(...callOf(1, 3));
  await database.sql`
    insert into usage_tag_hours
    select 'many=' || n, hour, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id,
      requests, errors, input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano, unknown_nano,
      latency, first_token
    from usage_hours cross join generate_series(1, ${count}) as n`;
  const waits: number[] = [];
  let isFolding = true;
  const merging = (async () => {
    for (let number = 2; isFolding; number++) {
      const began = performance.now();
      await merge(...callOf(number, 0));
      waits.push(performance.now() - began);
      await Bun.sleep(20);
    }
  })();
  expect(await foldDays(database, { pauseMs: 10 })).toBeGreaterThan(1);
  isFolding = false;
  await merging;
  expect(waits.length).toBeGreaterThan(20);
  expect(Math.max(...waits)).toBeLessThan(1_000);
  const [days] = await database.sql`
    select count(*)::int as n from usage_spans where span = 'day' and level = 'totals' and tag like 'many=%'`;
  expect(days?.n).toBe(count);
}, 60_000);
