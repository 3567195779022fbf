import { afterAll, describe, expect, test } from "bun:test";
import { asc, eq } from "drizzle-orm";
import { attempts as attemptRows } from "../../db/schema.ts";
import { localActor } from "../../testing/desk.ts";
import { startGateway } from "../../testing/gateway.ts";
import { bodyOf, eventStream, events, json, refusal, type Script } from "../../testing/provider-script.ts";
import { ok } from "../../testing/wire.ts";
import { getRoute } from "./route.ts";

const fast = "first_token_ms: 300, first_byte_total_ms: 1500, idle_ms: 400, total_ms: 3000";
const gateway = await startGateway({
  yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER" }
  spare: { kind: openai, base_url: "PROVIDER" }
  claude: { kind: anthropic, base_url: "PROVIDER", api_key: "sk-ant" }
  narrow: { kind: openai, base_url: "PROVIDER", endpoints: [embeddings] }
  gone: { kind: openai, base_url: "http://127.0.0.1:9/v1" }
models:
  two: { targets: [{ provider: openai, model: left, weight: 3 }, { provider: openai, model: right }], retries: 2, timeouts: { ${fast} } }
  safe: { targets: [{ provider: openai, model: main }], fallbacks: [{ provider: spare, model: second }, { provider: spare, model: third }], retries: 0, timeouts: { ${fast} } }
  keen: { targets: [{ provider: openai, model: eager }], fallbacks: [{ provider: spare, model: second }], retries: 2, timeouts: { ${fast} } }
  again: { targets: [{ provider: openai, model: flaky }], retries: 2, timeouts: { ${fast} } }
  patient: { targets: [{ provider: openai, model: patient }], retries: 1, timeouts: { first_byte_total_ms: 20000, total_ms: 20000 } }
  dead: { targets: [{ provider: gone, model: x }], fallbacks: [{ provider: spare, model: alive }], retries: 0 }
  ill: { targets: [{ provider: openai, model: ill }], retries: 0 }
  mixed: { targets: [{ provider: claude, model: opus }], fallbacks: [{ provider: narrow, model: vectors }], retries: 0 }
prices:
  "*/*": { input: 1, output: 2 }
`,
});
afterAll(() => gateway.close());
const { provider, robo, row } = gateway;

const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
const good = json({ choices: [{ index: 0, message: { role: "assistant", content: "hi" } }], usage });
const words = events([{ choices: [{ index: 0, delta: { content: "one" } }] }, { choices: [], usage }]);
const silent: Script = { headersAfterMs: Number.POSITIVE_INFINITY, steps: [] };
const mute: Script = { headers: eventStream, steps: ["stall"] };

/** The attempts of a request, as `state provider/model status`. */
async function attemptsOf(response: Response): Promise<string[]> {
  await row(response);
  const id = response.headers.get("x-request-id") ?? "";
  const rows = await gateway.database.db
    .select()
    .from(attemptRows)
    .where(eq(attemptRows.requestId, id))
    .orderBy(asc(attemptRows.attempt));
  return rows.map(({ state, provider, model, status }) => `${state} ${provider}/${model} ${status}`);
}
const codeOf = async (response: Response) =>
  ((await response.json()) as { error: { code: string } }).error.code;
const post = (path: string, body: object, headers: Record<string, string> = {}) =>
  robo.fetch(`/v1/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });

