import { afterAll, beforeEach, expect, test } from "bun:test";
import { forGood } from "../../db/sweep.ts";
import { systemClock } from "../../platform/clock.ts";
import type { Fields, Log } from "../../platform/log.ts";
import { silentLog } from "../../platform/log.ts";
import { startGateway } from "../../testing/gateway.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { foldDays } from "./folds.ts";
import { mergeBatch } from "./merge.ts";
import { SelfCheck } from "./self-check.ts";
import { sweepCalls } from "./store-sweep.ts";

const gateway = await startGateway();
afterAll(() => gateway.close());
const { database, robo } = gateway;
const { selfCheck } = gateway.parts.spending;
const hourMs = 3_600_000;

const call = async (hoursAgo: number) => {
  const at = new Date(Date.now() - hoursAgo * hourMs).toISOString();
  const start = startRecord({ at, project_id: robo.projectId, tags: { team: "red" } });
  const records = [start, endRecord(start)].map((record) => JSON.stringify(record));
  await mergeBatch(
    database.sql,
    { instance: gateway.dir.instance, epoch: 1 },
    { records, epoch: 1, reach: null },
  );
};

const warningsNow = async (): Promise<string[]> => {
  const ready = await gateway.nobody.fetch("/readyz");
  return ((await ready.json()) as { warnings: string[] }).warnings.filter((words) =>
    words.includes("summaries"),
  );
};

beforeEach(async () => {
  await database.sql.unsafe(
    `delete from requests; delete from attempts; delete from usage_hours; delete from usage_tag_hours;
     delete from usage_spans; delete from usage_marks`,
  );
  for (const hoursAgo of [2, 5, 30, 50, 55, 71]) await call(hoursAgo);
});

test.each([
  [
    "a roll-up that says more",
    "update usage_hours set cost_nano = cost_nano + 1 where hour = (select max(hour) from usage_hours)",
  ],
  ["one that is gone", "delete from usage_hours where hour = (select min(hour) from usage_hours)"],
  ["a tag's that is gone", "delete from usage_tag_hours where tag = 'team=red'"],
  [
    "one under another model",
    "update usage_hours set model = 'other' where hour = (select max(hour) from usage_hours)",
  ],
  ["a latency more", "update usage_hours set latency = latency * 1000000000000"],
  ["a call that is gone", "delete from requests where id = (select min(id) from requests)"],
  [
    "a folded day that says less",
    "update usage_spans set output = 0 where span = 'day' and level = 'callers'",
  ],
])("%s is told until it is mended", async (_, mistake) => {
  await foldDays(database, { pauseMs: 0 });
  await selfCheck.run(0);
  expect(await warningsNow()).toEqual([]);
  await database.sql.unsafe(mistake);
  await selfCheck.run(0);
  expect(await warningsNow()).toEqual([
    expect.stringMatching(/differ from the single calls in the (hour|day) 20/),
  ]);
  expect((await gateway.nobody.fetch("/readyz")).status).toBe(200);
  await database.sql.unsafe(
    "delete from requests; delete from usage_hours; delete from usage_tag_hours; delete from usage_spans",
  );
  await selfCheck.run(0);
  expect(await warningsNow()).toEqual([]);
});

test("the log names the hour, and a database that is away takes no warning back", async () => {
  const errors: Fields[] = [];
  const log: Log = { ...silentLog, error: (_, fields = {}) => void errors.push(fields) };
  const { db } = database;
  let isAway = false;
  const shaky = {
    execute: (...asked: Parameters<typeof db.execute>) => {
      if (isAway) throw new Error("away");
      return db.execute(...asked);
    },
  } as unknown as typeof db;
  const own = new SelfCheck({ db: shaky, clock: systemClock(), log, instance: gateway.dir.instance });
  await database.sql.unsafe(
    "update usage_hours set requests = 7 where hour = (select max(hour) from usage_hours)",
  );
  await own.run(0);
  const [row] = await database.sql`select max(hour) as hour from usage_hours`;
  expect(errors).toEqual([{ hour: row?.hour.toISOString(), groups: 1 }]);
  isAway = true;
  await own.run(0);
  expect(own.warnings()).toHaveLength(1);
});

test("calls that retention took are not missed", async () => {
  await sweepCalls(database, new Date(Date.now() - 40 * hourMs), forGood);
  const [left] = await database.sql`select count(*)::int as n from requests`;
  expect(left?.n).toBe(3);
  await selfCheck.run(0);
  expect(await warningsNow()).toEqual([]);
});
