/** The `@anthropic-ai/sdk` package, unmodified, in front of the gateway. */
import { afterAll, expect, test } from "bun:test";
import Anthropic from "@anthropic-ai/sdk";
import { startGateway } from "../../testing/gateway.ts";
import { answer, refuse } from "../../testing/provider-answers.ts";

const gateway = await startGateway({
  yaml: `
providers:
  claude: { kind: anthropic, base_url: "PROVIDER", api_key: "sk-ant-secret" }
models:
  smart: { targets: [{ provider: claude, model: words }], retries: 0 }
  retold: { targets: [{ provider: claude, model: retold }], retries: 0 }
prices:
  "claude/*": { input: 1, cached_read: 0.1, cache_write: 1.25, output: 2 }
`,
});
afterAll(() => gateway.close());
const { provider, robo, row } = gateway;
const anthropic = new Anthropic({ baseURL: gateway.url, apiKey: robo.bearer, maxRetries: 0 });

provider.script("words", answer({ tally: { input: 100, cached_read: 60, cache_write: 20 } }));
const eight = "word1 word2 word3 word4 word5 word6 word7 word8 ";
const messages = [{ role: "user" as const, content: "hello" }];
const ask = { model: "smart", max_tokens: 100, messages };
/** The row of a call whose end nobody waited for. */
const ended = async (response: Response | string) => {
  const deadline = performance.now() + 20_000;
  let found = await row(response);
  while (found?.state === "open" && performance.now() < deadline) {
    await Bun.sleep(20);
    found = await row(response);
  }
  return found;
};
const thrown = async (asked: PromiseLike<unknown>): Promise<InstanceType<typeof Anthropic.APIError>> => {
  try {
    await asked;
  } catch (error) {
    if (error instanceof Anthropic.APIError) return error;
    throw error;
  }
  throw new Error("it was answered");
};

test("a message is answered with its bill, whole and streamed", async () => {
  const { data, response, request_id } = await anthropic.messages.create(ask).withResponse();
  expect(data.content[0]).toMatchObject({ type: "text", text: eight });
  expect(data.usage.input_tokens).toBe(20);
  expect(request_id).toBe(response.headers.get("x-request-id") as string);
  // 20 × 1 + 60 × 0.1 + 20 × 1.25 + 8 × 2 micro-dollars.
  const settled = {
    state: "settled",
    input: 100,
    cachedRead: 60,
    cacheWrite: 20,
    output: 8,
    costNano: 67_000,
  };
  expect(await row(response)).toMatchObject({ ...settled, endpoint: "messages", delivery: "whole" });

  const stream = anthropic.messages.stream(ask);
  let text = "";
  stream.on("text", (piece) => {
    text += piece;
  });
  const final = await stream.finalMessage();
  expect([text, final.usage.output_tokens, final.stop_reason]).toEqual([eight, 8, "end_turn"]);
  expect(await row(stream.request_id ?? "")).toMatchObject({ ...settled, stream: true });
});

test("the provider gets its own key and the caller's version", async () => {
  await anthropic.messages.create(ask, { headers: { "anthropic-beta": "context-1m" } });
  const headers = provider.received.at(-1)?.headers;
  expect(headers?.get("x-api-key")).toBe("sk-ant-secret");
  expect(headers?.get("authorization")).toBeNull();
  expect(headers?.get("anthropic-version")).toMatch(/^\d{4}-\d\d-\d\d$/);
  expect(headers?.get("anthropic-beta")).toBe("context-1m");
});

test("a tool's use comes back whole and in pieces", async () => {
  provider.script("acts", answer({ tool: { name: "weather", input: { city: "Zürich" } } }));
  const tools = [{ name: "weather", input_schema: { type: "object" as const } }];
  const whole = await anthropic.messages.create({ ...ask, model: "claude/acts", tools });
  const pieces = await anthropic.messages.stream({ ...ask, model: "claude/acts", tools }).finalMessage();
  for (const { content, stop_reason } of [whole, pieces]) {
    expect(stop_reason).toBe("tool_use");
    expect(content[0]).toMatchObject({ type: "tool_use", name: "weather", input: { city: "Zürich" } });
  }
});

test("tokens are counted without a charge", async () => {
  const asked = anthropic.messages.countTokens({ model: "smart", messages });
  const { data, response } = await asked.withResponse();
  expect(data.input_tokens).toBe(100);
  expect(await row(response)).toMatchObject({
    state: "settled",
    endpoint: "messages/count_tokens",
    input: 0,
    output: 0,
    costNano: 0,
  });
});

test("models are listed page by page and found by names with a slash", async () => {
  const ids: string[] = [];
  for await (const { id, type } of anthropic.models.list({ limit: 1 })) {
    expect(type).toBe("model");
    ids.push(id);
  }
  expect(ids).toContain("smart");
  expect(ids).toContain("retold");
  expect(new Set(ids).size).toBe(ids.length);
  expect((await anthropic.models.retrieve("claude/words")).id).toBe("claude/words");
});

test("a stream that is aborted closes the provider's and is charged for what it wrote", async () => {
  provider.script("paced", answer({ words: 100, gapMs: 20 }));
  const next = provider.next();
  const stream = anthropic.messages.stream({ ...ask, model: "claude/paced" });
  const upstream = await next;
  stream.on("text", () => stream.abort());
  expect(await thrown(stream.finalMessage())).toBeInstanceOf(Anthropic.APIUserAbortError);
  expect(await upstream.ended).toBe("gone");
  expect(await ended(stream.request_id ?? "")).toMatchObject({
    state: "estimated",
    delivery: "cut",
    input: 11,
  });
});

test("each refusal arrives as the class that the SDK has for it", async () => {
  const stranger = new Anthropic({ baseURL: gateway.url, apiKey: "sk-nobody", maxRetries: 0 });
  const none = await thrown(stranger.messages.create(ask));
  expect(none).toBeInstanceOf(Anthropic.AuthenticationError);
  expect(none.requestID).toStartWith("req_");
  const missing = await thrown(anthropic.messages.create({ ...ask, model: "nothing-of-the-kind" }));
  expect(missing).toBeInstanceOf(Anthropic.NotFoundError);
  const kinds: [number, new (...args: never[]) => Error, string][] = [
    [400, Anthropic.BadRequestError, "invalid_request_error"],
    [429, Anthropic.RateLimitError, "rate_limit_error"],
    [500, Anthropic.InternalServerError, "api_error"],
    [529, Anthropic.InternalServerError, "overloaded_error"],
  ];
  for (const [status, kind, type] of kinds) {
    provider.script("retold", refuse(status));
    const error = await thrown(anthropic.messages.create({ ...ask, model: "retold" }));
    expect(error).toBeInstanceOf(kind);
    expect([error.status, error.type]).toEqual([status, type] as [number, typeof error.type]);
  }
});

test("a model that does not speak the endpoint is refused with those it has", async () => {
  const error = await thrown(
    anthropic.post("/v1/embeddings", { body: { model: "smart", input: "hello" } }) as PromiseLike<unknown>,
  );
  expect(error.status).toBe(400);
  expect(error.message).toContain("messages");
});

test("a stream that breaks in the middle is an error of the SDK, not a short answer", async () => {
  provider.script("breaks", (asked) => {
    const script = answer({ words: 5 })(asked);
    return { ...script, steps: [...script.steps.slice(0, 5), { pause: 30 }, { cut: "reset" }] };
  });
  const error = await thrown(anthropic.messages.stream({ ...ask, model: "claude/breaks" }).finalMessage());
  expect(error.error).toMatchObject({ type: "error", error: { type: "api_error" } });
});