describe("before the first byte", () => {
  test("each failure that may pass is tried again, and each attempt is a line of its own", async () => {
    for (const status of [408, 409, 429, 500, 503, 529]) {
      provider.script("flaky", refusal(status), good);
      const response = await robo.chat({ model: "again" });
      expect([status, response.status, response.headers.get("x-specgate-attempts")]).toEqual([
        status,
        200,
        "2",
      ]);
      expect(await attemptsOf(response)).toEqual([
        `failed openai/flaky ${status}`,
        "settled openai/flaky 200",
      ]);
      expect(await row(response)).toMatchObject({
        state: "settled",
        status: 200,
        costNano: 15_000,
        chargedNano: 15_000,
      });
    }
  });

  test("what is the caller's own fault passes as it came, once", async () => {
    for (const status of [400, 402, 403, 404, 422]) {
      const script = refusal(status);
      provider.script("flaky", script, good);
      const response = await robo.chat({ model: "again" });
      expect([status, response.status, response.headers.get("x-specgate-attempts")]).toEqual([
        status,
        status,
        "1",
      ]);
      expect(Buffer.from(await response.bytes()).equals(Buffer.from(bodyOf(script)))).toBe(true);
      provider.script("flaky", good);
    }
  });

  test("what a provider refuses to the gateway and not to the caller is asked of the next one, at no cost", async () => {
    for (const status of [401, 402, 403, 404]) {
      provider.script("eager", refusal(status));
      provider.script("second", good);
      const response = await robo.chat({ model: "keen" });
      expect(await attemptsOf(response)).toEqual([
        `failed openai/eager ${status}`,
        "settled spare/second 200",
      ]);
      expect(await row(response)).toMatchObject({ state: "settled", costNano: 15_000, chargedNano: 15_000 });
    }
    // Nobody is asked twice, and the last one's answer is the answer.
    provider.script("left", refusal(402));
    provider.script("right", refusal(402));
    const response = await robo.chat({ model: "two" });
    expect([response.status, await codeOf(response), (await attemptsOf(response)).length]).toEqual([
      402,
      "scripted_402",
      2,
    ]);
  });

  test("a provider that refuses the gateway's own credential is no reason for the caller to sign in again", async () => {
    provider.script("flaky", refusal(401), good);
    const response = await robo.chat({ model: "again" });
    expect(response.status).toBe(502);
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    expect([error.code, error.message]).toEqual([
      "provider_error",
      "The provider refused the gateway's own credential.",
    ]);
    expect(await attemptsOf(response)).toEqual(["failed openai/flaky 401"]);
    expect(await row(response)).toMatchObject({ state: "failed", status: 502, costNano: 0, chargedNano: 0 });
  });

  test("a provider's own word on whether to repeat a call is heeded, and passed on", async () => {
    provider.script("patient", refusal(503, { "x-should-retry": "false" }), good);
    const refused = await robo.chat({ model: "patient" });
    expect([refused.status, refused.headers.get("x-should-retry")]).toEqual([503, "false"]);
    expect(await attemptsOf(refused)).toEqual(["failed openai/patient 503"]);
    provider.script("patient", refusal(400, { "x-should-retry": "true" }), good);
    expect((await robo.chat({ model: "patient" })).status).toBe(200);
    provider.script("eager", refusal(503, { "x-should-retry": "false" }));
    provider.script("second", good);
    const elsewhere = await robo.chat({ model: "keen" });
    expect(await attemptsOf(elsewhere)).toEqual(["failed openai/eager 503", "settled spare/second 200"]);
  });

  test("when every attempt fails, the last one's error passes as it came", async () => {
    provider.script("flaky", refusal(500), refusal(503), refusal(502));
    const response = await robo.chat({ model: "again" });
    expect(response.status).toBe(502);
    expect(await codeOf(response)).toBe("scripted_502");
    expect(await attemptsOf(response)).toEqual(
      [500, 503, 502].map((status) => `failed openai/flaky ${status}`),
    );
    expect(await row(response)).toMatchObject({ state: "failed", status: 502, costNano: 0, chargedNano: 0 });
  });

  test("a target that did not answer is followed by another one, and fallbacks by each other", async () => {
    provider.script("left", refusal(500));
    provider.script("right", good);
    for (let n = 0; n < 4; n++) expect((await robo.chat({ model: "two" })).status).toBe(200);
    provider.script("main", refusal(500));
    provider.script("second", { headers: { "content-type": "text/html" }, steps: ["<html>"] });
    provider.script("third", good);
    const response = await robo.chat({ model: "safe" });
    expect([response.status, response.headers.get("x-specgate-model")]).toEqual([200, "third"]);
    expect(await attemptsOf(response)).toEqual([
      "failed openai/main 500",
      "unknown spare/second 200",
      "settled spare/third 200",
    ]);
    expect(await row(response)).toMatchObject({
      state: "settled",
      provider: "spare",
      model: "third",
      costNano: 15_000,
    });
  });

  test("nobody there is no call at all, and the fallback answers", async () => {
    provider.script("alive", good);
    const response = await robo.chat({ model: "dead" });
    expect(response.status).toBe(200);
    expect(await attemptsOf(response)).toEqual(["failed gone/x null", "settled spare/alive 200"]);
  });

  test("a stream that says nothing in time is given up, with or without headers, and the next one answers", async () => {
    for (const script of [silent, mute]) {
      provider.script("main", script);
      provider.script("second", words);
      const response = await robo.chat({ model: "safe", stream: true });
      expect(await response.text()).toEndWith("data: [DONE]\n\n");
      expect(response.headers.get("x-specgate-attempts")).toBe("2");
      const [first, second] = await attemptsOf(response);
      expect(first).toStartWith("unknown openai/main");
      expect(second).toBe("settled spare/second 200");
      expect(await row(response)).toMatchObject({ state: "settled", costNano: 15_000 });
    }
  });

  test("all attempts together have until first_byte_total_ms", async () => {
    provider.script("flaky", silent);
    const startedAt = performance.now();
    const response = await robo.chat({ model: "again", stream: true });
    expect([response.status, await codeOf(response)]).toEqual([504, "provider_timeout"]);
    expect(performance.now() - startedAt).toBeLessThan(1_800);
    expect((await attemptsOf(response)).length).toBe(3);
    expect(await row(response)).toMatchObject({
      state: "unknown",
      status: 504,
      costNano: null,
      chargedNano: null,
    });
  });

  test("Retry-After is waited for when there is time, and passed on when there is not", async () => {
    provider.script("patient", refusal(429, { "retry-after": "1" }), good);
    const startedAt = performance.now();
    expect((await robo.chat({ model: "patient" })).status).toBe(200);
    expect(performance.now() - startedAt).toBeGreaterThan(995);
    provider.script("flaky", refusal(429, { "retry-after": "30" }), good);
    const response = await robo.chat({ model: "again" });
    expect([response.status, response.headers.get("retry-after")]).toEqual([429, "30"]);
    expect(await attemptsOf(response)).toEqual(["failed openai/flaky 429"]);
    provider.script("main", refusal(429, { "retry-after": "30" }));
    provider.script("second", good);
    expect((await robo.chat({ model: "safe" })).status).toBe(200);
  });

  test("a fallback is asked at once when the target asks to be left alone", async () => {
    provider.script("eager", refusal(429, { "retry-after": "1" }), good);
    provider.script("second", good);
    const startedAt = performance.now();
    const response = await robo.chat({ model: "keen" });
    expect(performance.now() - startedAt).toBeLessThan(900);
    expect(await attemptsOf(response)).toEqual(["failed openai/eager 429", "settled spare/second 200"]);
  });

  test("a caller who leaves in a pause is asked for no more, and leaves one closed row", async () => {
    provider.script("patient", refusal(429, { "retry-after": "5" }));
    const asked = provider.received.length;
    const abort = new AbortController();
    const pending = robo
      .chat({ model: "patient" }, { signal: abort.signal, headers: { "idempotency-key": "left-in-pause" } })
      .catch(() => null);
    await provider.next();
    await Bun.sleep(100);
    abort.abort();
    await pending;
    const deadline = performance.now() + 5_000;
    let found: unknown;
    while (found === undefined && performance.now() < deadline) {
      await Bun.sleep(50);
      await gateway.parts.ledger.settled();
      [found] = await gateway.database
        .sql`select state, status, delivery from requests where idempotency_key = 'left-in-pause' and state <> 'open'`;
    }
    expect(found).toMatchObject({ state: "failed", status: null, delivery: "none" });
    expect(provider.received.length).toBe(asked + 1);
  });
});

