import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { ok, refused } from "../../testing/wire.ts";
import type { RequestRow, Summary, SummaryRow } from "./contract.ts";
import { mergeBatch } from "./merge.ts";

const gateway = await startGateway();
afterAll(() => gateway.close());
const { robo, mallory, nobody, database } = gateway;
const { ada, vera, stranger } = await gateway.people();
const owner = { instance: crypto.randomUUID(), epoch: 1 };

type Over = Parameters<typeof startRecord>[0];

/** A finished call of robo's project that cost so many dollars. */
async function call(
  dollars: number,
  over: Over = {},
  end: Parameters<typeof endRecord>[1] = {},
): Promise<string> {
  const start = startRecord({
    at: "2026-05-01T10:20:00.000Z",
    project_id: robo.projectId,
    client_id: robo.id,
    principal: robo.id,
    ...over,
  });
  const records = [start, endRecord(start, { cost: dollars * 1e9, ...end })].map((record) =>
    JSON.stringify(record),
  );
  await mergeBatch(database.sql, owner, { records, epoch: 1, reach: null });
  return start.req;
}

beforeAll(async () => {
  await call(1, { tags: { team: "red", run: "1" }, model: "a", session_id: "ses_1", task_id: "tsk_1" });
  await call(2, { tags: { team: "red" }, model: "b", key_id: "key_1", at: "2026-05-02T10:20:00.000Z" });
  await call(4, { tags: { team: "blue" }, model: "a", iteration_id: "itr_1" }, { first_token_ms: 900 });
  await call(8, { model: "a", user_id: "usr_x", client_id: null });
  await call(16, { tags: {}, model: "b", provider: "claude" });
  await call(32, { project_id: mallory.projectId, client_id: mallory.id, tags: { team: "red" }, model: "a" });
});

const summary = (query: string, who: Actor = robo) => ok<Summary>(who, "GET", `/usage/summary?${query}`);
const spent = (rows: SummaryRow[], ...groups: (keyof SummaryRow)[]) =>
  rows.map((row) => [...groups.map((group) => row[group]), row.cost_usd, row.requests]);

test("by tag a call is in the group of each of its tags, and in the total once", async () => {
  const { data, totals } = await summary("group_by=tag");
  expect(spent(data, "tag")).toEqual([
    [null, "24.00", 2],
    ["team=blue", "4.00", 1],
    ["team=red", "3.00", 2],
    ["run=1", "1.00", 1],
  ]);
  expect(totals).toMatchObject({ cost_usd: "31.00", requests: 5, usage: { input: 50, output: 100 } });
  expect(data[0]?.usage.input).toBe(20);
  expect(data[1]?.first_token_ms.p50).toBeGreaterThan(850);
  expect(data[0]?.first_token_ms.p95).toBeLessThan(45);
  expect(totals.first_token_ms).toEqual({
    p50: data[0]?.first_token_ms.p50 ?? 0,
    p95: data[1]?.first_token_ms.p95 ?? 0,
  });
});

test("by tag and another group, what has no tag stands in each", async () => {
  expect(spent((await summary("group_by=tag,model")).data, "tag", "model")).toEqual([
    [null, "b", "16.00", 1],
    [null, "a", "8.00", 1],
    ["team=blue", "a", "4.00", 1],
    ["team=red", "b", "2.00", 1],
    ["run=1", "a", "1.00", 1],
    ["team=red", "a", "1.00", 1],
  ]);
  const days = await summary("group_by=day&group_by=tag");
  expect(spent(days.data, "day", "tag").map(([day, tag]) => [String(day).slice(8, 10), tag])).toEqual([
    ["01", null],
    ["01", "team=blue"],
    ["01", "run=1"],
    ["01", "team=red"],
    ["02", "team=red"],
  ]);
  expect(days.totals.requests).toBe(5);
});

test("an end that replaces another is replaced under its tags too", async () => {
  const start = startRecord({
    project_id: mallory.projectId,
    tags: { late: "1" },
    at: "2026-04-01T00:00:00.000Z",
  });
  const merge = (...records: object[]) =>
    mergeBatch(database.sql, owner, {
      records: records.map((record) => JSON.stringify(record)),
      epoch: 1,
      reach: null,
    });
  await merge(
    start,
    endRecord(start, { state: "unknown", cost: null, usage: null, close: { charged: 7e9 } }),
  );
  const april = "to=2026-04-30&group_by=tag";
  expect((await summary(april, mallory)).data).toMatchObject([
    { tag: "late=1", cost_usd: "0.00", unknown_usd: "7.00" },
  ]);
  await merge(endRecord(start, { cost: 3e9 }));
  const { data, totals } = await summary(april, mallory);
  expect(data).toMatchObject([{ tag: "late=1", cost_usd: "3.00", unknown_usd: "0.00", requests: 1 }]);
  expect(totals).toMatchObject({ cost_usd: "3.00", requests: 1 });
});

