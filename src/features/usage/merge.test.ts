import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { LedgerRecord } from "../../db/ledger.ts";
import { newId } from "../../platform/ids.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { type EndOver, endRecord, startRecord } from "../../testing/ledger.ts";
import { bucketMs, bucketRatio, countsOf, lastBucket } from "./histogram.ts";
import { mergeBatch, type Owner } from "./merge.ts";

const { database, drop } = await testDatabase();
const { sql } = database;
const owner: Owner = { instance: crypto.randomUUID(), epoch: 3 };
afterAll(drop);
beforeEach(clear);

async function clear(): Promise<void> {
  await sql.unsafe(
    "delete from requests; delete from attempts; delete from usage_hours; delete from watermarks",
  );
}

const merge = (records: readonly LedgerRecord[], reach: { after: number; to: number } | null = null) =>
  mergeBatch(sql, owner, {
    records: records.map((record) => JSON.stringify(record)),
    epoch: owner.epoch,
    reach,
  });

const requestsNow = () => sql`select * from requests order by id`;
const attemptsNow = () => sql`select * from attempts order by request_id, attempt`;
const requestNow = async (id: string) => (await sql`select * from requests where id = ${id}`)[0];

type Hour = Record<string, unknown> & { latency: number[]; first_token: number[] };
const dimensions = [
  "provider",
  "model",
  "project_id",
  "session_id",
  "iteration_id",
  "task_id",
  "user_id",
  "client_id",
  "key_id",
];
const amounts = ["input", "output", "cached_read", "cache_write", "reasoning", "audio"];

/** The roll-ups as they stand; an hour that counts nothing is none, zeros at a histogram's end are none. */
async function hoursNow(): Promise<Hour[]> {
  const rows = await sql`select * from usage_hours where requests <> 0`;
  const counted = rows.map(
    (row): Hour => ({
      ...row,
      latency: countsOf(row.latency),
      first_token: countsOf(row.first_token),
    }),
  );
  return counted.map(trimmed).sort(byKey);
}

const byKey = (a: Hour, b: Hour): number => keyOf(a).localeCompare(keyOf(b));
const keyOf = (hour: Hour): string =>
  JSON.stringify([hour.hour, ...dimensions.map((dimension) => hour[dimension])]);

function trimmed(hour: Hour): Hour {
  const trim = (counts: number[]) => counts.slice(0, counts.findLastIndex((count) => count !== 0) + 1);
  return { ...hour, latency: trim(hour.latency), first_token: trim(hour.first_token) };
}

const bucketOf = (ms: number): number =>
  ms <= 1 ? 0 : Math.min(lastBucket, Math.ceil(Math.log(ms) / Math.log(bucketRatio)));

/** The same roll-ups counted anew from the rows, by other code. */
async function hoursFromRows(): Promise<Hour[]> {
  const hours = new Map<string, Hour>();
  for (const row of await sql`select * from requests where state <> 'open'`) {
    const hour = new Date(Math.floor(row.at.getTime() / 3_600_000) * 3_600_000);
    const fresh = {
      hour,
      ...Object.fromEntries(dimensions.map((dimension) => [dimension, row[dimension] ?? ""])),
      ...Object.fromEntries(amounts.map((amount) => [amount, 0])),
      ...{ requests: 0, errors: 0, cost_nano: 0, charged_nano: 0, unknown_nano: 0 },
      ...{ latency: [], first_token: [] },
    };
    const sums = hours.get(keyOf(fresh)) ?? (fresh as Hour);
    hours.set(keyOf(fresh), sums);
    const add = (name: string, amount: number | null) => {
      sums[name] = Number(sums[name]) + (amount ?? 0);
    };
    const count = (counts: number[], ms: number | null) => {
      if (ms === null) return;
      while (counts.length <= bucketOf(ms)) counts.push(0);
      counts[bucketOf(ms)] = (counts[bucketOf(ms)] ?? 0) + 1;
    };
    for (const amount of amounts) add(amount, row[amount]);
    add("requests", 1);
    add("errors", row.state === "failed" ? 1 : 0);
    add("cost_nano", row.cost_nano);
    add("charged_nano", row.charged_nano);
    add("unknown_nano", row.state === "unknown" ? row.charged_nano : 0);
    count(sums.latency, row.duration_ms);
    count(sums.first_token, row.first_token_ms);
  }
  return [...hours.values()].sort(byKey);
}

const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { freq: 3 });
const whole = fc.integer({ min: 0, max: 100_000 });
const endOver: fc.Arbitrary<EndOver> = fc.record({
  usage: maybe(
    fc.record({
      input: maybe(whole),
      output: maybe(whole),
      cached_read: maybe(whole),
      cache_write: maybe(whole),
      reasoning: maybe(whole),
      audio: maybe(whole),
    }),
  ),
  cost: maybe(whole),
  delivery: fc.constantFrom("whole", "cut", "none"),
  first_token_ms: maybe(fc.double({ min: 0, max: 5_000, noNaN: true })),
  duration_ms: fc.double({ min: 0, max: 200_000, noNaN: true }),
});

