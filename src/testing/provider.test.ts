import { afterAll, expect, test } from "bun:test";
import { connect } from "node:net";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { startProvider } from "./provider.ts";
import { answer, refuse } from "./provider-answers.ts";
import { builtInScripts } from "./provider-models.ts";
import { bodyOf, crlf, events, refusal, reply, tornAt } from "./provider-script.ts";

const provider = startProvider();
for (const [model, scripted] of Object.entries(builtInScripts)) provider.script(model, scripted);
afterAll(() => provider.close());

const openai = new OpenAI({ baseURL: provider.url, apiKey: "none", maxRetries: 0 });
const ask = (model: string, more: object = {}, signal?: AbortSignal): Promise<Response> =>
  fetch(`${provider.url}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, messages: [], stream: true, ...more }),
    ...(signal ? { signal } : {}),
  });

test("an OpenAI client sees a stream with usage only when it asks for it", async () => {
  provider.script("talks", reply({ content: "héllo big wörld" }));
  const read = async (include_usage: boolean) => {
    const stream = await openai.chat.completions.create({
      model: "talks",
      messages: [{ role: "user", content: "hi" }],
      stream: true,
      stream_options: { include_usage },
    });
    let text = "";
    let tokens: number | undefined;
    for await (const part of stream) {
      text += part.choices[0]?.delta.content ?? "";
      tokens = part.usage?.completion_tokens ?? tokens;
    }
    return { text, tokens };
  };
  expect(await read(true)).toEqual({ text: "héllo big wörld", tokens: 3 });
  expect(await read(false)).toEqual({ text: "héllo big wörld", tokens: undefined });
});

test("an OpenAI client sees a whole answer", async () => {
  const answer = await openai.chat.completions.create({ model: "any", messages: [] });
  expect(answer.usage?.total_tokens).toBe(19);
});

test("an OpenAI client sees a response's events, a tool's call, and vectors", async () => {
  provider.script("acts", answer({ tool: { name: "weather", input: { city: "Paris" } } }));
  const stream = openai.responses.stream({ model: "any", input: "hi" });
  const { output_text, usage } = await stream.finalResponse();
  expect([output_text.split(" ").length, usage?.output_tokens]).toEqual([9, 8]);
  const acted = await openai.chat.completions.stream({ model: "acts", messages: [] }).finalChatCompletion();
  expect(acted.choices[0]?.message.tool_calls?.[0]).toMatchObject({
    function: { name: "weather", arguments: '{"city":"Paris"}' },
  });
  const vectors = await openai.embeddings.create({ model: "any", input: ["a", "b"] });
  expect(vectors.data.map(({ embedding }) => embedding)).toEqual([
    [0.25, -0.5, 1],
    [0.25, -0.5, 1],
  ]);
});

test("an Anthropic client sees a message's events, counted tokens, and an overloaded provider", async () => {
  provider.script("busy", refuse(529));
  const baseURL = provider.url.replace("/v1", "");
  const anthropic = new Anthropic({ baseURL, apiKey: "none", maxRetries: 0 });
  const ask = { model: "any", max_tokens: 99, messages: [{ role: "user" as const, content: "hi" }] };
  const final = await anthropic.messages.stream(ask).finalMessage();
  expect(final.usage).toMatchObject({ input_tokens: 11, output_tokens: 8 });
  expect(await anthropic.messages.countTokens({ model: "any", messages: ask.messages })).toEqual({
    input_tokens: 11,
  });
  const refused = await anthropic.messages.create({ ...ask, model: "busy" }).catch((error) => error);
  expect([refused.status, refused.type]).toEqual([529, "overloaded_error"]);
});

test("the books say by call what was told and how many words went out", async () => {
  provider.script("half", (asked) => {
    const script = answer({ words: 5 })(asked);
    return { ...script, steps: [...script.steps.slice(0, 6), { cut: "reset" }] };
  });
  const ask = (model: string) =>
    fetch(`${provider.url}/messages`, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": "one" },
      body: JSON.stringify({ model, stream: true }),
    }).then((response) => response.text());
  await ask("half").catch(() => {});
  await ask("any");
  const told = provider
    .books()
    .get("one")
    ?.map(({ ending, words, reported: { input, output } }) => [ending, words, input, output]);
  expect(told).toEqual([
    ["cut", 3, 11, undefined],
    ["whole", 8, 11, 8],
  ]);
});

test("the books hold the request's own bytes and every byte sent", async () => {
  const response = await ask("any", { odd: "ü" });
  const bytes = await response.bytes();
  const entry = provider.received.at(-1);
  expect(new TextDecoder().decode(entry?.body)).toContain('"odd":"ü"');
  expect(Buffer.compare(bytes, entry?.sentBody ?? new Uint8Array())).toBe(0);
  expect(entry?.sent.length).toBe(entry?.sentBytes as number);
  expect(await entry?.ended).toBe("whole");
});

test("scripts of a model are played in turn, the last one from then on", async () => {
  provider.script("flaky", refusal(500, { "retry-after": "1" }), reply());
  const first = await ask("flaky");
  expect([first.status, first.headers.get("retry-after")]).toEqual([500, "1"]);
  expect([(await ask("flaky")).status, (await ask("flaky")).status]).toEqual([200, 200]);
});

test("a client that leaves is noticed at once", async () => {
  const leaving = new AbortController();
  const next = provider.next();
  await ask("stall", {}, leaving.signal);
  const entry = await next;
  const at = performance.now();
  leaving.abort();
  expect(await entry.ended).toBe("gone");
  expect((entry.endedAt as number) - at).toBeLessThan(50);
});

test("a stream can be cut at the end of a chunk and in the middle of one", async () => {
  for (const model of ["cut", "reset", "cut-in-chunk"]) {
    await expect(ask(model).then((response) => response.text())).rejects.toThrow();
    expect(provider.received.at(-1)?.ending).toBe("cut");
  }
  expect(await rawAnswer("cut-in-chunk")).toMatch(/\r\n\w+\r\ndata: \{"choices":\[\{"ind$/);
});

test("a body can be split at every byte, inside UTF-8 and inside CRLF", async () => {
  const script = crlf(events([{ text: "é" }]));
  const body = bodyOf(script);
  for (let offset = 0; offset <= body.length; offset++) {
    provider.script("torn", tornAt(script, offset));
    expect(Buffer.compare(await (await ask("torn")).bytes(), body)).toBe(0);
  }
});

test("a line without an end is sent no faster than it is read", async () => {
  const leaving = new AbortController();
  const reader = (await ask("endless-line", {}, leaving.signal)).body?.getReader();
  await reader?.read();
  const entry = provider.received.at(-1);
  // What the buffers between the two take, and no more.
  let sent = -1;
  for (
    const deadline = performance.now() + 10_000;
    sent !== entry?.sentBytes && performance.now() < deadline;
  ) {
    sent = entry?.sentBytes as number;
    await Bun.sleep(200);
  }
  await Bun.sleep(200);
  expect(entry?.sentBytes).toBe(sent);
  leaving.abort();
  expect(await entry?.ended).toBe("gone");
});

async function rawAnswer(model: string): Promise<string> {
  const body = JSON.stringify({ model, stream: true });
  const socket = connect(provider.port, "127.0.0.1");
  socket.write(`POST /v1/chat/completions HTTP/1.1\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  let text = "";
  socket.on("data", (bytes) => {
    text += bytes.toString();
  });
  await new Promise((resolve) => socket.on("error", resolve).on("close", resolve));
  return text;
}
