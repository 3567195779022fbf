import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { localActor } from "../testing/desk.ts";
import { startGateway } from "../testing/gateway.ts";
import { events, json } from "../testing/provider-script.ts";

const gateway = await startGateway({
  yaml: `
providers: { openai: { kind: openai, base_url: "PROVIDER", api_key: "x" } }
limits: { llm: { requests_per_minute: 5, tokens_per_minute: 100, streams_per_token: 2, body_bytes_max: 2000 }, control: { requests_per_minute: 3 } }
`,
});
afterAll(() => gateway.close());
const { provider, robo, mallory } = gateway;

type Refusal = { error: { type: string; code: string; message: string } };
const keyOf = async () =>
  gateway.as(
    (await gateway.keys.create(localActor, { owner: { clientId: robo.id }, scope: "llm:chat" })).key,
  );
const answer = (tokens: number) =>
  json({ choices: [], usage: { prompt_tokens: tokens, completion_tokens: 0 } });

test("the sixth request of a minute waits, in OpenAI's own words, and others do not wait with it", async () => {
  provider.script("*", answer(1));
  const key = await keyOf();
  for (let i = 0; i < 5; i++) {
    const response = await key.chat({});
    expect([response.status, response.headers.get("x-ratelimit-remaining-requests")]).toEqual([
      200,
      String(4 - i),
    ]);
  }
  const refused = await key.chat({});
  expect([refused.status, ((await refused.json()) as Refusal).error]).toMatchObject([
    429,
    { type: "requests", code: "rate_limit_exceeded" },
  ]);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(refused.headers.get("ratelimit-policy")).toBe('"requests";q=5;w=60, "tokens";q=100;w=60');
  expect((await mallory.chat({})).status).toBe(200);
});

test("tokens are counted as they are used, and the call that passes the limit is the last", async () => {
  provider.script("*", answer(80));
  const key = await keyOf();
  expect([(await key.chat({})).status, (await key.chat({})).status]).toEqual([200, 200]);
  const refused = await key.chat({});
  expect([refused.status, ((await refused.json()) as Refusal).error]).toMatchObject([
    429,
    { type: "tokens", code: "rate_limit_exceeded" },
  ]);
});

test("a credential holds so many streams open and gets its place back when one ends", async () => {
  const chunk = { choices: [{ index: 0, delta: { content: "x" } }] };
  provider.script(
    "*",
    events(
      Array.from({ length: 100 }, () => chunk),
      { gapMs: 50 },
    ),
  );
  const key = await keyOf();
  const abort = new AbortController();
  const open = [await key.chat({ stream: true }, { signal: abort.signal }), await key.chat({ stream: true })];
  expect(open.map((response) => response.status)).toEqual([200, 200]);
  expect((await key.chat({ stream: true })).status).toBe(429);
  abort.abort();
  await Bun.sleep(200);
  expect((await key.chat({ stream: true })).status).toBe(200);
});

test("a body over the plane's size is refused whether its length was announced or not", async () => {
  const key = await keyOf();
  const big = { messages: [{ role: "user", content: "x".repeat(3_000) }] };
  const announced = await key.chat(big);
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(JSON.stringify({ model: "openai/m", ...big })));
      controller.close();
    },
  });
  const chunked = await key.fetch("/v1/chat/completions", {
    method: "POST",
    body,
    headers: { "content-type": "application/json" },
  });
  for (const response of [announced, chunked]) {
    expect([response.status, ((await response.json()) as Refusal).error.code]).toEqual([
      413,
      "body_too_large",
    ]);
  }
});

test("the control plane has a limit of its own, in its own words", async () => {
  for (let i = 0; i < 3; i++) expect((await robo.fetch("/api/v1/me")).status).toBe(200);
  const refused = await robo.fetch("/api/v1/me");
  expect([refused.status, refused.headers.get("content-type")]).toEqual([429, "application/problem+json"]);
  expect(((await refused.json()) as { code: string }).code).toBe("rate_limit_exceeded");
});

