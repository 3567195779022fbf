import { afterAll, expect, test } from "bun:test";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { json } from "../../testing/provider-script.ts";
import { ok } from "../../testing/wire.ts";

const gateway = await startGateway({
  yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER" }
  spare: { kind: openai, base_url: "PROVIDER" }
  claude: { kind: anthropic, base_url: "PROVIDER" }
prices:
  "claude/cheap": { input: 1, output: 2 }
  "claude/dear": { input: 100, output: 200 }
  "openai/*": { input: 1, output: 2 }
limits: { llm: { requests_per_minute: 60, tokens_per_minute: 1000 } }
`,
});
afterAll(() => gateway.close());
const { provider, robo, mallory, row } = gateway;
const { ada, olga } = await gateway.people();

const answer = (prompt_tokens = 9, completion_tokens = 3) =>
  json({
    choices: [{ index: 0, message: { role: "assistant", content: "hi" } }],
    usage: { prompt_tokens, completion_tokens },
  });
provider.script("*", answer());

type Refused = { error: { code: string; message: string; param?: string | null } };
const refusal = async (response: Response) => {
  const { error } = (await response.json()) as Refused;
  return [response.status, error.code];
};
const send = (who: Actor, endpoint: string, body: object, headers: Record<string, string> = {}) =>
  who.fetch(`/v1/${endpoint}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
const underBudget = (limit_usd: string) =>
  ok(ada, "POST", "/budgets", {
    ...{ subject: "project", subject_id: robo.projectId, period: "total", limit_usd },
  });

test("a model's name without end is refused before anything looks it up", async () => {
  const startedAt = performance.now();
  for (const prefix of ["", "openai/", "nobody/"]) {
    const response = await send(robo, "chat/completions", { model: prefix + "x".repeat(8_000_000) });
    expect(response.headers.get("x-specgate-model")).toBeNull();
    const { error } = (await response.json()) as Refused;
    expect([response.status, error.code, error.message]).toEqual([
      400,
      "invalid_request",
      "`model` must have at most 256 characters.",
    ]);
  }
  const listed = await robo.fetch(`/v1/models/openai/${"x".repeat(4_000)}`);
  expect(await refusal(listed)).toEqual([404, "model_not_found"]);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});

test("JSON in another charset, which a provider might decode to other keys, reaches none", async () => {
  const asked = provider.received.length;
  for (const charset of ["utf-7", "utf-16le", "utf-8; charset=utf-7"]) {
    const type = { "content-type": `application/json; charset=${charset}` };
    expect(await refusal(await send(robo, "chat/completions", { model: "openai/m" }, type))).toEqual([
      415,
      "unsupported_media_type",
    ]);
  }
  expect(provider.received.length).toBe(asked);
  const type = { "content-type": "application/json; charset=utf-8" };
  expect((await send(robo, "chat/completions", { model: "openai/m" }, type)).status).toBe(200);
});

test("of models without a price not every name that somebody makes up is told of", async () => {
  const calls = Array.from({ length: 40 }, (_, i) =>
    send(mallory, "chat/completions", { model: `spare/m${i}` }),
  );
  expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(Array(40).fill(200));
  await gateway.parts.ledger.settled();
  await Bun.sleep(300);
  const told = await gateway.database.sql`select payload from alarms where type = 'price.unknown'`;
  expect(told).toHaveLength(20);
});

test("a client has one allowance, however many tokens it makes itself", async () => {
  const asked = { name: "many", kind: "service" as const, scope: "llm:chat", redirectUris: [] };
  const made = await gateway.clients.create(localActor, { ...asked, projectId: robo.projectId });
  const issue = async () => {
    const form = { projectId: null, scope: "llm:chat", ttlSeconds: 60, resources: [], sessionId: null };
    return gateway.as((await gateway.oauth.tokens.issue(localActor, made.client_id, form)).access_token);
  };
  const first = await issue();
  provider.script("*", answer(900, 200));
  expect((await send(first, "chat/completions", { model: "openai/m" })).status).toBe(200);
  provider.script("*", answer());
  await gateway.parts.ledger.settled();
  const second = await issue();
  const spent = await send(second, "chat/completions", { model: "openai/m" });
  const { error } = (await spent.json()) as Refused;
  expect([spent.status, error.message]).toEqual([429, expect.stringContaining("1000 tokens a minute")]);
  expect(spent.headers.get("x-ratelimit-remaining-requests")).toBe("58");
  // A key is a credential of its own: whoever may make one is a person.
  const owner = { clientId: made.client_id };
  const { key } = await gateway.keys.create(localActor, { owner, scope: "llm:chat" });
  expect((await send(gateway.as(key), "chat/completions", { model: "openai/m" })).status).toBe(200);
});

test("another endpoint's limit does not make a hold small", async () => {
  const { key } = await gateway.keys.create(localActor, {
    owner: { userEmail: olga.email },
    projectId: robo.projectId,
    scope: "llm:chat",
  });
  const who = gateway.as(key);
  await underBudget("0.01");
  const asked = provider.received.length;
  const bodies: [string, object][] = [
    ["chat/completions", { messages: [], max_output_tokens: 1 }],
    ["completions", { prompt: "x", max_completion_tokens: 1 }],
    ["responses", { input: "x", max_tokens: 1 }],
  ];
  for (const [endpoint, body] of bodies)
    expect([
      endpoint,
      ...(await refusal(await send(who, endpoint, { model: "openai/gpt-4o", ...body }))),
    ]).toEqual([endpoint, 429, "insufficient_quota"]);
  expect(provider.received.length).toBe(asked);
  const own = await send(who, "chat/completions", { model: "openai/gpt-4o", messages: [], max_tokens: 1 });
  expect(own.status).toBe(200);
});

test("under a hard budget nobody chooses a dearer price than the one that is known", async () => {
  const asked = provider.received.length;
  const dearer: Record<string, unknown> = {
    service_tier: "priority",
    speed: "fast",
    models: ["openai/o1-pro"],
    route: "fallback",
    fallbacks: ["openai/o1-pro"],
  };
  for (const [name, value] of Object.entries(dearer)) {
    const body = { model: "openai/m", messages: [], max_tokens: 5, [name]: value };
    const response = await send(robo, "chat/completions", body);
    const { error } = (await response.json()) as Refused;
    expect([name, response.status, error.code]).toEqual([name, 400, "price_unknown"]);
    expect(error.message).toStartWith(`\`${name}\` asks for another price`);
    // Where no hard budget applies it is the caller's own affair, and nobody knows its price.
    const passed = await send(mallory, "chat/completions", body);
    expect(passed.headers.get("x-specgate-cost-usd")).toBeNull();
    expect(await row(passed)).toMatchObject({
      state: "settled",
      input: 9,
      costNano: null,
      chargedNano: 15_000,
    });
  }
  const told = () => gateway.database.sql`
    select 1 from alarms where type = 'price.unknown' and payload ->> 'model' = 'm'`;
  for (let tries = 0; (await told()).length === 0 && tries < 40; tries++) await Bun.sleep(50);
  expect(await told()).toHaveLength(1);
  expect(provider.received.length).toBe(asked + 5);
  const plain = { model: "openai/m", messages: [], max_tokens: 5, service_tier: "flex" };
  const response = await send(robo, "chat/completions", plain);
  expect(response.status).toBe(200);
  expect(await row(response)).toMatchObject({ state: "settled", chargedNano: 15_000 });
});

test("what costs more than tokens is refused under a hard budget by its name, and passes without one", async () => {
  const asked = provider.received.length;
  const bodies: [string, object][] = [
    ["web_search", { tools: [{ type: "function", function: { name: "f" } }, { type: "web_search" }] }],
    ["image_generation", { tools: [{ type: "image_generation", model: "gpt-image-1" }] }],
    ["plugins", { plugins: [{ id: "web" }] }],
    // As Codex sends it unless told otherwise; a search in the cache has the same fee.
    ["web_search", { tools: [{ type: "web_search", external_web_access: false }] }],
  ];
  for (const [name, more] of bodies) {
    const body = { model: "openai/m", messages: [], max_tokens: 5, ...more };
    const response = await send(robo, "chat/completions", body);
    const { error } = (await response.json()) as Refused;
    expect([response.status, error.code]).toEqual([400, "price_unknown"]);
    expect(error.message).toStartWith(`\`${name}\` costs something beside the model's tokens`);
    expect(error.message.includes('`web_search = "disabled"`')).toBe(name === "web_search");
    expect(await row(await send(mallory, "chat/completions", body))).toMatchObject({ costNano: 15_000 });
  }
  expect(provider.received.length).toBe(asked + bodies.length);
});

test("what the provider says of its tier is worth more than what was asked, and says nothing of the rest", async () => {
  const usage = { prompt_tokens: 9, completion_tokens: 3 };
  const choices = [{ index: 0, message: { role: "assistant", content: "hi" } }];
  for (const [asked, service_tier, costNano] of [
    [{}, "default", 15_000],
    [{}, "priority", null],
    [{ service_tier: "priority" }, "default", 15_000],
    [{ service_tier: "performance" }, "performance", null],
    [{ models: ["openai/o1-pro"] }, "default", null],
  ] as const) {
    provider.script("m", json({ choices, service_tier, usage }));
    const response = await send(mallory, "chat/completions", { model: "openai/m", messages: [], ...asked });
    expect(await row(response)).toMatchObject({ state: "settled", costNano, chargedNano: 15_000 });
  }
  for (const [inference_geo, costNano] of [
    ["global", 15_000],
    ["us", null],
  ] as const) {
    const usage = { input_tokens: 9, output_tokens: 3, speed: "standard", inference_geo };
    provider.script("cheap", json({ content: [], usage }));
    const body = { model: "claude/cheap", max_tokens: 5, messages: [], speed: "fast", inference_geo: "us" };
    const response = await send(mallory, "messages", body);
    expect(await row(response)).toMatchObject({ state: "settled", costNano, chargedNano: 15_000 });
  }
});

test("an adviser has the price of its own model, which a hard budget cannot know", async () => {
  const ask = async (who: Actor, adviser: string) => {
    const pass = { input_tokens: 9, output_tokens: 3 };
    const iterations = [
      { type: "message", ...pass },
      { type: "advisor_message", model: adviser, ...pass },
    ];
    provider.script("cheap", json({ content: [], usage: { ...pass, iterations } }));
    const tools = [{ type: "advisor_20260301", name: "advisor", model: adviser }];
    return await send(who, "messages", { model: "claude/cheap", max_tokens: 5, messages: [], tools });
  };
  const known = await row(await ask(mallory, "dear"));
  expect(known).toMatchObject({ state: "settled", input: 18, output: 6, costNano: 15_000 + 1_500_000 });
  // It is taken to cost what the model does, and it is its own price that is missing.
  const unknown = await ask(mallory, "nobody");
  expect(await row(unknown)).toMatchObject({ state: "settled", costNano: null, chargedNano: 30_000 });
  const told = () => gateway.database.sql`
    select payload from alarms where payload ->> 'request_id' = ${unknown.headers.get("x-request-id")}`;
  for (let tries = 0; (await told()).length === 0 && tries < 40; tries++) await Bun.sleep(50);
  expect((await told())[0]?.payload).toMatchObject({
    provider: "claude",
    model: "nobody",
    price_of: "model",
  });
  const refused = await ask(robo, "dear");
  const { error } = (await refused.json()) as Refused;
  expect([refused.status, error.message]).toEqual([
    400,
    expect.stringContaining("`advisor_20260301` costs something beside the model's tokens"),
  ]);
});

test("a hard budget is charged no less than the model's own price where the answer had another", async () => {
  const usage = { prompt_tokens: 2_000, completion_tokens: 3 };
  provider.script("m", json({ choices: [], service_tier: "priority", usage }));
  const response = await send(robo, "chat/completions", { model: "openai/m", messages: [], max_tokens: 5 });
  expect(await row(response)).toMatchObject({ state: "settled", costNano: null, chargedNano: 2_006_000 });
});