test("who asks for one provider's model has nobody else to be asked, and its first token has all of the time", () => {
  const { config, prices } = gateway.parts;
  const { firstTokenMs, firstByteTotalMs } = getRoute(config.gateway, prices, "openai/thinks").timeouts;
  expect([firstTokenMs, firstByteTotalMs]).toEqual([55_000, 55_000]);
});

test("weights say how often each target is asked", async () => {
  provider.script("left", good);
  provider.script("right", good);
  let left = 0;
  for (let n = 0; n < 200; n++) {
    const response = await robo.chat({ model: "two" });
    if (response.headers.get("x-specgate-model") === "left") left++;
  }
  // 150 on average, with a deviation of 6.
  expect(left).toBeGreaterThan(115);
  expect(left).toBeLessThan(185);
});

test("after the first byte nothing is tried again", async () => {
  provider.script("main", {
    headers: eventStream,
    steps: ['data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n', { pause: 50 }, { cut: "fin" }],
  });
  provider.script("second", words);
  const response = await robo.chat({ model: "safe", stream: true });
  expect(await response.text()).toContain('"code":"provider_error"');
  expect(await attemptsOf(response)).toEqual(["estimated openai/main 200"]);
});

test("one byte at a time is slow and alive, until total_ms", async () => {
  provider.script("main", {
    headers: { "content-type": "application/json" },
    steps: Array.from({ length: 30 }, () => [" ", { pause: 200 }] as const).flat(),
  });
  const startedAt = performance.now();
  const response = await robo.chat({ model: "safe" });
  expect([response.status, await codeOf(response)]).toEqual([504, "provider_timeout"]);
  expect(performance.now() - startedAt).toBeGreaterThan(2_900);
});

