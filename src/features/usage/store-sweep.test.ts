/** Old calls go, their sums stay, and nothing that comes late counts twice. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { startGateway, type TestGateway } from "../../testing/gateway.ts";
import { mergeBatch } from "./merge.ts";
import { sweepCalls } from "./store-sweep.ts";

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
  const id = `req_${Bun.randomUUIDv7().replaceAll("-", "")}`;
  const { instance, epoch } = await ownerOf();
  const usual = {
    req: id,
    att: 1,
    provider: "openai",
    model: "m",
    principal: "x",
    endpoint: "chat",
    requested_model: "m",
  };
  const at = new Date(Date.now() - 500 * dayMs).toISOString();
  const merge = (record: object) =>
    mergeBatch(
      gateway.database.sql,
      { instance, epoch },
      { records: [JSON.stringify(record)], epoch, reach: null },
    );
  await merge({ t: "start", at, stream: false, ...usual });
  expect(await sweepCalls(gateway.database, before(), forGood)).toEqual({ requests: 0, attempts: 0 });

  const spent = await sums();
  const close = { state: "settled", status: 200, delivery: "whole", cost: 7, charged: 7, duration_ms: 5 };
  await merge({
    t: "end",
    ...usual,
    at,
    state: "settled",
    status: 200,
    usage: { input: 3, output: 1 },
    cost: 7,
    close,
  });
  expect((await sums()).requests).toBe((spent.requests ?? 0) + 1);
  expect(await sweepCalls(gateway.database, before(), forGood)).toEqual({ requests: 1, attempts: 1 });
  expect((await sums()).requests).toBe((spent.requests ?? 0) + 1);
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

async function ownerOf(): Promise<{ instance: string; epoch: number }> {
  const { instance } = gateway.dir;
  const { epoch } = await one<{ epoch: number }>(
    sql`select max(epoch) as epoch from instances where id = ${instance}::uuid`,
  );
  return { instance, epoch };
}