test("a summary takes the filters that roll-ups can answer", async () => {
  const total = async (query: string) => (await summary(query)).totals.cost_usd;
  expect(await total("model=a")).toBe("13.00");
  expect(await total("provider=claude")).toBe("16.00");
  expect(await total("session=ses_1")).toBe("1.00");
  expect(await total("iteration=itr_1")).toBe("4.00");
  expect(await total("task=tsk_1")).toBe("1.00");
  expect(await total("key=key_1")).toBe("2.00");
  expect(await total("user=usr_x")).toBe("8.00");
  expect(await total(`client=${robo.id}&model=b`)).toBe("18.00");
  expect(await total("tag=team%3Dred")).toBe("3.00");
  expect(await total("tag=team%3Dred&model=a&group_by=day")).toBe("1.00");
  expect(await total(`project=${mallory.projectId}`)).toBe("0.00");
  expect(spent((await summary("tag=team%3Dred&group_by=tag")).data, "tag")).toEqual([
    ["team=red", "3.00", 2],
  ]);
});

test("the list of calls takes them all, and names and states besides", async () => {
  const cost = async (query: string) =>
    (await ok<{ data: RequestRow[] }>(robo, "GET", `/usage/requests?${query}`)).data
      .map((row) => Number(row.cost_usd))
      .sort((a, b) => a - b);
  expect(await cost("")).toEqual([1, 2, 4, 8, 16]);
  expect(await cost("tag=team=red")).toEqual([1, 2]);
  expect(await cost("tag=team=re")).toEqual([]);
  expect(await cost("user=usr_x")).toEqual([8]);
  expect(await cost("session=ses_1")).toEqual([1]);
  expect(await cost("iteration=itr_1")).toEqual([4]);
  expect(await cost("task=tsk_1&model=a")).toEqual([1]);
  expect(await cost("key=key_1")).toEqual([2]);
  expect(await cost("endpoint=chat/completions&provider=claude")).toEqual([16]);
  expect(await cost("endpoint=responses")).toEqual([]);
  expect(await cost(`project=${mallory.projectId}`)).toEqual([]);
  for (const query of ["tag=team", "tag==x", "endpoint=", "session=", "colour=red"])
    expect([query, await refused(robo, "GET", `/usage/requests?${query}`)]).toEqual([
      query,
      "400 invalid_request",
    ]);
});

test("members see their project's, an administrator all, and whoever has no part in it nothing", async () => {
  const by = "from=2026-05-01&to=2026-05-03&group_by=tag";
  expect((await summary(by, ada)).totals.cost_usd).toBe("63.00");
  expect((await summary(by, vera)).totals.cost_usd).toBe("31.00");
  expect((await summary(by, mallory)).totals.cost_usd).toBe("32.00");
  expect(await summary(by, stranger)).toMatchObject({ data: [], totals: { requests: 0 } });
  expect(await refused(nobody, "GET", `/usage/summary?${by}`)).toBe("401 unauthenticated");
});

test("a row's prices are those of the tier that it came to", async () => {
  const rates = { input: 1e9, cached_read: 1e9, cache_write: 1e9, output: 5e9 };
  const prices = { ...rates, tiers: [{ ...rates, input: 2e9, output: 9e9, above: 200_000 }] };
  const usage = { output: 1, cached_read: null, cache_write: null, reasoning: null, audio: null };
  const at = "2026-03-01T00:00:00.000Z";
  const small = await call(1, { prices, at }, { usage: { ...usage, input: 200_000 } });
  const large = await call(1, { prices, at }, { usage: { ...usage, input: 200_001 } });
  const pricesOf = async (id: string) => (await ok<RequestRow>(robo, "GET", `/usage/requests/${id}`)).prices;
  expect(await pricesOf(small)).toMatchObject({ input: "1.00", output: "5.00" });
  expect(await pricesOf(large)).toMatchObject({ input: "2.00", output: "9.00" });
});

test("a call's tags are in the summary a moment after it ended", async () => {
  const response = await robo.chat({}, { headers: { "x-specgate-tags": "ci=main" } });
  await response.text();
  await gateway.row(response);
  expect((await summary("group_by=tag&tag=ci%3Dmain")).data).toMatchObject([{ tag: "ci=main", requests: 1 }]);
});

test("what a provider keeps of a call is noted as its project's, and a person's where there is none", async () => {
  const kept = ["resp_1", "resp_1", "cntr_2"];
  await call(1, { at: "2026-02-01T00:00:00.000Z" }, { kept });
  await call(
    1,
    { at: "2026-02-01T00:00:00.000Z", project_id: null, principal: "usr_p" },
    { kept: ["resp_1"] },
  );
  // An attempt that another followed, whose END comes when its START is merged already.
  const start = startRecord({ project_id: mallory.projectId, provider: "claude" });
  const merge = (record: object) =>
    mergeBatch(database.sql, owner, { records: [JSON.stringify(record)], epoch: 1, reach: null });
  await merge(start);
  for (let times = 0; times < 2; times++)
    await merge(endRecord(start, { state: "failed", close: null, kept: ["msg_3"] }));
  const rows =
    await database.sql`select provider, id, owner from provider_states order by provider, id, owner`;
  expect([...rows].map((row) => [row.provider, row.id, row.owner])).toEqual([
    ["claude", "msg_3", mallory.projectId],
    ["openai", "cntr_2", robo.projectId],
    ["openai", "resp_1", robo.projectId],
    ["openai", "resp_1", "usr_p"],
  ]);
});