test("a whole answer that stalls after its headers is given up after idle_ms", async () => {
  const headers = { "content-type": "application/json" };
  provider.script("main", { headers, steps: ["stall"] });
  provider.script("second", good);
  const startedAt = performance.now();
  const response = await robo.chat({ model: "safe" });
  expect([response.status, response.headers.get("x-specgate-model")]).toEqual([200, "second"]);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
});

test("an answer that has begun is billed, so it is not asked for again", async () => {
  const headers = { "content-type": "application/json" };
  provider.script("main", { headers, steps: ['{"choices":', { pause: 50 }, { cut: "reset" }] });
  const response = await robo.chat({ model: "safe" });
  expect(response.status).toBe(502);
  expect(await attemptsOf(response)).toEqual(["unknown openai/main 200"]);
});

test("a refusal whose words never come is the caller's own fault all the same", async () => {
  const headers = { "content-type": "application/json" };
  provider.script("flaky", { status: 400, headers, steps: ['{"error":', "stall"] });
  const response = await robo.chat({ model: "again" });
  expect(response.status).toBe(400);
  expect(await attemptsOf(response)).toEqual(["failed openai/flaky 400"]);
  expect(gateway.parts.completions.states().find(({ model }) => model === "flaky")?.state).not.toBe("open");
});

describe("each endpoint", () => {
  const anthropic = { "anthropic-version": "2023-06-01" };

  test("is asked of those who speak it alone", async () => {
    provider.script("vectors", json({ data: [], usage: { prompt_tokens: 4, total_tokens: 4 } }));
    const embedded = await post("embeddings", { model: "mixed", input: "x" });
    expect([embedded.status, provider.received.at(-1)?.path]).toEqual([200, "/v1/embeddings"]);
    expect(await row(embedded)).toMatchObject({
      endpoint: "embeddings",
      provider: "narrow",
      input: 4,
      output: 0,
      costNano: 4_000,
    });
    const refused = await post("responses", { model: "mixed", input: "x" });
    expect(refused.status).toBe(400);
    const { error } = (await refused.json()) as { error: { code: string; message: string } };
    expect(error.code).toBe("endpoint_not_supported");
    expect(error.message).toContain("chat/completions, embeddings, messages, messages/count_tokens");
  });

  test("of Anthropic's answers in Anthropic's words", async () => {
    provider.script(
      "opus",
      json({
        id: "msg_1",
        type: "message",
        content: [{ type: "text", text: "hi" }],
        usage: { input_tokens: 5, output_tokens: 2 },
      }),
    );
    const response = await post("messages", { model: "mixed", max_tokens: 9, messages: [] }, anthropic);
    expect(response.status).toBe(200);
    expect(response.headers.get("request-id")).toBe(response.headers.get("x-request-id"));
    expect(await row(response)).toMatchObject({
      endpoint: "messages",
      state: "settled",
      input: 5,
      output: 2,
    });
    const refused = await post("messages", { model: "nope", max_tokens: 9, messages: [] }, anthropic);
    expect(await refused.json()).toMatchObject({ type: "error", error: { type: "not_found_error" } });
  });

  test("that only counts tokens costs nothing", async () => {
    provider.script("opus", json({ input_tokens: 2_095 }));
    const response = await post("messages/count_tokens", { model: "mixed", messages: [] }, anthropic);
    expect(await response.json()).toEqual({ input_tokens: 2_095 });
    expect(await row(response)).toMatchObject({ state: "settled", input: 0, output: 0, costNano: 0 });
  });
});

test("a target that fails and fails is left alone, told of, and tried again by one call", async () => {
  provider.script("ill", refusal(500));
  const asked = () => provider.received.filter(({ model }) => model === "ill").length;
  let refused = await robo.chat({ model: "ill" });
  for (let n = 0; n < 30 && refused.status === 500; n++) refused = await robo.chat({ model: "ill" });
  expect([refused.status, await codeOf(refused)]).toEqual([503, "unavailable"]);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  const before = asked();
  expect((await robo.chat({ model: "ill" })).status).toBe(503);
  expect(asked()).toBe(before);
  expect(gateway.parts.completions.states()).toContainEqual(
    expect.objectContaining({ provider: "openai", model: "ill", state: "open" }),
  );
  provider.script("ill", { ...good, headersAfterMs: 300 });
  await Bun.sleep(5_100);
  const answers = await Promise.all(Array.from({ length: 5 }, () => robo.chat({ model: "ill" })));
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 503, 503, 503, 503]);
  expect(asked()).toBe(before + 1);
  expect((await robo.chat({ model: "ill" })).status).toBe(200);
  const told = await gateway.database.sql`select type from alarms where type like 'provider.%' order by type`;
  expect(told.map(({ type }) => type)).toEqual(["provider.down", "provider.up"]);
}, 20_000);

