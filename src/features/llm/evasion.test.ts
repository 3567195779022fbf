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
prices:
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
    // Where no hard budget applies it is the caller's own affair.
    expect((await send(mallory, "chat/completions", body)).status).toBe(200);
  }
  expect(provider.received.length).toBe(asked + 5);
  const plain = { model: "openai/m", messages: [], max_tokens: 5, service_tier: "flex" };
  const response = await send(robo, "chat/completions", plain);
  expect(response.status).toBe(200);
  expect(await row(response)).toMatchObject({ state: "settled", chargedNano: 15_000 });
});
