import { expect, test } from "bun:test";
import { recordedChats } from "../../testing/recorded-chat.ts";
import { recordedOpenai } from "../../testing/recorded-openai.ts";
import { recordedResponses } from "../../testing/recorded-responses.ts";
import { usageInTail } from "./document.ts";
import { Meter } from "./meter.ts";
import { SseSplitter } from "./sse.ts";
import { mergeUsage, noUsage } from "./wire.ts";
import { wireOf } from "./wires.ts";

const recorded = [...recordedOpenai, ...recordedChats, ...recordedResponses];

function eventsOf(body: string): Uint8Array[] {
  const splitter = new SseSplitter();
  const found = splitter.push(Buffer.from(body));
  const ends = found?.ends ?? [];
  return ends.map((end, i) => (found?.bytes ?? new Uint8Array(0)).subarray(ends[i - 1] ?? 0, end));
}

for (const {
  name,
  endpoint,
  body,
  streams,
  usage,
  final = false,
  terminal = null,
  kept = [],
  text,
} of recorded) {
  const wire = wireOf(endpoint);
  const expected = usage === null ? null : { ...noUsage, ...usage };

  if (!streams) {
    test(`${endpoint}: ${name}`, () => {
      const meter = new Meter(wire);
      meter.seeBody(JSON.parse(body));
      expect(meter.usage).toEqual(expected);
      expect(meter.keptIds).toEqual([...kept]);
      expect(wire.textOfBody(JSON.parse(body))).toBe(text);
    });
    continue;
  }

  test(`${endpoint}: ${name}`, () => {
    const meter = new Meter(wire);
    const written = new Meter(wire);
    let end: string | null = null;
    for (const event of eventsOf(body)) {
      written.keep(event);
      if (!meter.cares(event)) continue;
      const sight = meter.see(event);
      end ??= sight.terminal;
    }
    expect(meter.usage).toEqual(expected);
    expect(meter.isFinal).toBe(final);
    expect(end).toBe(terminal);
    expect(meter.keptIds).toEqual([...kept]);
    expect(written.written().text).toBe(text);
  });

  test(`${endpoint}: ${name}, its markers miss nothing that every event read would find`, () => {
    const all = new Meter(wire);
    const marked = new Meter(wire);
    for (const event of eventsOf(body)) {
      const sight = all.see(event);
      if (marked.cares(event)) expect(marked.see(event)).toEqual(sight);
      else expect(sight.terminal).toBeNull();
    }
    expect([marked.usage, marked.keptIds, marked.isFinal]).toEqual([all.usage, all.keptIds, all.isFinal]);
  });
}

test("numbers that are none say nothing, in any dialect", () => {
  const wrong = [-1, 1.5, "4", null, 1e12, {}, [], true];
  for (const count of wrong) {
    expect(
      wireOf("chat/completions").usageOfBody({ usage: { prompt_tokens: count, completion_tokens: count } }),
    ).toBeNull();
    expect(
      wireOf("responses").usageOfBody({ usage: { input_tokens: count, output_tokens: count } }),
    ).toBeNull();
    expect(
      wireOf("messages").usageOfBody({ usage: { input_tokens: count, output_tokens: count } }),
    ).toBeNull();
    expect(wireOf("embeddings").usageOfBody({ usage: { prompt_tokens: count } })).toBeNull();
  }
});

test("one number that is none does not spoil the other", () => {
  const usage = { prompt_tokens: -1, completion_tokens: 4, total_tokens: 9 };
  expect(wireOf("chat/completions").usageOfBody({ usage })).toEqual({ ...noUsage, output: 4 });
});

