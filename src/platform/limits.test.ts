import { afterAll, expect, test } from "bun:test";
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

type Refusal = { error: { type: string; code: string } };
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
  expect(refused.headers.get("ratelimit-policy")).toBe('"requests";q=5;w=60');
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
