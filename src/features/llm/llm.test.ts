import { afterAll, expect, test } from "bun:test";
import { connect } from "node:net";
import OpenAI from "openai";
import { localActor } from "../../testing/desk.ts";
import { startGateway } from "../../testing/gateway.ts";
import {
  bodyOf,
  crlf,
  eventStream,
  events,
  json,
  refusal,
  reply,
  type Script,
} from "../../testing/provider-script.ts";

const gateway = await startGateway({
  yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-provider-secret" }
  plain: { kind: openai, base_url: "PROVIDER", include_usage: false }
  gone: { kind: openai, base_url: "http://127.0.0.1:9/v1" }
models:
  fast: { targets: [{ provider: openai, model: real-name }] }
  hasty: { targets: [{ provider: openai, model: hasty }], timeouts: { first_token_ms: 300, idle_ms: 300, total_ms: 1500 } }
prices:
  "openai/*": { input: 1, cached_read: 0.1, output: 2 }
`,
});
afterAll(() => gateway.close());
const { provider, robo, row } = gateway;

const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
const chunk = (content: string, finish: string | null = null) => ({
  id: "c1",
  object: "chat.completion.chunk",
  choices: [{ index: 0, delta: { content }, finish_reason: finish }],
});
const usageChunk = { id: "c1", object: "chat.completion.chunk", choices: [], usage };
const words = [chunk("one "), chunk("two "), chunk("ไทย", "stop")];

/** The row of a call whose end nobody waited for. */
async function ended(response: Response) {
  const deadline = performance.now() + 20_000;
  let found = await row(response);
  while ((found === undefined || found.state === "open") && performance.now() < deadline) {
    await Bun.sleep(20);
    found = await row(response);
  }
  return found;
}
const bytes = async (response: Response) => Buffer.from(await response.bytes());

test("an answer comes back byte for byte, with its bill in the headers", async () => {
  const answer = {
    id: "x",
    choices: [{ index: 0, message: { role: "assistant", content: "hi ✓" }, finish_reason: "stop" }],
    usage,
  };
  const script = json(answer, 200, { "openai-version": "v9", "x-secret": "1", "openai-processing-ms": "5" });
  provider.script("m", script);
  const response = await robo.chat({ model: "openai/m" });
  expect((await bytes(response)).equals(Buffer.from(bodyOf(script)))).toBe(true);
  expect(response.status).toBe(200);
  expect(response.headers.get("openai-version")).toBe("v9");
  expect(response.headers.get("x-secret")).toBeNull();
  expect(response.headers.get("x-specgate-provider")).toBe("openai");
  expect(response.headers.get("x-specgate-cost-usd")).toBe("0.000015");
  expect(response.headers.get("x-specgate-usage")).toBe("input=9, output=3, cached=0, reasoning=0");
  expect(await row(response)).toMatchObject({
    state: "settled",
    input: 9,
    output: 3,
    costNano: 15_000,
    delivery: "whole",
  });
});

test("the request's bytes reach the provider, its own key does not, and the gateway's key does", async () => {
  provider.script("real-name", json({ choices: [], usage }));
  const body = '{ "model": "fast", "messages": [], "unknown_field": {"a": 1.50}, "n":1 }';
  await robo.fetch("/v1/chat/completions?beta=1&x=%20", {
    method: "POST",
    body,
    headers: {
      "content-type": "application/json",
      "openai-beta": "assistants=v2",
      "idempotency-key": "k1",
      "x-mine": "private",
      cookie: "a=b",
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    },
  });
  const sent = provider.received.at(-1);
  expect(Buffer.from(sent?.body ?? []).toString()).toBe(body.replace('"fast"', '"real-name"'));
  expect(sent?.query).toBe("beta=1&x=%20");
  expect(sent?.headers.get("authorization")).toBe("Bearer sk-provider-secret");
  expect(sent?.headers.get("openai-beta")).toBe("assistants=v2");
  expect(sent?.headers.get("idempotency-key")).toBe("k1");
  expect(sent?.headers.get("traceparent")).toStartWith("00-0af7651916cd43dd8448eb211c80319c");
  for (const name of ["x-mine", "cookie"]) expect(sent?.headers.get(name)).toBeNull();
  expect(sent?.head).not.toContain(robo.bearer);
});

test("a stream comes back byte for byte when the caller asks for usage itself", async () => {
  const script = events([...words, usageChunk]);
  provider.script("m", script);
  const response = await robo.chat({ stream: true, stream_options: { include_usage: true } });
  expect((await bytes(response)).equals(Buffer.from(bodyOf(script)))).toBe(true);
  expect(await row(response)).toMatchObject({
    state: "settled",
    input: 9,
    output: 3,
    stream: true,
    delivery: "whole",
  });
});

test("the usage chunk that only the gateway asked for stays with the gateway", async () => {
  provider.script("m", events([...words, usageChunk]));
  const response = await robo.chat({ stream: true });
  expect((await bytes(response)).equals(Buffer.from(bodyOf(events(words))))).toBe(true);
  expect(JSON.parse(Buffer.from(provider.received.at(-1)?.body ?? []).toString()).stream_options).toEqual({
    include_usage: true,
  });
  expect(await row(response)).toMatchObject({ state: "settled", input: 9, output: 3, costNano: 15_000 });
});

test("however the stream is cut into pieces, with either line end, its bytes are the same", async () => {
  for (const make of [(script: Script) => script, crlf]) {
    const whole = make(events([...words, usageChunk]));
    const shown = Buffer.from(bodyOf(make(events(words))));
    for (const pieceBytes of [1, 2, 3, 7, 64, 1_000]) {
      provider.script("m", { ...whole, pieceBytes });
      const response = await robo.chat({ stream: true });
      expect([pieceBytes, (await bytes(response)).equals(shown)]).toEqual([pieceBytes, true]);
    }
  }
});

test("usage is found wherever a provider puts it in a stream", async () => {
  for (const usageOn of ["own", "finish", "every", "x_groq"] as const) {
    provider.script("m", reply({ content: "a b c", usage, usageOn }));
    const response = await robo.chat({ stream: true });
    await response.text();
    expect([usageOn, await row(response)]).toMatchObject([
      usageOn,
      { state: "settled", input: 9, output: 3 },
    ]);
  }
});

test("usage that comes behind [DONE] still counts, and a provider that then stays open is not waited for", async () => {
  provider.script("m", {
    headers: eventStream,
    steps: [...events([...words]).steps, `data: ${JSON.stringify(usageChunk)}\n\n`, "stall"],
  });
  const response = await robo.chat({ stream: true });
  const startedAt = performance.now();
  expect((await bytes(response)).equals(Buffer.from(bodyOf(events(words))))).toBe(true);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
  expect(await row(response)).toMatchObject({ state: "settled", input: 9, output: 3 });
});

test("a provider that just closes in good order ends the stream in good order", async () => {
  provider.script("m", events([...words, usageChunk], { done: false }));
  const response = await robo.chat({ stream: true });
  expect((await bytes(response)).equals(Buffer.from(bodyOf(events(words, { done: false }))))).toBe(true);
  expect(await row(response)).toMatchObject({ state: "settled", output: 3, delivery: "whole" });
});

test("where nobody reports usage it is counted here, and the row says so", async () => {
  provider.script("m", events([chunk("The quick brown fox"), chunk(" jumps", "stop")]));
  const response = await robo.chat({ model: "plain/m", stream: true });
  await response.text();
  expect(await row(response)).toMatchObject({ state: "estimated", input: 1, output: 5, costNano: null });
}, 15_000);

test("zeros reported are zeros charged", async () => {
  provider.script(
    "m",
    events([...words, { ...usageChunk, usage: { prompt_tokens: 0, completion_tokens: 0 } }]),
  );
  const response = await robo.chat({ stream: true });
  await response.text();
  expect(await row(response)).toMatchObject({ state: "settled", input: 0, output: 0, costNano: 0 });
});

test("a caller who leaves closes the provider's connection within 100 ms and leaves one estimated row", async () => {
  for (const left of [1, 2, 3]) {
    provider.script(
      "m",
      events(
        Array.from({ length: 50 }, () => chunk("word ")),
        { gapMs: 30 },
      ),
    );
    const abort = new AbortController();
    const response = await robo.chat({ stream: true }, { signal: abort.signal });
    const reader = response.body?.getReader();
    for (let i = 0; i < left; i++) await reader?.read();
    const leftAt = performance.now();
    abort.abort();
    const received = provider.received.at(-1);
    expect(await received?.ended).toBe("gone");
    expect((received?.endedAt ?? 0) - leftAt).toBeLessThan(100);
    expect(await ended(response)).toMatchObject({ state: "estimated", delivery: "cut", input: 1 });
  }
});

test("a caller who leaves before anything came leaves one row too", async () => {
  provider.script("m", { headersAfterMs: Number.POSITIVE_INFINITY, steps: [] });
  const abort = new AbortController();
  const pending = robo.chat({ stream: false }, { signal: abort.signal }).catch(() => null);
  const received = await provider.next();
  const leftAt = performance.now();
  abort.abort();
  await pending;
  expect(await received.ended).toBe("gone");
  expect((received.endedAt ?? 0) - leftAt).toBeLessThan(100);
});

test("a stream that the provider cuts ends in an error event, after every whole event that came", async () => {
  provider.script("m", {
    headers: eventStream,
    // The pause lets what came before be read: Bun's fetch drops what it has not handed out when a connection fails.
    steps: [
      ...events(words, { done: false }).steps,
      { pause: 50 },
      { cut: "fin", within: 'data: {"choices":[{"del' },
    ],
  });
  const response = await robo.chat({ stream: true });
  const text = await response.text();
  expect(text).toStartWith(Buffer.from(bodyOf(events(words, { done: false }))).toString());
  const last = JSON.parse(text.trim().split("data: ").at(-1) ?? "");
  expect(last.error).toMatchObject({ type: "server_error", code: "provider_error" });
  expect(await row(response)).toMatchObject({ state: "estimated", delivery: "cut", status: 200 });
});

test("what the provider says went wrong in mid-stream reaches the caller as the last event", async () => {
  provider.script(
    "m",
    events([...words, { error: { message: "overloaded", type: "server_error" } }], { done: false }),
  );
  const response = await robo.chat({ stream: true });
  expect(await response.text()).toEndWith(
    'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n',
  );
  expect(await row(response)).toMatchObject({ state: "estimated" });
});

test("a provider's own error passes as it came and costs nothing", async () => {
  for (const [status, headers] of [
    [400, {}],
    [403, {}],
    [429, { "retry-after": "7" }],
    [500, {}],
    [503, {}],
  ] as const) {
    const script = refusal(status, headers);
    provider.script("m", script);
    const response = await robo.chat({ stream: status === 429 });
    expect([response.status, response.headers.get("retry-after")]).toEqual([
      status,
      status === 429 ? "7" : null,
    ]);
    expect((await bytes(response)).equals(Buffer.from(bodyOf(script)))).toBe(true);
    expect(await row(response)).toMatchObject({ state: "failed", status, costNano: 0 });
  }
});

test("a provider's error that never comes to an end is a refusal all the same", async () => {
  provider.script("hasty", {
    status: 500,
    headers: { "content-type": "application/json" },
    steps: ['{"error":', "stall"],
  });
  const response = await robo.chat({ model: "hasty" });
  expect(response.status).toBe(504);
  expect(await row(response)).toMatchObject({ state: "failed", status: 504, costNano: 0 });
});

test("a provider that fails before it answers is a typed error, and the row knows whether anything was sent", async () => {
  const html: Script = { headers: { "content-type": "text/html" }, steps: ["<html>busy</html>"] };
  const rows: [string, string, Script, number, string, string][] = [
    ["cannot be reached", "gone/m", html, 502, "provider_error", "failed"],
    ["HTML with 200", "openai/m", html, 502, "provider_error", "unknown"],
    [
      "JSON that is none",
      "openai/m",
      { ...json({}), steps: ["{nope"], framing: "chunked" },
      502,
      "provider_error",
      "unknown",
    ],
    [
      "a reset before the headers",
      "openai/m",
      {
        headersAfterMs: 0,
        steps: [{ raw: "" }, { cut: "reset" }],
        framing: "close",
        headers: { "content-type": "application/json" },
      },
      502,
      "provider_error",
      "unknown",
    ],
    [
      "a redirect",
      "openai/m",
      { status: 302, headers: { location: "http://127.0.0.1:9/" }, steps: [] },
      502,
      "provider_error",
      "failed",
    ],
    [
      "bad gzip",
      "openai/m",
      {
        headers: { "content-type": "application/json", "content-encoding": "gzip" },
        steps: ["not gzip at all"],
      },
      502,
      "provider_error",
      "unknown",
    ],
  ];
  for (const [name, model, script, status, code, state] of rows) {
    provider.script("m", script);
    const response = await robo.chat({ model });
    const body = (await response.json()) as { error: { code: string } };
    expect([name, response.status, body.error.code]).toEqual([name, status, code]);
    expect([name, await row(response)]).toMatchObject([name, { state }]);
  }
});

test("the first-token, idle and total timeouts fire", async () => {
  provider.script("hasty", { headersAfterMs: 5_000, steps: [] });
  const late = await robo.chat({ model: "hasty", stream: true });
  expect([late.status, ((await late.json()) as { error: { code: string } }).error.code]).toEqual([
    504,
    "provider_timeout",
  ]);
  expect(await row(late)).toMatchObject({ state: "unknown", status: 504 });

  provider.script("hasty", {
    headers: eventStream,
    steps: [...events(words, { done: false }).steps, "stall"],
  });
  const stalled = await robo.chat({ model: "hasty", stream: true });
  expect(await stalled.text()).toContain('"code":"provider_timeout"');
  expect(await row(stalled)).toMatchObject({ state: "estimated", delivery: "cut" });

  provider.script(
    "hasty",
    events(
      Array.from({ length: 40 }, () => chunk("w ")),
      { gapMs: 100 },
    ),
  );
  const long = await robo.chat({ model: "hasty", stream: true });
  expect(await long.text()).toContain("the whole answer");
  expect(await row(long)).toMatchObject({ state: "estimated", delivery: "cut" });
});

test("a line without an end is relayed as it comes", async () => {
  const steps = [{ repeat: "x".repeat(65_536), times: 100 }, "\n\n", "data: [DONE]\n\n"];
  provider.script("m", { headers: eventStream, steps });
  const response = await robo.chat({ stream: true });
  expect((await response.text()) === `${"x".repeat(6_553_600)}\n\ndata: [DONE]\n\n`).toBe(true);
});

test("a line without an end arrives as it was sent, however slowly it is read", async () => {
  const pieces = Array.from({ length: 400 }, (_, i) =>
    `${i} `.padEnd(65_536, String.fromCharCode(97 + (i % 26))),
  );
  provider.script("hasty", { headers: eventStream, steps: ["data: ", ...pieces] });
  const response = await robo.chat({ model: "hasty", stream: true });
  const hash = new Bun.CryptoHasher("sha256");
  let reads = 0;
  for await (const piece of response.body ?? []) {
    hash.update(piece);
    if (reads++ % 40 === 0) await Bun.sleep(50);
  }
  const sent = new Bun.CryptoHasher("sha256").update(`data: ${pieces.join("")}`);
  expect(hash.digest("hex")).toBe(sent.digest("hex"));
});

test("a document too large to hold streams, and its usage is still found at its end", async () => {
  const big = JSON.stringify({ choices: [{ message: { content: "x".repeat(12 << 20) } }], usage });
  provider.script("m", { headers: { "content-type": "application/json" }, steps: [big] });
  const response = await robo.chat({});
  expect((await response.text()) === big).toBe(true);
  expect(await row(response)).toMatchObject({ state: "settled", input: 9, output: 3, delivery: "whole" });
});

test("x-specgate-meta adds one comment just before the end", async () => {
  provider.script("m", events([...words, usageChunk]));
  const response = await robo.chat({ stream: true }, { headers: { "x-specgate-meta": "sse" } });
  const parts = (await response.text()).split("\n\n");
  expect(parts.at(-2)).toBe("data: [DONE]");
  expect(JSON.parse(parts.at(-3)?.replace(": specgate ", "") ?? "")).toMatchObject({
    cost_usd: "0.000015",
    usage: { input: 9, output: 3 },
  });
});

test("bad requests are refused before a provider is asked, in the plane's own words", async () => {
  const asked = provider.received.length;
  const send = (body: string, headers: Record<string, string> = { "content-type": "application/json" }) =>
    robo.fetch("/v1/chat/completions", { method: "POST", body, headers });
  const good = '{"model":"openai/m","messages":[]}';
  const rows: [Promise<Response>, number, string][] = [
    [send('{"model":"openai/m","model":"x"}'), 400, "duplicate_key"],
    [send("{"), 400, "invalid_json"],
    [send("{}"), 400, "invalid_request"],
    [send('{"model":"nope"}'), 404, "model_not_found"],
    [send('{"model":"__proto__"}'), 404, "model_not_found"],
    [send('{"model":"constructor/x"}'), 404, "model_not_found"],
    [send(good, { "content-type": "text/plain" }), 415, "unsupported_media_type"],
    [
      send(good, { "content-type": "application/json", "content-encoding": "gzip" }),
      415,
      "unsupported_media_type",
    ],
    [send(good, { "content-type": "application/json", "x-specgate-task": "tsk_1" }), 400, "invalid_request"],
    [
      send(good, { "content-type": "application/json", "x-specgate-session": "ses_1" }),
      400,
      "invalid_request",
    ],
    [send(good, { "content-type": "application/json", "x-specgate-tags": "no" }), 400, "invalid_request"],
  ];
  for (const [pending, status, code] of rows) {
    const response = await pending;
    const body = (await response.json()) as { error: { code: string } };
    expect([response.status, body.error?.code]).toEqual([status, code]);
  }
  expect(provider.received.length).toBe(asked);
});

test("revoking a key ends its stream under way", async () => {
  const { key, id } = await gateway.keys.create(localActor, {
    owner: { clientId: robo.id },
    scope: "llm:chat",
  });
  provider.script(
    "m",
    events(
      Array.from({ length: 100 }, () => chunk("word ")),
      { gapMs: 50 },
    ),
  );
  const response = await gateway.as(key).chat({ stream: true });
  const text = response.text();
  await gateway.keys.revoke(localActor, id);
  const revokedAt = performance.now();
  expect(await text).toContain('"code":"invalid_api_key"');
  expect(performance.now() - revokedAt).toBeLessThan(1_000);
  expect((await gateway.as(key).chat({})).status).toBe(401);
});

test("a model may be called anything that JSON can spell", async () => {
  for (const model of ["openai/ไทย 😀", "openai/\ud800", "openai/a\u0000b", `openai/${"m".repeat(249)}`]) {
    provider.script("*", json({ choices: [], usage }));
    const response = await robo.chat({ model });
    expect([model.slice(0, 20), response.status]).toEqual([model.slice(0, 20), 200]);
    expect(await row(response)).toMatchObject({ state: "settled", input: 9 });
  }
});

test("tags stand on the row", async () => {
  provider.script("m", json({ choices: [], usage }));
  const response = await robo.chat({}, { headers: { "x-specgate-tags": "team=red, run=42" } });
  expect(await row(response)).toMatchObject({ tags: { team: "red", run: "42" }, principal: robo.id });
});

test("the OpenAI SDK works unmodified: whole, streamed, aborted, refused", async () => {
  const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: robo.bearer, maxRetries: 0 });
  provider.script("m", reply({ content: "Hello there friend", usage }));
  const messages = [{ role: "user" as const, content: "hi" }];
  const whole = await client.chat.completions.create({ model: "openai/m", messages });
  expect(whole.choices[0]?.message.content).toBe("Hello there friend");
  let text = "";
  for await (const part of await client.chat.completions.create({
    model: "openai/m",
    messages,
    stream: true,
  })) {
    expect(part.usage ?? null).toBeNull();
    text += part.choices[0]?.delta.content ?? "";
  }
  expect(text).toBe("Hello there friend");
  const refused = await client.chat.completions
    .create({ model: "nope", messages })
    .catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(OpenAI.NotFoundError);
  const listed = await client.models.list();
  expect(listed.data.some((model) => model.id === "fast")).toBe(true);
  expect((await client.models.retrieve("openai/anything")).id).toBe("openai/anything");
});

test("a body over the cap is refused in the plane's own words, announced or not", async () => {
  const bytes = new Uint8Array(33_554_433).fill(0x20);
  const pieces = () => new Blob([bytes]).stream();
  for (const body of [bytes, pieces()]) {
    const headers = { "content-type": "application/json" };
    const response = await robo.fetch("/v1/chat/completions", { method: "POST", headers, body });
    expect(response.status).toBe(413);
    expect(response.headers.get("x-request-id")).toStartWith("req_");
    expect(await response.json()).toMatchObject({ error: { code: "body_too_large" } });
  }
});

test("a large event whose blank line is known late passes like any other", async () => {
  const large = `data: ${"x".repeat(2 << 20)}\r\r`;
  const steps = [large, { pause: 300 }, "data: pa", { pause: 50 }, "rt\n\n", "data: [DONE]\n\n"];
  provider.script("m", { headers: eventStream, steps });
  const response = await robo.chat({ model: "openai/m", stream: true });
  expect((await bytes(response)).equals(Buffer.from(bodyOf({ steps })))).toBe(true);
});

test("a caller who does not read keeps nothing open beyond the call's time", async () => {
  const large = { repeat: `data: ${"x".repeat(60_000)}\n\n`, times: 2_000 };
  provider.script("hasty", { headers: eventStream, steps: [large, "data: [DONE]\n\n"] });
  const asked = provider.next();
  const body = JSON.stringify({ model: "hasty", stream: true, messages: [] });
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname).pause();
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${robo.bearer}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  const request = await asked;
  const before = performance.now();
  expect(await request.ended).toBe("gone");
  // Its own slowness is not the provider's: the 300 ms of `idle_ms` do not count, the 1,500 of `total_ms` do.
  expect(performance.now() - before).toBeGreaterThan(1_000);
  await Bun.sleep(100);
  expect(gateway.parts.completions.admittance.streamsOpen).toBe(0);
  socket.destroy();
});

test("a provider whose answer is of no use is not listened to any longer", async () => {
  provider.script("m", { headers: { "content-type": "text/html" }, steps: ["<html>", "stall"] });
  const asked = provider.next();
  expect((await robo.chat({ model: "openai/m" })).status).toBe(502);
  expect(await Promise.race([(await asked).ended, Bun.sleep(1_000)])).toBe("gone");
});

test("numbers that no call can reach count as not said", async () => {
  const absurd = { prompt_tokens: Number.MAX_SAFE_INTEGER, completion_tokens: 1e300 };
  provider.script("m", json({ choices: [], usage: absurd }));
  expect(await row(await robo.chat({ model: "openai/m" }))).toMatchObject({ state: "estimated", output: 0 });
});

test("models answer in the shape of the client that asks, under its name for the request's id", async () => {
  const headers = { "anthropic-version": "2023-06-01" };
  const list = await robo.fetch("/v1/models", { headers });
  expect(list.headers.get("request-id")).toBe(list.headers.get("x-request-id"));
  expect(await list.json()).toMatchObject({ has_more: false, first_id: "fast" });
  const one = await robo.fetch("/v1/models/openai%2Fm", { headers });
  expect(one.headers.get("request-id")).toStartWith("req_");
  expect(await one.json()).toMatchObject({ type: "model", id: "openai/m" });
  const plain = await robo.fetch("/v1/models/openai/m");
  expect(plain.headers.get("request-id")).toBeNull();
  expect(await plain.json()).toMatchObject({ object: "model", id: "openai/m", owned_by: "openai" });
});
