import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { openDatabase } from "../../db/open.ts";
import { systemClock } from "../../platform/clock.ts";
import { type Journal, openJournal } from "../../platform/journal/journal.ts";
import { recoverJournal } from "../../platform/journal/recovery.ts";
import { silentLog } from "../../platform/log.ts";
import { ownCluster, testDatabase, testDir } from "../../testing/cluster.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { diskBooks } from "./books.ts";
import { closeLost } from "./boot.ts";
import { createDrain, type Drain } from "./drain.ts";
import { closeForgotten } from "./watermarks.ts";

const { database, drop } = await testDatabase();
afterAll(drop);

const running: { drain: Drain; journal: Journal }[] = [];
afterEach(async () => {
  for (const { drain, journal } of running.splice(0)) {
    await drain.stop();
    await journal.close();
  }
});

const notes = { isNote: () => false, store: async () => undefined };

/** One boot of a gateway over `dir`, as far as the books go. */
async function boot(dir: string, instance: string, epoch: number, sql = database.sql) {
  const recovered = await recoverJournal(dir, instance);
  const options = { dir, instance, epoch, bootId: "boot", log: silentLog, segmentBytes: 256 * 1024 };
  const journal = await openJournal(options);
  const owner = { instance, epoch };
  const needs = {
    sql,
    owner,
    bootId: "boot",
    journal,
    recovered,
    notes,
    clock: systemClock(),
    log: silentLog,
  };
  const lost = await closeLost(recovered.open, journal);
  const drain = createDrain(needs);
  running.push({ drain, journal });
  return { journal, drain, books: diskBooks(journal), lost, owner };
}

const newPlace = () => ({ dir: testDir().path, instance: crypto.randomUUID() });

async function makeCall(books: ReturnType<typeof diskBooks>): Promise<string> {
  const start = startRecord();
  const ticket = books.start(start);
  await ticket.durable;
  await books.end(endRecord(start));
  return start.req;
}

const rowOf = async (req: string, sql = database.sql) =>
  (await sql`select * from requests where id = ${req}`)[0];

describe("the drain", () => {
  test("shows a call's row within a second of its end", async () => {
    const { dir, instance } = newPlace();
    const { drain, books } = await boot(dir, instance, 1);
    drain.start();
    await drain.settled();
    const req = await makeCall(books);
    const ended = performance.now();
    while ((await rowOf(req))?.state !== "settled") await Bun.sleep(5);
    expect(performance.now() - ended).toBeLessThan(1_000);
    expect(drain.lag()).toEqual({ records: 0, seconds: 0 });
  });

  test("counts how long the oldest record waits, and not how long calls have been coming", async () => {
    const { dir, instance } = newPlace();
    const { drain, books } = await boot(dir, instance, 1);
    drain.start();
    const until = performance.now() + 1_500;
    // Without a pause in between, so that something is always on its way.
    const callers = Array.from({ length: 16 }, async () => {
      while (performance.now() < until) await makeCall(books);
    });
    await Promise.all(callers);
    expect(drain.lag().seconds).toBeLessThan(1);
  });

  test("drains what an earlier boot left, ends what it left open, and is not confused by doing so twice", async () => {
    const { dir, instance } = newPlace();
    const first = await boot(dir, instance, 1);
    const whole = await makeCall(first.books);
    const open = startRecord({ hold: 777 });
    await first.books.start(open).durable;
    const between = startRecord();
    await first.books.start(between).durable;
    await first.books.end(endRecord(between, { state: "failed", status: 500, close: null }));
    await first.journal.close();

    const second = await boot(dir, instance, 2);
    expect(second.lost).toBe(1);
    await second.journal.close();
    const third = await boot(dir, instance, 3);
    expect(third.lost).toBe(0);
    third.drain.start();
    await third.drain.settled();
    expect(await rowOf(whole)).toMatchObject({ state: "settled", epoch: 1 });
    expect(await rowOf(open.req)).toMatchObject({
      state: "unknown",
      charged_nano: 777,
      cost_nano: null,
      epoch: 1,
    });
    while ((await rowOf(between.req))?.state === "open") await Bun.sleep(5);
    expect(await rowOf(between.req)).toMatchObject({ state: "unknown", charged_nano: null });
    expect(await closeForgotten(database.sql, third.owner)).toBe(0);
  });

  test("merges again what a database that was set back has lost", async () => {
    const { dir, instance } = newPlace();
    const { drain, books } = await boot(dir, instance, 1);
    drain.start();
    const early = await makeCall(books);
    await drain.settled();
    const { sql } = database;
    await sql`delete from requests where id = ${early}`;
    await sql`update watermarks set lsn = 0 where instance = ${instance}`;
    const late = await makeCall(books);
    await drain.settled();
    while ((await rowOf(late)) === undefined) await Bun.sleep(5);
    expect(await rowOf(early)).toMatchObject({ state: "settled" });
    expect(await rowOf(late)).toMatchObject({ state: "settled" });
  });

  test("loses nothing while the database is killed and comes back", async () => {
    const cluster = await ownCluster();
    const endpoint = cluster.embedded.gateway;
    const own = await openDatabase({
      endpoint,
      direct: null,
      prepare: true,
      applicationName: "specgate/drain",
    });
    const { dir, instance } = newPlace();
    const { drain, books } = await boot(dir, instance, 1, own.sql);
    drain.start();
    const made: string[] = [];
    const calls = async (count: number) => {
      for (let i = 0; i < count; i++) {
        made.push(...(await Promise.all(Array.from({ length: 20 }, () => makeCall(books)))));
        await Bun.sleep(10);
      }
    };
    await calls(10);
    cluster.freeze();
    await calls(5);
    await Bun.sleep(300);
    expect(drain.lag().records).toBeGreaterThan(0);
    expect(drain.lag().seconds).toBeGreaterThan(0);
    cluster.kill();
    await calls(20);
    await drain.settled();
    const [counted] = await own.sql`
      select count(*)::int as n, count(*) filter (where state = 'settled')::int as settled from requests`;
    expect(counted).toEqual({ n: made.length, settled: made.length });
    expect((await own.sql`select sum(requests)::int as n from usage_hours`)[0]?.n).toBe(made.length);
    await drain.stop();
    await own.close();
    await cluster.stop();
  }, 60_000);
});