/** All that one call may leave in the journals: retries, a missing START, a guess at boot, a late END. */
const call: fc.Arbitrary<LedgerRecord[]> = fc
  .record({
    attempts: fc.integer({ min: 1, max: 3 }),
    minutes: fc.integer({ min: 0, max: 180 }),
    lost: maybe(fc.record({ charged: maybe(whole) })),
    unknown: maybe(endOver),
    final: maybe(fc.tuple(fc.constantFrom("settled", "estimated", "failed"), endOver)),
    starts: fc.constantFrom(true, true, true, false),
    provider: fc.constantFrom("openai", "claude"),
    project: maybe(fc.constantFrom("prj_1", "prj_2")),
    client: fc.constantFrom("cli_a", "cli_b"),
  })
  .map(({ attempts, minutes, lost, unknown, final, starts, provider, project, client }) => {
    const req = newId("req");
    const at = (attempt: number) => new Date(Date.UTC(2026, 4, 1, 0, minutes, attempt)).toISOString();
    const records: LedgerRecord[] = [];
    for (let att = 1; att <= attempts; att++) {
      const attempt = startRecord({
        ...{ req, att, at: at(att), project_id: project, client_id: client },
        ...{ provider: att === attempts ? provider : "first", model: `model-${att}` },
      });
      if (starts) records.push(attempt);
      if (att < attempts) records.push(endRecord(attempt, { state: "failed", status: 500, close: null }));
    }
    const last = { req, att: attempts };
    if (lost) records.push({ t: "lost", ...last, charged: lost.charged });
    if (unknown) records.push(endRecord(last, { ...unknown, state: "unknown", status: null }));
    if (final) records.push(endRecord(last, { ...final[1], state: final[0] }));
    return records;
  })
  .filter((records) => records.length > 0);

/** The records some of them twice, in any order, cut into batches anywhere. */
const disorder = (records: LedgerRecord[]): fc.Arbitrary<LedgerRecord[][]> =>
  fc
    .tuple(
      fc.subarray(records),
      fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 8 }),
      fc.infiniteStream(fc.integer()),
    )
    .map(([again, sizes, random]) => {
      const shuffled = [...records, ...again]
        .map((record) => ({ record, key: random.next().value ?? 0 }))
        .sort((a, b) => a.key - b.key)
        .map(({ record }) => record);
      const batches: LedgerRecord[][] = [];
      for (let at = 0, i = 0; at < shuffled.length; i++) {
        const size = sizes[i % sizes.length] ?? 1;
        batches.push(shuffled.slice(at, at + size));
        at += size;
      }
      return batches;
    });

const history = fc
  .array(call, { minLength: 1, maxLength: 6 })
  .map((calls) => calls.flat())
  .chain((records) => fc.tuple(fc.constant(records), disorder(records)));

