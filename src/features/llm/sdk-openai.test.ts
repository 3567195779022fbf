/** The `openai` package, unmodified, in front of the gateway: every call it makes, and every error it tells apart. */
import { afterAll, expect, test } from "bun:test";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { startGateway } from "../../testing/gateway.ts";
import { answer, refuse } from "../../testing/provider-answers.ts";

const gateway = await startGateway({
  yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-provider-secret" }
models:
  fast: { targets: [{ provider: openai, model: words }], retries: 0 }
  retold: { targets: [{ provider: openai, model: retold }], retries: 0 }
prices:
  "openai/*": { input: 1, cached_read: 0.1, output: 2 }
`,
});
afterAll(() => gateway.close());
const { provider, robo, row } = gateway;
const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: robo.bearer, maxRetries: 0 });

const eight = "word1 word2 word3 word4 word5 word6 word7 word8 ";
const messages = [{ role: "user" as const, content: "hello" }];
const weather = { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } };
const asksWeather = answer({ tool: { name: "weather", input: { city: "Zürich" } } });
const settled = { state: "settled", input: 11, output: 8, costNano: 27_000, delivery: "whole" };
const sunny = z.object({ sunny: z.boolean(), degrees: z.number() });
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
/** What an SDK throws; its promises are not quite promises, so `rejects` does not see it. */
const thrown = async (asked: PromiseLike<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> => {
  try {
    await asked;
  } catch (error) {
    if (error instanceof OpenAI.APIError) return error;
    throw error;
  }
  throw new Error("it was answered");
};

test("a chat is answered with its bill, whole and streamed", async () => {
  const asked = openai.chat.completions.create({ model: "fast", messages });
  const { data, response, request_id } = await asked.withResponse();
  expect(data.choices[0]?.message.content).toBe(eight);
  expect(request_id).toStartWith("req_");
  expect(await row(response)).toMatchObject({ ...settled, endpoint: "chat/completions" });

  const stream = openai.chat.completions.create({ model: "fast", messages, stream: true });
  const { data: chunks, response: streamed } = await stream.withResponse();
  let text = "";
  for await (const chunk of chunks) {
    expect(chunk.usage ?? null).toBeNull();
    text += chunk.choices[0]?.delta.content ?? "";
  }
  expect(text).toBe(eight);
  expect(await row(streamed)).toMatchObject({ ...settled, stream: true });
});

test("the stream helper hands over usage when it is asked for", async () => {
  const options = { stream_options: { include_usage: true } };
  const stream = openai.chat.completions.stream({ model: "fast", messages, ...options });
  expect(await stream.totalUsage()).toMatchObject({ prompt_tokens: 11, completion_tokens: 8 });
});

test("a tool's call comes back whole and in pieces", async () => {
  provider.script("acts", asksWeather);
  const ask = {
    model: "openai/acts",
    messages,
    tools: [{ type: "function" as const, function: weather }],
  };
  const whole = await openai.chat.completions.create(ask);
  const pieces = await openai.chat.completions.stream(ask).finalChatCompletion();
  for (const { choices } of [whole, pieces]) {
    expect(choices[0]?.finish_reason).toBe("tool_calls");
    expect(choices[0]?.message.tool_calls?.[0]).toMatchObject({
      function: { name: "weather", arguments: '{"city":"Zürich"}' },
    });
  }
});

test("a tool runs within a conversation, each round a call of its own", async () => {
  provider.script("round", asksWeather, answer({ content: "It is sunny." }));
  const before = provider.received.length;
  const runner = openai.chat.completions.runTools({
    model: "openai/round",
    messages,
    tools: [
      {
        type: "function",
        function: {
          ...weather,
          description: "The weather",
          parse: JSON.parse,
          function: ({ city }: { city: string }) => `sun over ${city}`,
        },
      },
    ],
  });
  expect(await runner.finalContent()).toBe("It is sunny.");
  expect(provider.received.length - before).toBe(2);
  expect(new TextDecoder().decode(provider.received.at(-1)?.body)).toContain("sun over Zürich");
});

test("structured output is parsed on chat and responses", async () => {
  provider.script("shaped", answer({ content: '{"sunny": true, "degrees": 21}' }));
  const response_format = zodResponseFormat(sunny, "weather");
  const chat = await openai.chat.completions.parse({ model: "openai/shaped", messages, response_format });
  expect(chat.choices[0]?.message.parsed).toEqual({ sunny: true, degrees: 21 });
  const text = { format: zodTextFormat(sunny, "weather") };
  const response = await openai.responses.parse({ model: "openai/shaped", input: "hello", text });
  expect(response.output_parsed).toEqual({ sunny: true, degrees: 21 });
});

test("a response is answered whole and as typed events", async () => {
  const asked = openai.responses.create({ model: "fast", input: "hello" });
  const { data, response } = await asked.withResponse();
  expect([data.output_text, data.usage?.total_tokens]).toEqual([eight, 19]);
  expect(await row(response)).toMatchObject({ ...settled, endpoint: "responses" });

  const stream = openai.responses.stream({ model: "fast", input: "hello" });
  const types: string[] = [];
  for await (const event of stream) types.push(event.type);
  expect([types[0], types.at(-1)]).toEqual(["response.created", "response.completed"]);
  expect((await stream.finalResponse()).output_text).toBe(eight);
});

test("a response that the gateway knows can be gone on from, and nobody else's", async () => {
  const first = await openai.responses.create({ model: "fast", input: "hello" });
  const next = { model: "fast", input: "go on", previous_response_id: first.id };
  expect((await openai.responses.create(next)).output_text).toBe(eight);
  const mallory = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.mallory.bearer, maxRetries: 0 });
  const error = await thrown(mallory.responses.create(next));
  expect([error.status, error.code]).toEqual([400, "provider_state_refused"]);
});

test("embeddings come in either encoding", async () => {
  const input = ["a", "b"];
  const asked = openai.embeddings.create({ model: "fast", input });
  const { data, response } = await asked.withResponse();
  expect(data.data.map(({ embedding }) => embedding)).toEqual([
    [0.25, -0.5, 1],
    [0.25, -0.5, 1],
  ]);
  expect(await row(response)).toMatchObject({ state: "settled", input: 11, output: 0, costNano: 11_000 });
  const floats = await openai.embeddings.create({ model: "fast", input: "a", encoding_format: "float" });
  expect(floats.data[0]?.embedding).toEqual([0.25, -0.5, 1]);
});

test("legacy completions are answered whole and streamed", async () => {
  const whole = await openai.completions.create({ model: "fast", prompt: "hello" });
  expect(whole.choices[0]?.text).toBe(eight);
  const asked = openai.completions.create({ model: "fast", prompt: "hello", stream: true });
  const { data, response } = await asked.withResponse();
  let text = "";
  for await (const chunk of data) text += chunk.choices[0]?.text ?? "";
  expect(text).toBe(eight);
  expect(await row(response)).toMatchObject({ ...settled, endpoint: "completions" });
});

test("a stream that is aborted closes the provider's within 100 ms and leaves one row", async () => {
  provider.script("paced", answer({ words: 100, gapMs: 20 }));
  const next = provider.next();
  const asked = openai.chat.completions.create({ model: "openai/paced", messages, stream: true });
  const { data, response } = await asked.withResponse();
  const upstream = await next;
  let abortedAt = 0;
  for await (const _ of data) {
    abortedAt = performance.now();
    data.controller.abort();
  }
  expect(await upstream.ended).toBe("gone");
  expect((upstream.endedAt as number) - abortedAt).toBeLessThan(100);
  expect(await ended(response)).toMatchObject({ state: "estimated", delivery: "cut" });
});

test("models are listed and found by names with a slash", async () => {
  const ids: string[] = [];
  for await (const { id } of openai.models.list()) ids.push(id);
  expect(ids).toContain("fast");
  expect((await openai.models.retrieve("openai/words")).id).toBe("openai/words");
  expect(await thrown(openai.models.retrieve("nothing-of-the-kind"))).toBeInstanceOf(OpenAI.NotFoundError);
});

test("each refusal arrives as the class that the SDK has for it", async () => {
  const stranger = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: "sk-nobody", maxRetries: 0 });
  const none = await thrown(stranger.chat.completions.create({ model: "fast", messages }));
  expect(none).toBeInstanceOf(OpenAI.AuthenticationError);
  expect([none.code, none.type]).toEqual(["invalid_api_key", "invalid_request_error"]);
  const missing = await thrown(openai.chat.completions.create({ model: "nothing-of-the-kind", messages }));
  expect(missing).toBeInstanceOf(OpenAI.NotFoundError);
  expect(missing.code).toBe("model_not_found");
  const kinds: [number, new (...args: never[]) => Error][] = [
    [400, OpenAI.BadRequestError],
    [422, OpenAI.UnprocessableEntityError],
    [429, OpenAI.RateLimitError],
    [500, OpenAI.InternalServerError],
    [503, OpenAI.InternalServerError],
  ];
  for (const [status, kind] of kinds) {
    provider.script("retold", refuse(status));
    const error = await thrown(openai.responses.create({ model: "retold", input: "hello" }));
    expect(error).toBeInstanceOf(kind);
    expect([error.status, error.code, error.requestID]).toEqual([
      status,
      `scripted_${status}`,
      expect.stringMatching(/^req_/),
    ]);
  }
});

test("a stream that breaks in the middle is an error of the SDK, not a short answer", async () => {
  provider.script("breaks", (asked) => {
    const script = answer({ words: 5 })(asked);
    return { ...script, steps: [...script.steps.slice(0, 5), { pause: 30 }, { cut: "reset" }] };
  });
  const chat = await openai.chat.completions.create({ model: "openai/breaks", messages, stream: true });
  const responses = await openai.responses.create({ model: "openai/breaks", input: "hello", stream: true });
  for (const stream of [chat, responses]) {
    const read = async () => {
      for await (const event of stream) if ("type" in event && event.type === "error") throw event;
    };
    const error = await read().then(
      () => null,
      (failure) => failure,
    );
    expect([error?.code, error?.type]).toEqual([
      "provider_error",
      expect.stringMatching(/^(server_)?error$/),
    ]);
  }
});
