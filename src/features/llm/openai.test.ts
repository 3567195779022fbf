import { expect, test } from "bun:test";
import type { Usage } from "../../db/ledger.ts";
import type { ProviderConfig } from "../../platform/config.ts";
import { createGuardedFetch } from "../../platform/guarded-fetch.ts";
import { Meter } from "./meter.ts";
import { asSocketError, chatWire, dispatchOpenai } from "./openai.ts";
import { costOf } from "./prices.ts";
import { isConnectError, providerFailure } from "./provider-failure.ts";
import { noUsage } from "./wire.ts";

const event = (chunk: unknown) => Buffer.from(`data: ${JSON.stringify(chunk)}\n\n`);
const choices = [{ index: 0, delta: { content: "hi" }, finish_reason: null }];

function metered(...events: Buffer[]): Meter {
  const meter = new Meter(chatWire);
  for (const one of events) if (meter.cares(one)) meter.see(one);
  return meter;
}

test("usage is read from every place that providers put it", () => {
  const usage = { prompt_tokens: 10, completion_tokens: 4, total_tokens: 14 };
  const read: Usage = { ...noUsage, input: 10, output: 4 };
  const rows: [string, Buffer[], Usage | null][] = [
    ["OpenAI's own chunk", [event({ choices: [], usage })], read],
    ["a chunk that also has text", [event({ choices, usage })], read],
    [
      "null in every chunk but the last",
      [event({ choices, usage: null }), event({ choices: [], usage })],
      read,
    ],
    ["Groq's x_groq", [event({ choices, x_groq: { id: "r", usage } })], read],
    [
      "cumulative in every chunk",
      [event({ choices, usage: { ...usage, completion_tokens: 1 } }), event({ choices, usage })],
      read,
    ],
    [
      "zeros are zeros",
      [event({ choices: [], usage: { prompt_tokens: 0, completion_tokens: 0 } })],
      { ...read, input: 0, output: 0 },
    ],
    [
      "fractions say nothing",
      [event({ choices: [], usage: { prompt_tokens: 1.5, completion_tokens: "4" } })],
      null,
    ],
    [
      "negatives say nothing",
      [event({ choices: [], usage: { prompt_tokens: -1, completion_tokens: 4 } })],
      { ...read, input: null },
    ],
    ["none at all", [event({ choices })], null],
    [
      "details",
      [
        event({
          choices: [],
          usage: {
            ...usage,
            prompt_tokens_details: { cached_tokens: 6, audio_tokens: 1 },
            completion_tokens_details: { reasoning_tokens: 3, audio_tokens: 2 },
          },
        }),
      ],
      { ...read, cached_read: 6, reasoning: 3, audio: 3 },
    ],
    [
      "DeepSeek's cache",
      [event({ choices: [], usage: { ...usage, prompt_cache_hit_tokens: 8 } })],
      { ...read, cached_read: 8 },
    ],
  ];
  for (const [name, events, expected] of rows)
    expect([name, metered(...events).usage]).toEqual([name, expected]);
});

test("text that merely mentions usage is not usage", () => {
  const meter = metered(
    event({ choices: [{ delta: { content: 'say "usage": {"prompt_tokens": 9} [DONE]' } }] }),
  );
  expect(meter.usage).toBeNull();
});

test("the text of an aborted stream is kept for counting, tool calls and reasoning included", () => {
  const meter = new Meter(chatWire);
  meter.keep(event({ choices: [{ delta: { role: "assistant", content: "Hello " } }] }));
  meter.keep(event({ choices: [{ delta: { content: "ไทย", reasoning_content: "think " } }] }));
  meter.keep(event({ choices: [{ delta: { tool_calls: [{ function: { name: "f", arguments: "{}" } }] } }] }));
  expect(meter.written()).toEqual({ text: "Hello think ไทยf{}", foldedTokens: 0 });
});

test("a long stream is folded, so that its memory stays small", () => {
  const meter = new Meter(chatWire);
  for (let i = 0; i < 5_000; i++) meter.keep(event({ choices: [{ delta: { content: "x".repeat(100) } }] }));
  const { text, foldedTokens } = meter.written();
  expect(text.length).toBeLessThanOrEqual(256 * 1024);
  expect(foldedTokens + text.length / 4).toBeCloseTo(125_000, -3);
});

test("costs are whole nano-dollars, cached and written tokens at their own rate", () => {
  const prices = {
    input: 150_000_000,
    cached_read: 75_000_000,
    cache_write: 187_500_000,
    output: 600_000_000,
  };
  const usage = { ...noUsage, input: 1_000, output: 200, cached_read: 400, cache_write: 100 };
  // 500 × 150 + 400 × 75 + 100 × 187.5 + 200 × 600 nano-USD
  expect(costOf(usage, prices)).toBe(75_000 + 30_000 + 18_750 + 120_000);
  expect(costOf({ ...noUsage, input: 1, output: 0 }, { ...prices, input: 500_000 })).toBe(1);
  expect(costOf({ ...noUsage, input: 2 ** 40, output: 0 }, { ...prices, input: 100_000_000_000 })).toBe(
    2 ** 40 * 100_000,
  );
  expect(costOf(usage, null)).toBeNull();
});

test("a provider whose name is unknown, or leads inside without leave, counts as one that cannot be reached", async () => {
  const addresses: Record<string, string[]> = {
    "inside.example": ["10.0.0.1"],
    "mixed.example": ["8.8.8.8", "::1"],
  };
  const fetch = createGuardedFetch({
    resolve: async (name) => addresses[name] ?? Promise.reject(new Error("no such name")),
  });
  for (const host of ["unknown.example", "inside.example", "mixed.example"]) {
    const provider = { baseUrl: `https://${host}/v1`, apiKey: null, allowPrivateNetwork: false };
    const call = {
      path: "/x",
      search: "",
      headers: new Headers(),
      traceparent: null,
      body: new Uint8Array(),
    };
    const error = await dispatchOpenai(fetch, provider as ProviderConfig, {
      ...call,
      signal: AbortSignal.timeout(5_000),
    }).then(() => null, asSocketError);
    expect([host, isConnectError(error)]).toEqual([host, true]);
    expect(providerFailure(error)).toMatchObject({ status: 502, code: "provider_error" });
  }
});
