import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import type { LedgerRecord, StartRecord } from "../../db/ledger.ts";
import { systemClock } from "../../platform/clock.ts";
import { newId } from "../../platform/ids.ts";
import { openJournal } from "../../platform/journal/journal.ts";
import { silentLog } from "../../platform/log.ts";
import { expectBalanced, periodsOf, putBudget } from "../../testing/budgets.ts";
import { testDatabase, testDir } from "../../testing/cluster.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { BudgetHolds } from "../budgets/holds.ts";
import { databaseBooks, diskBooks } from "./books.ts";
import { openLedger } from "./ledger.ts";
import { dropOverHolds, settleLostInstances } from "./lost-holds.ts";
import { mergeBatch, mergeLock } from "./merge.ts";

const { database, drop } = await testDatabase();
const { sql } = database;
afterAll(drop);

let budget = "";
beforeEach(async () => {
  await sql.unsafe("delete from budgets; delete from budget_periods; delete from holds; delete from alarms");
  await sql.unsafe(
    "delete from requests; delete from attempts; delete from usage_hours; delete from instances",
  );
  budget = await putBudget(database, { subject: "client", subjectId: "cli_a", limitNano: 100_000 });
});

const subjects = { user_id: null, client_id: "cli_a", key_id: null, project_id: null };
type Boot = { instance: string; epoch: number; bootId: string };

async function hold(boot: Boot, nano: number): Promise<StartRecord> {
  const holds = new BudgetHolds({ sql, boot, log: silentLog });
  const req = newId("req");
  const periods = await holds.take({ req, subjects, nano, before: 0 });
  await holds.stop();
  return startRecord({ req, hold: nano, periods: [...periods] });
}

/** The process and the money of one boot, both of which are gone when it is killed. */
async function bootOf(mode: "disk" | "database", dir: ReturnType<typeof testDir>, boot: Boot) {
  await sql`
    insert into instances (id, epoch, nonce) values (${boot.instance}, ${boot.epoch}, 'n')
    on conflict (id) do update set epoch = excluded.epoch, heartbeat_at = now()`;
  const notes = { isNote: () => false, store: async () => undefined };
  const needs = { mode, dir, database, boot, notes, clock: systemClock(), log: silentLog } as const;
  return await openLedger(needs);
}

/** Writes as a boot that is killed right after; what is in the journal stays there. */
async function writeAndDie(
  mode: "disk" | "database",
  dir: ReturnType<typeof testDir>,
  boot: Boot,
  records: readonly LedgerRecord[],
): Promise<void> {
  const owner = { instance: boot.instance, epoch: boot.epoch };
  if (mode === "database") {
    const books = databaseBooks({ sql, owner, log: silentLog });
    for (const record of records) {
      if (record.t === "start") await books.start(record).durable;
      else if (record.t === "end") await books.end(record);
    }
    return await books.close();
  }
  const path = dir.file("journal");
  await Bun.write(`${path}/.keep`, "");
  const journal = await openJournal({ dir: path, ...boot, log: silentLog });
  const books = diskBooks(journal);
  for (const record of records) {
    if (record.t === "start") await books.start(record).durable;
    else if (record.t === "end") await books.end(record);
  }
  await journal.close();
}

const rowOf = async (req: string) => (await sql`select * from requests where id = ${req}`)[0];
const period = async () => (await periodsOf(sql, budget))[0];

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error("it did not become so in time");
    await Bun.sleep(10);
  }
}

for (const mode of ["disk", "database"] as const) {
  describe(`a gateway that was killed, with its journal in the ${mode},`, () => {
    const usual = { epoch: 1, bootId: "one" };
    const kinds = [
      ["the process", "one"],
      ["the power", "two"],
    ] as const;

    async function killed(records: (start: StartRecord) => LedgerRecord[], bootId: string) {
      const dir = testDir();
      const instance = crypto.randomUUID();
      const start = await hold({ instance, ...usual }, 700);
      await writeAndDie(mode, dir, { instance, ...usual }, records(start));
      const next = { instance, epoch: 2, bootId };
      const ledger = await bootOf(mode, dir, next);
      await ledger.settled();
      await until(async () => (await sql`select * from holds`).length === 0);
      const first = [await rowOf(start.req), await period()];
      await ledger.close();
      // Recovery itself is killed and done again.
      const again = await bootOf(mode, dir, { ...next, epoch: 3 });
      await again.settled();
      await Bun.sleep(mode === "disk" ? 200 : 0);
      expect([await rowOf(start.req), await period()]).toEqual(first);
      await again.close();
      await expectBalanced(sql);
      return { row: first[0], period: first[1] };
    }

    for (const [what, bootId] of kinds) {
      test(`${what}: knows nothing of a call that never held anything`, async () => {
        const dir = testDir();
        const ledger = await bootOf(mode, dir, { instance: crypto.randomUUID(), epoch: 2, bootId });
        await ledger.settled();
        await ledger.close();
        expect(await sql`select * from requests`).toHaveLength(0);
      });

      test(`${what}: charges a call whose START was written, and does so once`, async () => {
        const { row, period } = await killed((start) => [start], bootId);
        expect(row).toMatchObject({ state: "unknown", charged_nano: 700, cost_nano: null });
        expect(period).toMatchObject({ spent_nano: 700, held_nano: 0 });
      });

      test(`${what}: books a call whose END was durable as it ended`, async () => {
        const { row, period } = await killed(
          (start) => [start, endRecord(start, { cost: 300, close: { charged: 300 } })],
          bootId,
        );
        expect(row).toMatchObject({ state: "settled", charged_nano: 300 });
        expect(period).toMatchObject({ spent_nano: 300, held_nano: 0 });
      });

      test(`${what}: charges all that was held for a call killed between two attempts`, async () => {
        const { row, period } = await killed((start) => {
          const second = { ...start, att: 2, hold: 700 };
          return [{ ...start, hold: 350 }, second];
        }, bootId);
        expect(row).toMatchObject({ state: "unknown", charged_nano: 700 });
        expect(period).toMatchObject({ spent_nano: 700, held_nano: 0 });
      });
    }

    test("the process: gives back a hold whose START was never written", async () => {
      const { row, period } = await killed(() => [], "one");
      expect(row).toBeUndefined();
      expect(period).toMatchObject({ spent_nano: 0, held_nano: 0 });
    });

    test("the power: charges a hold whose START was never written", async () => {
      const { row, period } = await killed(() => [], "two");
      expect(row).toMatchObject({ state: "unknown", charged_nano: 700, cost_nano: null, endpoint: "" });
      expect(period).toMatchObject({ spent_nano: 700, held_nano: 0 });
    });
  });
}