test("what a provider keeps is found again for its owner, at that provider alone", async () => {
  const kept = json({
    id: "resp_kept1",
    object: "response",
    output: [],
    usage: { input_tokens: 3, output_tokens: 1 },
  });
  provider.script("third", kept);
  const made = await post("responses", { model: "spare/third", input: "x" });
  expect(made.status).toBe(200);
  expect(await row(made)).toMatchObject({ endpoint: "responses", state: "settled", input: 3, output: 1 });
  provider.script("second", kept);
  provider.script("main", kept);
  const follow = { previous_response_id: "resp_kept1", input: "y" };
  // The route's target is another provider, so its fallbacks at this one are asked.
  const again = await post("responses", { model: "safe", ...follow });
  expect([
    again.status,
    again.headers.get("x-specgate-provider"),
    again.headers.get("x-specgate-attempts"),
  ]).toEqual([200, "spare", "1"]);
  for (const [who, model] of [
    [gateway.mallory, "safe"],
    [robo, "openai/main"],
  ] as const) {
    const asked = provider.received.length;
    const refused = await who.fetch("/v1/responses", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model, ...follow }),
    });
    expect([refused.status, await codeOf(refused)]).toEqual([400, "provider_state_refused"]);
    expect(provider.received.length).toBe(asked);
  }
}, 20_000);

test("an empty stream is no answer", async () => {
  provider.script("main", { headers: eventStream, steps: [] });
  provider.script("second", words);
  const response = await robo.chat({ model: "safe", stream: true });
  expect(await response.text()).toEndWith("data: [DONE]\n\n");
  expect(response.headers.get("x-specgate-attempts")).toBe("2");
});

test("a new configuration holds for new calls, and lets go of no stream under way", async () => {
  const steps = [
    ...events([{ choices: [{ index: 0, delta: { content: "one" } }] }], { done: false }).steps,
    { pause: 200 },
  ];
  provider.script("main", { headers: eventStream, steps: [...steps, ...words.steps] });
  const response = await robo.chat({ model: "safe", stream: true });
  const { config } = gateway.parts;
  const before = config.gateway;
  config.gateway = { ...before, models: {}, providers: {} };
  expect((await robo.chat({ model: "safe" })).status).toBe(404);
  expect(await response.text()).toEndWith("data: [DONE]\n\n");
  expect(await row(response)).toMatchObject({ state: "settled", delivery: "whole", costNano: 15_000 });
  config.gateway = before;
});

test("a provider whose address was mended is asked at once, however long it was down", async () => {
  provider.script("x", good);
  let status = 502;
  for (let n = 0; n < 12 && status === 502; n++) status = (await robo.chat({ model: "gone/x" })).status;
  expect(status).toBe(503);
  const { config } = gateway.parts;
  const before = config.gateway;
  const { spare } = before.providers;
  if (spare === undefined) throw new Error("not configured");
  config.gateway = { ...before, providers: { ...before.providers, gone: spare } };
  gateway.parts.completions.reconfigured();
  expect((await robo.chat({ model: "gone/x" })).status).toBe(200);
  config.gateway = before;
});

test("a person's part in a project that ends takes the stream along that is charged to it", async () => {
  const { ada, ed } = await gateway.people();
  const { id } = await ok<{ id: string }>(ed, "POST", `/projects/${robo.projectId}/sessions`, { title: "s" });
  const owner = { userEmail: ed.email };
  const { key } = await gateway.keys.create(localActor, { owner, scope: "llm:chat" });
  const word = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: "one" } }] })}\n\n`;
  provider.script("endless", {
    headers: eventStream,
    steps: Array.from({ length: 100 }, () => [word, { pause: 50 }]).flat(),
  });
  const headers = { "x-specgate-session": id };
  const response = await gateway.as(key).chat({ model: "openai/endless", stream: true }, { headers });
  expect(response.status).toBe(200);
  const text = response.text();
  await ok(ada, "DELETE", `/projects/${robo.projectId}/members/${ed.id}`);
  const endedAt = performance.now();
  expect(await text).toContain('"code":"invalid_api_key"');
  expect(performance.now() - endedAt).toBeLessThan(2_000);
});
