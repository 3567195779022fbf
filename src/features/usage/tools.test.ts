/** The sums of spending, as MCP clients ask for them: the same as over HTTP, for the same callers. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Actor } from "../../testing/gateway.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { callTool, rpc, toolAnswer } from "../../testing/mcp.ts";
import { newApp } from "../../testing/people.ts";
import { promisedAnswer } from "../../testing/tool-answers.ts";
import { startToolTeam } from "../../testing/tool-team.ts";
import { ok } from "../../testing/wire.ts";
import { groups, type Summary } from "./contract.ts";
import { mergeBatch } from "./merge.ts";

const team = await startToolTeam();
afterAll(() => team.close());
const { gateway, robo, mallory } = team;
const { database } = gateway;
const { ada, vera, stranger } = team.people;
const owner = { instance: crypto.randomUUID(), epoch: 1 };
const aud = `${gateway.url}/mcp`;
const app = async (person: { id: string }, scope: string, role: "admin" | "user" = "user"): Promise<Actor> =>
  gateway.as((await newApp(gateway, { id: person.id, role }, { scope, aud })).token);

async function spend(dollars: number, over: Parameters<typeof startRecord>[0] = {}): Promise<void> {
  const start = startRecord({
    at: "2026-05-01T10:20:00.000Z",
    project_id: robo.projectId,
    client_id: robo.id,
    principal: robo.id,
    ...over,
  });
  const records = [start, endRecord(start, { cost: dollars * 1e9 })].map((record) => JSON.stringify(record));
  await mergeBatch(database.sql, owner, { records, epoch: 1, reach: null });
}

beforeAll(async () => {
  await spend(1, { model: "a", session_id: "ses_1", task_id: "tsk_1", tags: { team: "red" } });
  await spend(2, { model: "b", session_id: "ses_1", task_id: "tsk_2" });
  await spend(4, { model: "b", at: "2026-05-03T10:20:00.000Z" });
  await spend(32, { project_id: mallory.projectId, client_id: mallory.id, principal: mallory.id });
});

const sums = (who: Actor, args: Record<string, unknown> = {}) =>
  promisedAnswer<Summary>(who, "usage_summary", args);

test("spending is summed up by every group, as over HTTP", async () => {
  for (const group of groups) {
    const answer = await sums(robo, { group_by: [group] });
    expect(answer).toEqual(await ok<Summary>(robo, "GET", `/usage/summary?group_by=${group}`));
    expect(answer.totals.cost_usd).toBe("7.00");
  }
  const { data } = await sums(robo, { group_by: ["task", "model"], session: "ses_1" });
  expect(data.map(({ task, model, cost_usd }) => [task, model, cost_usd])).toEqual([
    ["tsk_2", "b", "2.00"],
    ["tsk_1", "a", "1.00"],
  ]);
});

test("filters and times narrow the sums", async () => {
  const total = async (args: Record<string, unknown>) => (await sums(robo, args)).totals.cost_usd;
  expect(await total({ model: "b" })).toBe("6.00");
  expect(await total({ task: "tsk_1" })).toBe("1.00");
  expect(await total({ tag: "team=red" })).toBe("1.00");
  expect(await total({ from: "2026-05-02" })).toBe("4.00");
  expect(await total({ to: "2026-05-02T00:00:00Z" })).toBe("3.00");
});

test("everybody sees the sums that they may see over HTTP, and no others", async () => {
  const scope = "mcp:read usage:read";
  const seen = async (who: Actor) => (await sums(who)).totals.cost_usd;
  expect(await seen(mallory)).toBe("32.00");
  expect(await seen(await app(vera, scope))).toBe("7.00");
  expect(await seen(await app(stranger, scope))).toBe("0.00");
  expect(await seen(await app(ada, `${scope} admin`, "admin"))).toBe("39.00");
});

test("a token without usage:read hears which scopes are needed, and nothing of the sums", async () => {
  const { status, headers, result } = await callTool(await app(vera, "mcp:read"), "usage_summary");
  expect([status, result]).toEqual([403, undefined]);
  expect(headers.get("www-authenticate")).toContain("usage:read");
});

test("what cannot be asked is refused with what could", async () => {
  for (const args of [
    { group_by: ["colour"] },
    { group_by: ["day", "day"] },
    { group_by: ["day", "model", "task"] },
    { from: "yesterday" },
    { tag: "red" },
    { colour: "red" },
  ]) {
    const { error, result } = await callTool(robo, "usage_summary", args);
    const text = JSON.stringify(error ?? (result?.isError ? result.content : null));
    expect(text).toContain(Object.keys(args)[0] ?? "?");
  }
});

test("the list says which groups there are", async () => {
  const { result } = await rpc(robo, "tools/list");
  const tool = result?.tools.find(({ name }) => name === "usage_summary");
  for (const group of groups) expect(JSON.stringify(tool?.inputSchema)).toContain(`"${group}"`);
  expect(await toolAnswer(robo, "usage_summary")).toMatchObject({ totals: { requests: 3 } });
});

test("a token for one session sees the sums of that session alone", async () => {
  const id = await team.session();
  await spend(64, { session_id: id });
  const bound = await team.boundTo(id, "mcp:read usage:read");
  const { data, totals } = await sums(bound, { group_by: ["session"] });
  expect([data.map(({ session }) => session), totals.cost_usd]).toEqual([[id], "64.00"]);
  expect((await sums(bound, { session: "ses_1" })).data).toEqual([]);
  expect((await sums(bound, { group_by: ["day"], tag: "team=red" })).data).toEqual([]);
});