describe("an instance that is lost", () => {
  const lost: Boot = { instance: crypto.randomUUID(), epoch: 4, bootId: "one" };
  const owner = { instance: lost.instance, epoch: lost.epoch };
  const own = crypto.randomUUID();
  const silentMs = 900_000;
  const settle = () => settleLostInstances(sql, own, silentMs, silentLog);
  const beat = (minutesAgo: number, epoch = lost.epoch) => sql`
    insert into instances (id, epoch, nonce, heartbeat_at)
    values (${lost.instance}, ${epoch}, 'n', now() - ${minutesAgo} * interval '1 minute')
    on conflict (id) do update set heartbeat_at = excluded.heartbeat_at, epoch = excluded.epoch`;
  const merge = (...records: LedgerRecord[]) =>
    mergeBatch(sql, owner, {
      records: records.map((record) => JSON.stringify(record)),
      epoch: lost.epoch,
      reach: null,
    });

  test("keeps what it holds while it is heard of", async () => {
    await hold(lost, 700);
    await beat(14);
    expect(await settle()).toEqual({ dropped: 0, charged: 0 });
    expect(await period()).toMatchObject({ spent_nano: 0, held_nano: 700 });
  });

  test("has its holds charged, with and without a START, by one of many that try", async () => {
    const [begun, unwritten] = [await hold(lost, 700), await hold(lost, 50)];
    await merge(begun);
    await beat(16);
    const settled = await Promise.all(Array.from({ length: 8 }, settle));
    expect(settled.some(({ charged }) => charged === 2)).toBe(true);
    expect(await rowOf(begun.req)).toMatchObject({ state: "unknown", charged_nano: 700, epoch: 4 });
    expect(await rowOf(unwritten.req)).toMatchObject({ state: "unknown", charged_nano: 50 });
    expect(await period()).toMatchObject({ spent_nano: 750, held_nano: 0 });
    expect(await settle()).toEqual({ dropped: 0, charged: 0 });
    await expectBalanced(sql);
  });

  test("has every attempt ended that was open", async () => {
    const first = await hold(lost, 700);
    await merge(first, { ...first, att: 2, hold: 700 });
    await beat(16);
    await settle();
    const attempts = await sql`select state from attempts where request_id = ${first.req}`;
    expect(attempts.map(({ state }) => state)).toEqual(["unknown", "unknown"]);
    expect(await rowOf(first.req)).toMatchObject({ state: "unknown", charged_nano: 700 });
    expect(await period()).toMatchObject({ spent_nano: 700, held_nano: 0 });
  });

  test("has its calls booked as they ended when its journal comes back", async () => {
    const [begun, unwritten] = [await hold(lost, 700), await hold(lost, 50)];
    await merge(begun);
    await beat(16);
    await settle();
    await merge(endRecord(begun, { cost: 200, close: { charged: 200 } }));
    await merge(unwritten, endRecord(unwritten, { cost: 60, close: { charged: 60 } }));
    expect(await period()).toMatchObject({ spent_nano: 260, held_nano: 0 });
    expect(await rowOf(unwritten.req)).toMatchObject({ state: "settled", client_id: "cli_a" });
    const hours =
      await sql`select sum(charged_nano)::int as charged, sum(requests)::int as n from usage_hours`;
    expect(hours[0]).toEqual({ charged: 260, n: 2 });
    await expectBalanced(sql);
  });

  test("that has been started again keeps its books to itself", async () => {
    const begun = await hold(lost, 700);
    await merge(begun);
    await beat(16);
    const racing = await sql.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(${mergeLock}::int, hashtext(${lost.instance}))`;
      const settled = settle();
      await until(async () => (await sql`select from pg_locks where not granted`).length === 1);
      await beat(0, 5);
      return { settled };
    });
    expect(await racing.settled).toEqual({ dropped: 0, charged: 0 });
    expect(await rowOf(begun.req)).toMatchObject({ state: "open" });
    expect(await period()).toMatchObject({ spent_nano: 0, held_nano: 700 });
  });

  test("loses a hold that outlived its call, whoever it belongs to", async () => {
    const start = await hold(lost, 700);
    await merge(start, endRecord(start, { cost: 5, close: { charged: 5 } }));
    const late = new BudgetHolds({ sql, boot: lost, log: silentLog });
    await late.take({ req: start.req, subjects, nano: 700, before: 0 });
    await late.stop();
    expect(await period()).toMatchObject({ spent_nano: 5, held_nano: 700 });
    expect(await dropOverHolds(sql)).toBe(1);
    expect(await period()).toMatchObject({ spent_nano: 5, held_nano: 0 });
  });
});
