import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { openDatabase } from "../../db/open.ts";
import { silentLog } from "../../platform/log.ts";
import { ownCluster, testDatabase } from "../../testing/cluster.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { batchMax, databaseBooks } from "./books.ts";
import { closeForgotten } from "./watermarks.ts";

const { database, drop } = await testDatabase();
const owner = { instance: crypto.randomUUID(), epoch: 2 };
const books = databaseBooks({ sql: database.sql, owner, log: silentLog });
afterAll(async () => {
  await books.close();
  await drop();
});
beforeEach(async () => {
  await database.sql.unsafe("delete from requests; delete from attempts; delete from usage_hours");
});

const rowOf = async (req: string, sql = database.sql) =>
  (await sql`select * from requests where id = ${req}`)[0];

describe("books kept in the database", () => {
  test("are written when start and end say so, and not later", async () => {
    const start = startRecord();
    await books.start(start).written;
    expect(await rowOf(start.req)).toMatchObject({ state: "open" });
    await books.end(endRecord(start));
    expect(await rowOf(start.req)).toMatchObject({ state: "settled" });
  });

  test("take many calls in few transactions", async () => {
    const starts = Array.from({ length: batchMax * 3 }, () => startRecord());
    await Promise.all(starts.map((start) => books.start(start).durable));
    await Promise.all(starts.map((start) => books.end(endRecord(start))));
    const [counted] = await database.sql`
      select count(*)::int as rows, count(distinct xmin::text)::int as transactions from requests where state = 'settled'`;
    expect(counted?.rows).toBe(starts.length);
    expect(counted?.transactions).toBeLessThan(20);
  });

  test("refuse a record that cannot be stored, and it alone", async () => {
    const [good, bad] = [startRecord(), startRecord({ input_est: 1, at: "some day" })];
    const [kept, refused] = await Promise.allSettled([books.start(good).durable, books.start(bad).durable]);
    expect(kept.status).toBe("fulfilled");
    expect(refused).toMatchObject({
      status: "rejected",
      reason: { code: "journal_unavailable", status: 503 },
    });
  });

  test("turn what an earlier run left open into unknown", async () => {
    const start = startRecord({ hold: 42 });
    const earlier = databaseBooks({ sql: database.sql, owner: { ...owner, epoch: 1 }, log: silentLog });
    await earlier.start(start).durable;
    const own = startRecord();
    await books.start(own).durable;
    expect(await closeForgotten(database.sql, owner)).toBe(1);
    expect(await rowOf(start.req)).toMatchObject({ state: "unknown", charged_nano: 42 });
    expect(await rowOf(own.req)).toMatchObject({ state: "open" });
    const [hour] = await database.sql`select requests, unknown_nano from usage_hours`;
    expect(hour).toEqual({ requests: 1, unknown_nano: 42 });
  });

  test("end every attempt that an earlier run left open, and the request also where all of them had ended", async () => {
    const earlier = databaseBooks({ sql: database.sql, owner: { ...owner, epoch: 1 }, log: silentLog });
    const [first, between] = [startRecord({ hold: 42 }), startRecord({ hold: 7 })];
    const second = startRecord({ ...first, att: 2, hold: 84 });
    for (const start of [first, second, between]) await earlier.start(start).durable;
    await earlier.end(endRecord(between, { state: "failed", cost: null, close: null }));
    expect(await closeForgotten(database.sql, owner)).toBe(2);
    expect(await rowOf(first.req)).toMatchObject({ state: "unknown", charged_nano: 84 });
    expect(await rowOf(between.req)).toMatchObject({ state: "unknown", charged_nano: 7 });
    const states =
      await database.sql`select state from attempts order by request_id = ${between.req}, attempt`;
    expect(states.map(({ state }) => state)).toEqual(["unknown", "unknown", "failed"]);
  });

  test("refuse a call while the database is away, and tell it afterwards how those in flight ended", async () => {
    const cluster = await ownCluster();
    const endpoint = cluster.embedded.gateway;
    const own = await openDatabase({
      endpoint,
      direct: null,
      prepare: true,
      applicationName: "specgate/books",
    });
    const away = databaseBooks({ sql: own.sql, owner, log: silentLog });
    const [inFlight, refused] = [startRecord(), startRecord()];
    await away.start(inFlight).durable;
    cluster.kill();
    const unavailable = { code: "journal_unavailable", status: 503 };
    const told = await Promise.allSettled([away.start(refused).durable, away.end(endRecord(inFlight))]);
    expect(told).toMatchObject([
      { status: "rejected", reason: unavailable },
      { status: "rejected", reason: unavailable },
    ]);
    const settled = async (req: string) => {
      for (;;) {
        const row = await rowOf(req, own.sql).catch(() => undefined);
        if (row !== undefined && row.state !== "open") return row;
        await Bun.sleep(50);
      }
    };
    expect(await settled(inFlight.req)).toMatchObject({ state: "settled", cost_nano: 13_500 });
    expect(await settled(refused.req)).toMatchObject({ state: "failed", cost_nano: 0, delivery: "none" });
    const again = startRecord();
    await away.start(again).durable;
    await away.close();
    await own.close();
    await cluster.stop();
  }, 60_000);
});
