/** What a caller may still spend and ask for, as MCP clients are told it: their own, and nobody else's. */
import { afterAll, describe, expect, test } from "bun:test";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { callTool, toolAnswer } from "../../testing/mcp.ts";
import { newApp } from "../../testing/people.ts";
import { json as scripted } from "../../testing/provider-script.ts";
import { promisedAnswer, toolRefusal } from "../../testing/tool-answers.ts";
import { ok } from "../../testing/wire.ts";
import type { BudgetView } from "./contract.ts";

const gateway = await startGateway({
  yaml: `
providers: { openai: { kind: openai, base_url: "PROVIDER", api_key: "x" } }
prices: { "openai/*": { input: 1, output: 2 } }
limits:
  llm: { requests_per_minute: 10, tokens_per_minute: 1000, project_tokens_per_minute: 5000 }
  control: { requests_per_minute: null }
`,
});
afterAll(() => gateway.close());
const { robo, mallory, provider } = gateway;
const { ada, vera, stranger } = await gateway.people();
const scope = "mcp:read usage:read";
const aud = `${gateway.url}/mcp`;
const app = async (person: { id: string }, more = "", role: "admin" | "user" = "user"): Promise<Actor> =>
  gateway.as((await newApp(gateway, { id: person.id, role }, { scope: scope + more, aud })).token);

type Pace = { max: number; left: number; resets_in_seconds: number } | null;
type Limits = {
  budgets: { data: BudgetView[]; next_cursor: string | null };
  requests_per_minute: { llm: Pace; mcp: Pace; control: Pace };
  llm_tokens_per_minute: Pace;
  project: Record<"llm_requests_per_minute" | "llm_tokens_per_minute", number | null>;
};
const limits = (who: Actor, args: Record<string, unknown> = {}) =>
  promisedAnswer<Limits>(who, "usage_limits", args);
const make = (subject: string, subject_id: string | null) =>
  ok<BudgetView>(ada, "POST", "/budgets", { subject, subject_id, period: "day", limit_usd: "5" });
const idsOf = ({ budgets }: Limits) => budgets.data.map(({ id }) => id).sort();
const keyOf = (clientId: string) =>
  gateway.keys.create(localActor, { owner: { clientId }, scope: `${scope} llm:chat` });

describe("usage_limits", () => {
  test("shows each caller the budgets that its own calls count in, and an administrator the one of all", async () => {
    const { key, id: keyId } = await keyOf(robo.id);
    const { id: otherKey } = await keyOf(robo.id);
    const ofAll = await make("global", null);
    const ofProject = await make("project", robo.projectId);
    const ofClient = await make("client", robo.id);
    const ofKey = await make("key", keyId);
    await make("key", otherKey);
    const ofVera = await make("user", vera.id);
    const ofAda = await make("user", ada.id);
    const ofMallory = await make("project", mallory.projectId);
    const rows: [Actor, BudgetView[]][] = [
      [gateway.as(key), [ofProject, ofClient, ofKey]],
      [mallory, [ofMallory]],
      [await app(vera), [ofProject, ofVera]],
      [await app(stranger), []],
      [await app(ada, " admin", "admin"), [ofAll, ofAda]],
      // With the scope alone, or the role alone, nobody is an administrator.
      [await app(ada, "", "admin"), [ofAda]],
    ];
    for (const [who, wanted] of rows)
      expect(idsOf(await limits(who))).toEqual(wanted.map(({ id }) => id).sort());
    const project_id = mallory.projectId;
    const asAdmin = await limits(await app(ada, " admin", "admin"), { project_id });
    expect(idsOf(asAdmin)).toEqual([ofAll.id, ofAda.id, ofMallory.id].sort());
    expect(idsOf(await limits(await app(vera), { project_id: robo.projectId }))).toEqual(
      [ofProject.id, ofVera.id].sort(),
    );
  });

  test("shows nobody more than the budgets over HTTP do", async () => {
    const seen = await ok<{ data: BudgetView[] }>(robo, "GET", "/budgets");
    for (const { id } of (await limits(robo)).budgets.data)
      expect(seen.data.map((budget) => budget.id)).toContain(id);
  });

  test("shows a person's key its own budget, and not those of the person's other keys", async () => {
    const owner = { userId: stranger.id };
    const [one, other] = [
      await gateway.keys.create(localActor, { owner, scope }),
      await gateway.keys.create(localActor, { owner, scope }),
    ];
    const own = await make("key", one.id);
    const others = await make("key", other.id);
    const asOne = gateway.as(one.key);
    const over = (await ok<{ data: BudgetView[] }>(asOne, "GET", "/budgets")).data.map(({ id }) => id);
    expect(over).toContain(others.id);
    expect(idsOf(await limits(asOne))).toEqual([own.id]);
  });

  test("knows of no project that is another's", async () => {
    for (const project_id of [mallory.projectId, "prj_1", vera.id, ""])
      expect(await toolRefusal(await app(vera), "usage_limits", { project_id })).toBe("200 not_found");
    expect(await toolRefusal(robo, "usage_limits", { project_id: mallory.projectId })).toBe("200 not_found");
  });

  test("goes through many budgets page by page", async () => {
    const own = await gateway.projects.create(localActor, { name: "many" });
    await gateway.projects.setMember(
      localActor,
      { projectId: own.id, userId: stranger.id, role: "viewer" },
      null,
    );
    const made: string[] = [];
    for (let n = 0; n < 3; n++) made.push((await make("project", own.id)).id);
    const who = await app(stranger);
    const first = await limits(who, { limit: 2 });
    const second = await limits(who, { limit: 2, cursor: first.budgets.next_cursor });
    expect([...idsOf(first), ...idsOf(second)].sort()).toEqual(made.sort());
    expect(second.budgets.next_cursor).toBeNull();
  });

  test("tells what is left once a call has been charged, and counts nothing itself", async () => {
    const { key, id } = await keyOf(mallory.id);
    await make("key", id);
    const caller = gateway.as(key);
    const before = await limits(caller);
    expect(before).toMatchObject({
      requests_per_minute: { llm: { max: 10, left: 10 }, control: null },
      llm_tokens_per_minute: { max: 1_000, left: 1_000 },
      project: { llm_requests_per_minute: null, llm_tokens_per_minute: 5_000 },
    });
    const usage = { prompt_tokens: 100, completion_tokens: 50 };
    provider.script("*", scripted({ choices: [], usage }));
    const called = await caller.chat({});
    expect(called.status).toBe(200);
    await called.text();
    await gateway.row(called);
    const after = await limits(caller);
    expect(after.requests_per_minute.llm).toMatchObject({ left: 9 });
    expect(after.llm_tokens_per_minute).toMatchObject({ left: 850 });
    expect(after.budgets.data.find(({ subject_id }) => subject_id === id)?.current).toMatchObject({
      spent_usd: "0.0002",
      held_usd: "0.00",
      remaining_usd: "4.9998",
    });
    const again = await toolAnswer<Limits>(caller, "usage_limits");
    expect(again.requests_per_minute.llm).toMatchObject({ left: 9 });
    // The tool's own calls are counted, like every other at this door.
    const [{ mcp: one }, { mcp: next }] = [after.requests_per_minute, again.requests_per_minute];
    expect(next?.left).toBeLessThan(one?.left ?? 0);
  });

  test("needs usage:read, and says so", async () => {
    const { token } = await newApp(gateway, vera, { scope: "mcp:read", aud });
    const { status, headers } = await callTool(gateway.as(token), "usage_limits");
    expect([status, headers.get("www-authenticate")]).toEqual([403, expect.stringContaining("usage:read")]);
  });
});