describe("a project's limits", () => {
  const keyIn = async (clientId: string, at: Gateway) =>
    at.as((await at.keys.create(localActor, { owner: { clientId }, scope: "llm:chat" })).key);
  type Gateway = Awaited<ReturnType<typeof startGateway>>;
  let shared: Gateway;
  beforeAll(async () => {
    shared = await startGateway({
      yaml: `
providers: { openai: { kind: openai, base_url: "PROVIDER", api_key: "x" } }
limits: { llm: { requests_per_minute: null, project_requests_per_minute: 4, streams_per_project: 2 } }
`,
    });
    shared.provider.script("*", answer(60));
  });
  afterAll(() => shared.close());
  const llm = () => shared.parts.gateway().limits.llm;

  test("count all credentials that are charged to it, and nobody else's", async () => {
    const [one, two] = [await keyIn(shared.robo.id, shared), await keyIn(shared.robo.id, shared)];
    for (let i = 0; i < 2; i++)
      expect([(await one.chat({})).status, (await two.chat({})).status]).toEqual([200, 200]);
    const refused = await two.chat({});
    expect([refused.status, ((await refused.json()) as Refusal).error]).toMatchObject([
      429,
      {
        type: "requests",
        code: "rate_limit_exceeded",
        message: expect.stringMatching(/^This project may send 4 requests/),
      },
    ]);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await shared.mallory.chat({})).status).toBe(200);
  });

  test("change while the gateway runs, and hold at once for what was counted before", async () => {
    llm().projectRequestsPerMinute = 6;
    expect((await shared.robo.chat({})).status).toBe(200);
    llm().projectRequestsPerMinute = 1;
    expect((await shared.robo.chat({})).status).toBe(429);
    llm().projectRequestsPerMinute = null;
    expect((await shared.robo.chat({})).status).toBe(200);
  });

  test("count tokens of every endpoint", async () => {
    llm().projectTokensPerMinute = 150;
    expect((await shared.robo.chat({})).status).toBe(200);
    shared.provider.script("*", json({ data: [], usage: { prompt_tokens: 90, total_tokens: 90 } }));
    const embedded = await shared.robo.fetch("/v1/embeddings", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "openai/e", input: "x" }),
    });
    expect(embedded.status).toBe(200);
    const refused = await shared.robo.chat({});
    expect([refused.status, ((await refused.json()) as Refusal).error]).toMatchObject([
      429,
      { type: "tokens", message: expect.stringMatching(/^This project may use 150 tokens/) },
    ]);
    expect((await shared.mallory.chat({})).status).toBe(200);
    llm().projectTokensPerMinute = null;
  });

  test("hold for its open streams", async () => {
    const chunk = { choices: [{ index: 0, delta: { content: "x" } }] };
    shared.provider.script(
      "*",
      events(
        Array.from({ length: 100 }, () => chunk),
        { gapMs: 50 },
      ),
    );
    const abort = new AbortController();
    const keys = [await keyIn(shared.robo.id, shared), await keyIn(shared.robo.id, shared)];
    const open = await Promise.all(keys.map((key) => key.chat({ stream: true }, { signal: abort.signal })));
    expect(open.map(({ status }) => status)).toEqual([200, 200]);
    const refused = await shared.robo.chat({ stream: true });
    expect([refused.status, ((await refused.json()) as Refusal).error.message]).toEqual([
      429,
      "This project may hold 2 streams open at once.",
    ]);
    expect((await shared.mallory.chat({ stream: true })).status).toBe(200);
    abort.abort();
    await Bun.sleep(200);
    expect((await shared.robo.chat({ stream: true })).status).toBe(200);
  });
});

test("what is left is said of tokens, too", async () => {
  provider.script("*", answer(30));
  const key = await keyOf();
  await key.chat({});
  const response = await key.chat({});
  expect(Object.fromEntries(response.headers)).toMatchObject({
    ratelimit: expect.stringMatching(/^"requests";r=3;t=\d+, "tokens";r=70;t=\d+$/),
    "ratelimit-policy": '"requests";q=5;w=60, "tokens";q=100;w=60',
    "x-ratelimit-limit-tokens": "100",
    "x-ratelimit-remaining-tokens": "70",
    "x-ratelimit-limit-requests": "5",
    "x-ratelimit-remaining-requests": "3",
  });
});
