/** Old calls go, their sums stay, and nothing that comes late counts twice. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { startGateway, type TestGateway } from "../../testing/gateway.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { mergeBatch } from "./merge.ts";
import { sweepCalls, sweepStates } from "./store-sweep.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());

const dayMs = 86_400_000;
const before = () => new Date(Date.now() - 400 * dayMs);
const forGood = { dryRun: false };
const one = async <Row>(statement: ReturnType<typeof sql>) =>
  (await gateway.database.db.execute(statement))[0] as Row;
const sums = () =>
  one<Record<string, number>>(sql`
    select sum(requests)::int as requests, sum(input)::int as input, sum(cost_nano)::text as cost from usage_hours`);
const left = () =>
  one<Record<string, number>>(sql`
    select (select count(*) from requests)::int as requests, (select count(*) from attempts)::int as attempts`);

async function called(daysAgo: number): Promise<string> {
  const response = await gateway.robo.chat({});
  await response.text();
  const row = await gateway.row(response);
  if (row === undefined) throw new Error("no such call");
  await gateway.database.db.execute(
    sql`update requests set at = at - make_interval(days => ${daysAgo}) where id = ${row.id}`,
  );
  return row.id;
}

test("calls whose time is over go with their attempts, and their sums stay", async () => {
  const [old, young] = [await called(401), await called(399)];
  const spent = await sums();
  expect(await sweepCalls(gateway.database, before(), { dryRun: true })).toEqual({
    requests: 1,
    attempts: 1,
  });
  expect(await left()).toEqual({ requests: 2, attempts: 2 });
  expect(await sweepCalls(gateway.database, before(), forGood)).toEqual({ requests: 1, attempts: 1 });
  expect(await left()).toEqual({ requests: 1, attempts: 1 });
  expect([await gateway.row(old), (await gateway.row(young))?.id]).toEqual([undefined, young]);
  expect(await sums()).toEqual(spent);
});

test("a call that is still open stays, and its end counts once", async () => {
  const owner = { instance: crypto.randomUUID(), epoch: 1 };
  const merge = (record: object) =>
    mergeBatch(gateway.database.sql, owner, { records: [JSON.stringify(record)], epoch: 1, reach: null });
  const start = startRecord({ at: new Date(Date.now() - 500 * dayMs).toISOString() });
  expect(await merge(start)).toEqual({ outcome: "merged", refused: [] });
  expect(await sweepCalls(gateway.database, before(), forGood)).toEqual({ requests: 0, attempts: 0 });

  const { requests = 0 } = await sums();
  await merge(endRecord(start));
  expect((await sums()).requests).toBe(requests + 1);
  expect(await sweepCalls(gateway.database, before(), forGood)).toEqual({ requests: 1, attempts: 1 });
  expect((await sums()).requests).toBe(requests + 1);
});

test("many go in pieces, of every instance, while calls are merged", async () => {
  await gateway.database.db.execute(sql`
    insert into requests (id, state, at, endpoint, requested_model, provider, model, principal, stream, instance, epoch)
    select 'req_' || lpad(n::text, 32, '0'), 'settled', now() - interval '500 days', '', '', '', '', '', false,
      case n % 2 when 0 then gen_random_uuid() else ${gateway.dir.instance}::uuid end, 1
    from generate_series(1, 5000) as n where n % 2 = 1 or n <= 100`);
  const swept = sweepCalls(gateway.database, before(), forGood);
  const fresh = await Promise.all(Array.from({ length: 10 }, () => called(0)));
  expect((await swept).requests).toBe(2_550);
  for (const id of fresh) expect((await gateway.row(id))?.state).toBe("settled");
});

test("what providers keep of calls goes when the calls do", async () => {
  await gateway.database.db.execute(sql`
    insert into provider_states (provider, id, owner, at)
    values ('p', 'resp_old', 'prj_1', now() - interval '401 days'), ('p', 'resp_young', 'prj_1', now())`);
  expect(await sweepStates(gateway.database.db, before(), { dryRun: true })).toBe(1);
  expect(await sweepStates(gateway.database.db, before(), forGood)).toBe(1);
  expect(await one(sql`select string_agg(id, ' ') as ids from provider_states`)).toEqual({
    ids: "resp_young",
  });
});