describe("the merge", () => {
  test("gives the same rows for any order, repetition and batching, and roll-ups that equal their sum", async () => {
    await fc.assert(
      fc.asyncProperty(history, async ([records, batches]) => {
        await clear();
        for (const record of records) await merge([record]);
        const expected = { requests: await requestsNow(), attempts: await attemptsNow() };
        expect(await hoursNow()).toEqual(await hoursFromRows());
        await clear();
        for (const batch of batches) await merge(batch);
        expect([...(await requestsNow())]).toEqual([...expected.requests]);
        expect([...(await attemptsNow())]).toEqual([...expected.attempts]);
        expect(await hoursNow()).toEqual(await hoursFromRows());
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  test("books START and END of one batch as one settled row", async () => {
    const start = startRecord({ tags: { team: "a" }, at: "2026-05-01T10:20:30.456Z" });
    await merge([start, endRecord(start, { first_token_ms: 12.6, duration_ms: 250.4 })]);
    expect(await requestNow(start.req)).toMatchObject({
      ...{ state: "settled", at: new Date("2026-05-01T10:20:30.456Z"), tags: { team: "a" } },
      ...{ first_token_ms: 13, duration_ms: 250, cost_nano: 13_500, cache_write: null, cached_read: 0 },
      ...{ instance: owner.instance, epoch: owner.epoch },
    });
  });

  test("keeps the first final state and replaces an unknown by a final, booking the difference", async () => {
    const start = startRecord();
    await merge([start, { t: "lost", req: start.req, att: 1, charged: 900 }]);
    expect(await requestNow(start.req)).toMatchObject({
      state: "unknown",
      cost_nano: null,
      charged_nano: 900,
    });
    expect(await hoursNow()).toMatchObject([{ requests: 1, errors: 0, cost_nano: 0, unknown_nano: 900 }]);
    await merge([endRecord(start)]);
    await merge([endRecord(start, { state: "failed", cost: 1 })]);
    await merge([{ t: "lost", req: start.req, att: 1, charged: 5 }]);
    expect(await requestNow(start.req)).toMatchObject({ state: "settled", cost_nano: 13_500 });
    expect(await hoursNow()).toMatchObject([{ requests: 1, errors: 0, cost_nano: 13_500, unknown_nano: 0 }]);
  });

  test("shows the provider that answered, and each attempt with its own", async () => {
    const first = startRecord({ provider: "openai", at: "2026-05-01T00:00:00.000Z" });
    const second = startRecord({
      req: first.req,
      att: 2,
      provider: "claude",
      at: "2026-05-01T00:00:02.000Z",
    });
    const failed = endRecord(first, { state: "failed", status: 500, error: "provider_error", close: null });
    await merge([first, failed, second, endRecord(second)]);
    expect(await requestNow(first.req)).toMatchObject({
      provider: "claude",
      state: "settled",
      at: new Date(first.at),
    });
    expect(await attemptsNow()).toMatchObject([
      { attempt: 1, provider: "openai", state: "failed", error: "provider_error" },
      { attempt: 2, provider: "claude", state: "settled" },
    ]);
  });

  test("raises a watermark, never lowers it, and refuses to leave a gap below one", async () => {
    const watermark = async () => (await sql`select lsn from watermarks`)[0]?.lsn;
    expect(await merge([startRecord()], { after: 0, to: 10 })).toMatchObject({ outcome: "merged" });
    await merge([startRecord()], { after: 0, to: 5 });
    expect(await watermark()).toBe(10);
    const gap = startRecord();
    expect(await merge([gap], { after: 20, to: 30 })).toEqual({ outcome: "behind", lsn: 10 });
    expect(await requestNow(gap.req)).toBeUndefined();
    expect(await watermark()).toBe(10);
  });

  test("stores what a caller's odd text leaves of itself, and holds nothing up for what cannot be stored", async () => {
    const odd = startRecord({ requested_model: "a\0b\ud800c", tags: { "\\u0000": 'x\0"\\' } });
    const broken = { ...startRecord(), stream: "maybe" } as unknown as LedgerRecord;
    const good = startRecord();
    const merged = await merge([good, endRecord(good), broken, odd, endRecord(odd)], { after: 0, to: 5 });
    expect(merged).toMatchObject({ outcome: "merged", refused: [{ record: JSON.stringify(broken) }] });
    expect(await requestNow(odd.req)).toMatchObject({
      state: "settled",
      requested_model: "a\ufffdb\ufffdc",
      tags: { "\\u0000": 'x\ufffd"\\' },
    });
    expect(await requestNow(good.req)).toMatchObject({ state: "settled" });
    expect((await sql`select lsn from watermarks`)[0]?.lsn).toBe(5);
  });

  test("writes nothing for an instance whose data dir a later boot has taken over", async () => {
    await sql`insert into instances (id, epoch, nonce) values (${owner.instance}, ${owner.epoch + 1}, 'n')`;
    const start = startRecord();
    await expect(merge([start])).rejects.toMatchObject({ code: "journal_unavailable" });
    expect(await requestNow(start.req)).toBeUndefined();
    await sql`delete from instances`;
  });

  test("lets many instances book into the same hours at once", async () => {
    const work = Array.from({ length: 8 }, async (_, n) => {
      const self = { instance: crypto.randomUUID(), epoch: 1 };
      for (let round = 0; round < 5; round++) {
        const starts = Array.from({ length: 20 }, (_, i) => startRecord({ model: `m${(i + n) % 7}` }));
        const records = starts
          .flatMap((start) => [start, endRecord(start)])
          .map((one) => JSON.stringify(one));
        await mergeBatch(sql, self, { records, epoch: 1, reach: null });
      }
    });
    await Promise.all(work);
    expect(await hoursNow()).toEqual(await hoursFromRows());
    expect((await sql`select sum(requests)::int as n from usage_hours`)[0]?.n).toBe(800);
  });

  test("counts a latency in a bucket that is at most a tenth wide", async () => {
    for (let ms = 1; ms < 3_600_000; ms = Math.ceil(ms * 1.07)) {
      const [row] = await sql<{ count: string }[]>`select latency_count(${ms}::int) as count`;
      const counts = countsOf(row?.count ?? "0");
      expect([counts.length, counts.at(-1)]).toEqual([bucketOf(ms) + 1, 1]);
      expect(Math.abs(bucketMs(bucketOf(ms)) - ms)).toBeLessThanOrEqual(ms * 0.05 + 0.5);
    }
  });
});