test("whatever a provider sends, reading it does not throw", () => {
  const oddities = [
    "null",
    "[]",
    "7",
    '"x"',
    '{"choices":{}}',
    '{"choices":[null,7]}',
    '{"type":"__proto__"}',
    '{"type":"constructor"}',
    '{"usage":[]}',
    '{"response":null,"type":"response.completed"}',
    '{"type":"message_start","message":7}',
    '{"type":"message_delta","usage":{"iterations":[null,{"type":"compaction"}]}}',
    "{",
    "",
  ];
  for (const endpoint of [
    "chat/completions",
    "completions",
    "responses",
    "embeddings",
    "messages",
    "messages/count_tokens",
  ] as const) {
    const wire = wireOf(endpoint);
    for (const odd of oddities) {
      const event = Buffer.from(`data: ${odd}\n\n`);
      expect(() => [wire.look(event), wire.textOf(event)]).not.toThrow();
      if (odd === "{" || odd === "") continue;
      const body = JSON.parse(odd);
      expect(() => [
        wire.usageOfBody(body),
        wire.textOfBody(body),
        wire.keptOfBody(body),
        wire.textOfRequest(body),
      ]).not.toThrow();
    }
  }
});

test("words in an answer that look like the protocol are words", () => {
  const said =
    'event: message_stop data: [DONE] "usage": {"prompt_tokens": 9} response.completed "error" "type":"message_delta"';
  const rows = [
    ["chat/completions", { choices: [{ index: 0, delta: { content: said }, finish_reason: null }] }],
    ["completions", { choices: [{ index: 0, text: said }] }],
    ["responses", { type: "response.output_text.delta", delta: said }],
    ["messages", { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: said } }],
  ] as const;
  for (const [endpoint, event] of rows) {
    const sight = wireOf(endpoint).look(Buffer.from(`data: ${JSON.stringify(event)}\n\n`));
    expect([endpoint, sight.usage, sight.terminal, sight.usageOnly]).toEqual([endpoint, null, null, false]);
  }
});

test("later reports replace earlier ones field by field, priced parts too", () => {
  const before = { ...noUsage, input: 10, output: 1, audio_input: 3, cache_write_long: 5 };
  expect(mergeUsage(before, { ...noUsage, output: 7, audio_output: 2 })).toEqual({
    ...before,
    output: 7,
    audio_output: 2,
  });
  expect(mergeUsage(before, { ...noUsage, output: 7, audio_input: 0 }).audio_input).toBe(0);
  // An end that leaves the cache out takes nothing off the input; one that counts it may correct the input.
  const cached = { ...noUsage, input: 1_025, cached_read: 1_000 };
  expect(mergeUsage(cached, { ...noUsage, input: 25, output: 4 }).input).toBe(1_025);
  expect(mergeUsage(cached, { ...noUsage, input: 900, cached_read: 800 })).toMatchObject({
    input: 900,
    cached_read: 800,
  });
  expect(mergeUsage({ ...noUsage, input: 0 }, { ...noUsage, input: 25 }).input).toBe(25);
});

test("an error in the middle is told in each dialect's own way", () => {
  const failure = {
    kind: "upstream_timeout",
    code: "provider_timeout",
    message: "Too slow.",
    status: 504,
  } as never;
  const said = (endpoint: Parameters<typeof wireOf>[0]) =>
    Buffer.from(wireOf(endpoint).errorEvent(failure)).toString();
  expect(said("messages")).toBe(
    'event: error\ndata: {"type":"error","error":{"type":"timeout_error","message":"Too slow."}}\n\n',
  );
  expect(said("responses")).toBe(
    'event: error\ndata: {"type":"error","code":"provider_timeout","message":"Too slow.","param":null,"sequence_number":0}\n\n',
  );
  for (const endpoint of ["chat/completions", "completions"] as const) {
    expect(JSON.parse(said(endpoint).slice(6))).toMatchObject({
      error: { type: "server_error", code: "provider_timeout" },
    });
  }
  // Read back, each is an end.
  for (const endpoint of ["messages", "responses", "chat/completions", "completions"] as const) {
    expect(wireOf(endpoint).look(wireOf(endpoint).errorEvent(failure)).terminal).toBe("error");
  }
});

