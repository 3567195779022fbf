/** Models as MCP clients are told of them: those that the caller could use, and whether it may with this credential. */
import { afterAll, expect, test } from "bun:test";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { callTool } from "../../testing/mcp.ts";
import { newApp } from "../../testing/people.ts";
import { promisedAnswer } from "../../testing/tool-answers.ts";
import type { ModelView } from "./models.ts";

const gateway = await startGateway({
  yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-canary-provider" }
  claude: { kind: anthropic, base_url: "PROVIDER", api_key: "sk-canary-provider" }
models:
  fast: { targets: [{ provider: claude, model: quick }] }
prices:
  "openai/m": { input: 1, cached_read: 0.1, output: 2 }
  "claude/quick": { input: 3, output: 6 }
`,
});
afterAll(() => gateway.close());
const { robo } = gateway;
const { vera } = await gateway.people();

type Model = { id: string; provider: string; endpoints: string[]; prices: object | null };
type Models = { data: Model[]; next_cursor: string | null; may_call: boolean };
const models = (who: Actor, args: Record<string, unknown> = {}) =>
  promisedAnswer<Models>(who, "models_list", args);

async function everyPage(who: Actor, args: Record<string, unknown> = {}): Promise<Model[]> {
  const all: Model[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await models(who, { limit: 7, ...args, ...(cursor === undefined ? {} : { cursor }) });
    all.push(...page.data);
    if (page.next_cursor === null) return all;
    cursor = page.next_cursor;
  }
}

test("every model is listed that the LLM plane lists, page by page", async () => {
  const response = await robo.fetch("/v1/models");
  const { data } = (await response.json()) as { data: ModelView[] };
  expect(data.length).toBeGreaterThan(8);
  const wanted = data.map(({ id, owned_by, endpoints, prices }) => ({
    id,
    provider: owned_by,
    endpoints,
    prices,
  }));
  expect(await everyPage(robo)).toEqual(wanted);
  expect(await everyPage(robo, { provider: "claude" })).toEqual(
    wanted.filter(({ provider }) => provider === "claude"),
  );
  expect(JSON.stringify(wanted)).not.toContain("canary");
});

test("a person's app is told of the models, and that it needs another credential to call them", async () => {
  const { token } = await newApp(gateway, vera, { scope: "mcp:read", aud: `${gateway.url}/mcp` });
  const { data, may_call } = await models(gateway.as(token));
  expect([data[0]?.id, may_call]).toEqual(["fast", false]);
  expect((await models(robo)).may_call).toBe(true);
});

test("a machine that could never call a model is shown none", async () => {
  const owner = { clientId: robo.id };
  const { key } = await gateway.keys.create(localActor, { owner, scope: "mcp:read" });
  expect(await models(gateway.as(key))).toEqual({ data: [], next_cursor: null, may_call: false });
});

test("a cursor that this list did not hand out is refused", async () => {
  const { error, result } = await callTool(robo, "models_list", {
    cursor: "bm8gY3Vyc29yIG9mIHRoaXMgbGlzdCwgYnV0IGxvbmc",
  });
  expect(JSON.stringify(error ?? (result?.isError ? result.content : null))).toContain("cursor");
});