test("a total says what was thought unseen only where it has to do with its parts", () => {
  const read = (usage: object) => wireOf("chat/completions").usageOfBody({ usage });
  const parts = { prompt_tokens: 10, completion_tokens: 5 };
  expect(read({ ...parts, total_tokens: 4_015 })).toMatchObject({ output: 4_005, reasoning: 4_000 });
  expect(read({ ...parts, total_tokens: 1_000_000_000 })).toMatchObject({ output: 5, reasoning: null });
});

test("what is billed beside the totals is counted, and a cache is found wherever it is written down", () => {
  const read = (usage: object) => wireOf("chat/completions").usageOfBody({ usage });
  const sonar = { prompt_tokens: 33, completion_tokens: 7_163, total_tokens: 7_196 };
  expect(read({ ...sonar, citation_tokens: 18_029, reasoning_tokens: 91_574 })).toMatchObject({
    ...{ input: 33 + 18_029, output: 7_163 + 91_574, reasoning: 91_574 },
  });
  expect(read({ ...sonar, reasoning_tokens: 5_000 })).toMatchObject({ output: 7_163, reasoning: null });
  const parts = { prompt_tokens: 2_000, completion_tokens: 10, total_tokens: 2_010 };
  expect(read({ ...parts, cache_creation_input_tokens: 1_900 })).toMatchObject({ cache_write: 1_900 });
  const details = { cached_tokens: 0, cache_creation_input_tokens: 1_900 };
  expect(read({ ...parts, prompt_tokens_details: details })).toMatchObject({ cache_write: 1_900 });
});

test("Anthropic's passes are all counted, and told apart by whose they are", () => {
  const meter = new Meter(wireOf("messages"));
  const advice = {
    type: "advisor_message",
    model: "claude-opus-4-1",
    input_tokens: 823,
    output_tokens: 1_612,
  };
  const iterations = [
    { type: "message", input_tokens: 412, output_tokens: 89 },
    advice,
    { type: "message", input_tokens: 1_348, cache_read_input_tokens: 412, output_tokens: 442 },
    { type: "message" },
  ];
  // Of the input the total has the first pass alone, of the output all but the advice.
  meter.seeBody({ content: [], usage: { input_tokens: 412, output_tokens: 531, iterations } });
  expect(meter.usage).toMatchObject({
    input: 412 + 823 + 1_348 + 412,
    cached_read: 412,
    output: 531 + 1_612,
  });
  expect(meter.passes.map(({ model, usage }) => [model, usage.input])).toEqual([
    [null, 412],
    ["claude-opus-4-1", 823],
    [null, 1_760],
  ]);
});

test("a provider says of which words that may change a price it took another one", () => {
  const apartIn = (endpoint: "chat/completions" | "responses" | "messages", body: unknown) => {
    const meter = new Meter(wireOf(endpoint));
    meter.seeBody(body);
    return meter.pricedApart;
  };
  const counts = { input_tokens: 1, output_tokens: 1 };
  for (const [service_tier, said] of [
    ["auto", {}],
    ["performance", {}],
    ["default", { service_tier: false }],
    ["scale", { service_tier: false }],
    ["priority", { service_tier: true }],
  ] as const) {
    const usage = { prompt_tokens: 1, completion_tokens: 1 };
    expect(apartIn("chat/completions", { service_tier, usage })).toEqual(said);
    expect(apartIn("responses", { service_tier, usage: counts })).toEqual(said);
    // Anthropic's is paid for beforehand.
    expect(apartIn("messages", { usage: { ...counts, service_tier } })).toEqual({});
    const end = JSON.stringify({ service_tier, usage });
    expect(apartIn("chat/completions", usageInTail(Buffer.from(`…"content":"x"}],${end.slice(1)}`)))).toEqual(
      said,
    );
  }
  expect(apartIn("messages", { usage: { ...counts, speed: "fast" } })).toEqual({ speed: true });
  expect(apartIn("messages", { usage: { ...counts, speed: "standard", inference_geo: "global" } })).toEqual({
    speed: false,
    inference_geo: false,
  });
  // A workspace may have set it; whether it was asked for is known better.
  expect(apartIn("messages", { usage: { ...counts, inference_geo: "us" } })).toEqual({});
});
