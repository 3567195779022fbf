import { expect, test } from "bun:test";
import fc from "fast-check";
import type { LlmEndpoint } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { parseRequest, providerBody } from "./request.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function codeOf(text: string): string {
  try {
    parseRequest("chat/completions", bytesOf(text));
    return "accepted";
  } catch (error) {
    return error instanceof Failure ? error.code : String(error);
  }
}

test("a body that needs no change reaches the provider byte for byte", () => {
  const body =
    '{ "model" : "m",\n\t"messages":[{"role":"user","content":"ไทย \\u0041 \\ud83d\\ude00"}], "x_new": 1.0e2 }';
  expect(textOf(providerBody(parseRequest("chat/completions", bytesOf(body)), "m", false))).toBe(body);
});

test("only the model's value changes when the provider knows it by another name", () => {
  const body = '{"a":"model","model":"fast","messages":[{"model":"fast"}]}';
  const sent = textOf(providerBody(parseRequest("chat/completions", bytesOf(body)), "gpt-4o", false));
  expect(sent).toBe('{"a":"model","model":"gpt-4o","messages":[{"model":"fast"}]}');
});

test("usage is asked for whatever the caller's stream_options say", () => {
  const rows: [string, string][] = [
    ['{"model":"m","stream":true}', '{"model":"m","stream":true,"stream_options":{"include_usage":true}}'],
    ['{"model":"m","stream_options":null }', '{"model":"m","stream_options":{"include_usage":true} }'],
    ['{"model":"m","stream_options":{ }}', '{"model":"m","stream_options":{"include_usage":true }}'],
    [
      '{"stream_options":{"include_usage":false,"x":1},"model":"m"}',
      '{"stream_options":{"include_usage":true,"x":1},"model":"m"}',
    ],
    [
      '{"model":"m","stream_options":{"x":1}} \n',
      '{"model":"m","stream_options":{"include_usage":true,"x":1}} \n',
    ],
  ];
  for (const [body, sent] of rows) {
    expect(textOf(providerBody(parseRequest("chat/completions", bytesOf(body)), "m", true))).toBe(sent);
  }
});

test("any JSON object with a model keeps its meaning, edits aside", () => {
  // Of the keys that are read, and so refused as `N` or as a list, chance only ever writes this one.
  const key = fc.string({ unit: "grapheme" }).filter((text) => text.toLowerCase() !== "n");
  const json = fc.dictionary(key, fc.jsonValue());
  fc.assert(
    fc.property(json, fc.boolean(), (extra, spaced) => {
      const body = { ...extra, model: "a", stream_options: { y: 2 } };
      const text = JSON.stringify(body, null, spaced ? 2 : undefined);
      const sent = JSON.parse(
        textOf(providerBody(parseRequest("chat/completions", bytesOf(text)), 'b"ü', true)),
      );
      const expected = { ...body, model: 'b"ü', stream_options: { y: 2, include_usage: true } };
      expect(sent).toEqual(JSON.parse(JSON.stringify(expected)));
    }),
    { numRuns: 500 },
  );
});

test("a repeated key is refused, however it is spelled", () => {
  expect(codeOf('{"model":"a","model":"b"}')).toBe("duplicate_key");
  expect(codeOf('{"model":"a","mod\\u0065l":"b"}')).toBe("duplicate_key");
  expect(codeOf('{"model":"a","stream_options":{"include_usage":true,"include_usage":false}}')).toBe(
    "duplicate_key",
  );
  expect(codeOf('{"model":"a","metadata":{"x":1,"x":2}}')).toBe("accepted");
});

test("what is not a JSON object with a model is refused with its reason", () => {
  const rows: [string, string][] = [
    ["", "invalid_json"],
    ["[]", "invalid_json"],
    ['{"model":"a"', "invalid_json"],
    ['{"model":"a",}', "invalid_json"],
    ['{"model":"a"} {}', "invalid_json"],
    ['{"model":tru}', "invalid_json"],
    ['{"model":01}', "invalid_json"],
    ['{"a":"\n","model":"a"}', "invalid_json"],
    ["{}", "invalid_request"],
    ['{"model":7}', "invalid_request"],
    ['{"model":""}', "invalid_request"],
    ['{"model":"a","stream":"yes"}', "invalid_request"],
    ['{"model":"a","stream_options":[]}', "invalid_request"],
    [`{"model":"a","x":${"[".repeat(200)}${"]".repeat(200)}}`, "json_too_complex"],
  ];
  for (const [body, code] of rows)
    expect([body.slice(0, 40), codeOf(body)]).toEqual([body.slice(0, 40), code]);
});

test("200 KB of brackets are refused before they can block the loop", () => {
  const startedAt = performance.now();
  expect(codeOf(`{"model":"a","x":${"[".repeat(100_000)}${"]".repeat(100_000)}}`)).toBe("json_too_complex");
  expect(performance.now() - startedAt).toBeLessThan(20);
});

const parsed = (endpoint: LlmEndpoint, body: object) =>
  parseRequest(endpoint, bytesOf(JSON.stringify({ model: "m", ...body })));

test("each endpoint's own limit of output is read, and the higher one of several", () => {
  const rows: [LlmEndpoint, object, number | null][] = [
    ["chat/completions", {}, null],
    ["chat/completions", { max_tokens: 5 }, 5],
    ["chat/completions", { max_completion_tokens: 7, max_tokens: 5 }, 7],
    ["chat/completions", { max_tokens: null }, null],
    ["completions", { max_tokens: 16 }, 16],
    ["responses", { max_output_tokens: 300 }, 300],
    ["messages", { max_tokens: 1_024 }, 1_024],
    ["messages/count_tokens", { max_tokens: 1_024 }, 0],
    ["embeddings", {}, 0],
    // To some providers this is no limit at all.
    ["chat/completions", { max_tokens: 0 }, null],
    ["chat/completions", { max_tokens: 2 ** 60 }, 1_000_000_000],
    // Another endpoint's key is nothing that a provider need mind here.
    ["chat/completions", { max_output_tokens: 1 }, null],
    ["completions", { max_completion_tokens: 1, max_output_tokens: 1 }, null],
    ["completions", { max_completion_tokens: 1, max_tokens: 9 }, 9],
    ["responses", { max_tokens: 1, max_completion_tokens: 1 }, null],
    ["messages", { max_completion_tokens: 1, max_output_tokens: 1 }, null],
    // It may mind it all the same, and then the higher one may be what counts.
    ["chat/completions", { max_tokens: 5, n_predict: 9_000 }, 9_000],
    ["responses", { max_output_tokens: 5, max_tokens: 7 }, 7],
    ["chat/completions", { max_tokens: 5, max_output_tokens: 0 }, null],
  ];
  for (const [endpoint, body, tokens] of rows)
    expect([endpoint, body, parsed(endpoint, body).outputTokensMax]).toEqual([endpoint, body, tokens]);
});

test("every answer that may be billed is counted", () => {
  const rows: [LlmEndpoint, object, number][] = [
    ["chat/completions", {}, 1],
    ["chat/completions", { n: 3 }, 3],
    ["chat/completions", { n: null }, 1],
    ["chat/completions", { n: 3, best_of: 9 }, 3],
    ["completions", { n: 2, best_of: 5, prompt: "a" }, 5],
    ["completions", { prompt: ["a", "b, [c]", 'd"'] }, 3],
    ["completions", { n: 2, prompt: ["a", "b"] }, 4],
    ["completions", { prompt: [1, 2, 3] }, 1],
    ["completions", { prompt: [[1, 2], [3]] }, 2],
    ["completions", { prompt: [] }, 1],
  ];
  for (const [endpoint, body, answers] of rows)
    expect([endpoint, body, parsed(endpoint, body).answers]).toEqual([endpoint, body, Math.max(1, answers)]);
});

test("a number that could be read in another way is refused", () => {
  for (const value of ["-2", "1.5", '"5"', "true", "[5]", "{}", "1e400", "-0.5"]) {
    for (const key of ["n", "max_tokens", "max_completion_tokens", "max_output_tokens"])
      expect([key, value, codeOf(`{"model":"a","${key}":${value}}`)]).toEqual([
        key,
        value,
        "invalid_request",
      ]);
  }
  for (const value of ["1", "1e2", "100.0", "0", "-1", "null"])
    expect([value, codeOf(`{"model":"a","max_tokens":${value}}`)]).toEqual([value, "accepted"]);
  expect(codeOf('{"model":"a","n":-1}')).toBe("invalid_request");
  // What servers of one's own take for "no limit" is none.
  for (const body of [{ max_tokens: -1 }, { max_tokens: 5, n_predict: -1 }, { max_tokens: 0 }])
    expect([body, parsed("chat/completions", body).outputTokensMax]).toEqual([body, null]);
});

test("a key in other letters, which some providers take for the real one, is refused", () => {
  for (const key of ["MAX_TOKENS", "N", "Model", "previou\u017f_response_id", "bac\u212aground"])
    expect([key, codeOf(`{"model":"a","${key}":1}`)]).toEqual([key, "invalid_request"]);
  expect(codeOf('{"model":"a","X-Custom":1,"topK":2,"Größe":3}')).toBe("accepted");
});

test("what never streams does not, and usage is asked for only where it can be", () => {
  const streaming = { stream: true, stream_options: { include_usage: true } };
  const rows: [LlmEndpoint, boolean, boolean][] = [
    ["chat/completions", true, true],
    ["completions", true, true],
    ["responses", true, false],
    ["messages", true, false],
    ["embeddings", false, false],
    ["messages/count_tokens", false, false],
  ];
  for (const [endpoint, stream, asksUsage] of rows)
    expect([endpoint, parsed(endpoint, streaming)]).toMatchObject([endpoint, { stream, asksUsage }]);
});

test("a call that asks for reasoning is known as one", () => {
  const asks: object[] = [
    { reasoning_effort: "high" },
    { reasoning: { effort: "low" } },
    { reasoning: { effort: "high", exclude: false } },
    { reasoning: { max_tokens: 2_000 } },
    { thinking: { type: "enabled", budget_tokens: 2_000 } },
    { thinking: { type: "adaptive" } },
    { reasoning: { effort: "none", note: "x".repeat(2_000) } },
    { reasoning: { exclude: true } },
    { include_reasoning: false },
    { reasoning_format: "hidden" },
  ];
  for (const body of asks)
    expect([body, parsed("chat/completions", body).asksReasoning]).toEqual([body, true]);
  const declines: object[] = [
    {},
    { reasoning_effort: "none" },
    { reasoning_effort: null },
    { reasoning: { effort: "none" } },
    { reasoning: { enabled: false } },
    { thinking: { type: "disabled" } },
    { include_reasoning: true },
    { reasoning_format: "parsed" },
  ];
  for (const body of declines)
    expect([body, parsed("chat/completions", body).asksReasoning]).toEqual([body, false]);
});

test("the bound of input is never below what the body can come to", () => {
  const picture = { type: "image_url", image_url: { url: "https://example.com/a.png" } };
  const image = { type: "image", source: { type: "url", url: "https://example.com/a.png" } };
  const page = { type: "document", source: { type: "base64", media_type: "application/pdf", data: "AAAA" } };
  const user = (...content: object[]) => ({ messages: [{ role: "user", content }] });
  const rows: [LlmEndpoint, object, number][] = [
    ["chat/completions", user({ type: "text", text: "สวัสดี" }), 0],
    ["chat/completions", user({ type: "text", text: 'the key "image_url": is a word here' }), 0],
    ["chat/completions", user(picture), 50_000],
    ["chat/completions", user(picture, picture), 100_000],
    [
      "chat/completions",
      user({ type: "file", file: { file_data: "data:application/pdf;base64,AAAA" } }),
      1_000_000,
    ],
    [
      "responses",
      { input: [{ role: "user", content: [{ type: "input_image", image_url: "https://e.com/a" }] }] },
      50_000,
    ],
    [
      "responses",
      { input: [{ role: "user", content: [{ type: "input_file", file_url: "https://e.com/a.pdf" }] }] },
      1_000_000,
    ],
    ["responses", { input: "go on", previous_response_id: "resp_1" }, 1_000_000],
    ["messages", user(image), 50_000],
    ["messages", user(page), 1_000_000],
    ["embeddings", { input: ["a", "b"] }, 0],
    ["messages", { messages: [], tools: [{ type: "computer_20250124", name: "computer" }] }, 10_000],
  ];
  for (const [endpoint, body, beyond] of rows) {
    const { inputTokensMax, bytes } = parsed(endpoint, body);
    expect([endpoint, body, inputTokensMax]).toEqual([endpoint, body, bytes.length + 1_000 + beyond]);
    const escaped = JSON.stringify({ model: "m", ...body })
      .replaceAll("url", "\\u0075rl")
      .replaceAll("source", "sour\\u0063e")
      .replaceAll('"document"', '"\\u0064ocument"');
    const again = parseRequest(endpoint, bytesOf(escaped));
    expect([escaped, again.inputTokensMax >= again.bytes.length + beyond]).toEqual([escaped, true]);
  }
  expect(parsed("messages/count_tokens", user(page)).inputTokensMax).toBe(0);
});

test("a model's name has at most 256 characters, however it is written", () => {
  const called = (name: string) => codeOf(`{"model":"${name}"}`);
  expect([called("a".repeat(256)), called("\\u0061".repeat(256))]).toEqual(["accepted", "accepted"]);
  expect([called("a".repeat(257)), called("\\u0061".repeat(257))]).toEqual([
    "invalid_request",
    "invalid_request",
  ]);
  expect(called("a".repeat(1_000_000))).toBe("invalid_request");
});

test("what goes in unseen is known: media, what a provider keeps, tools that it runs itself", () => {
  const user = (...content: object[]) => ({ messages: [{ role: "user", content }] });
  const tool = (type: string | null) => ({ tools: [{ type, name: "f" }] });
  const unseen: [LlmEndpoint, object][] = [
    ["chat/completions", user({ type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } })],
    ["chat/completions", user({ type: "input_audio", input_audio: { data: "AAAA", format: "wav" } })],
    ["chat/completions", user({ type: "file", file: { file_data: "data:application/pdf;base64,AAAA" } })],
    ["chat/completions", { messages: [{ role: "assistant", audio: { id: "audio_1" } }] }],
    ["chat/completions", { web_search_options: {} }],
    ["chat/completions", { plugins: [{ id: "web" }] }],
    ["responses", { input: "go on", previous_response_id: "resp_1" }],
    [
      "responses",
      { input: [{ role: "user", content: [{ type: "input_image", image_url: "https://e.com" }] }] },
    ],
    ["responses", { input: "x", ...tool("web_search") }],
    ["responses", { input: "x", ...tool("file_search") }],
    ["messages", user({ type: "image", source: { type: "url", url: "https://example.com/a.png" } })],
    ["messages", { messages: [], ...tool("web_fetch_20250910") }],
    ["messages", { messages: [], mcp_servers: [{ type: "url", url: "https://e.com" }] }],
  ];
  for (const [endpoint, body] of unseen) {
    expect([endpoint, body, parsed(endpoint, body).hasUnseenInput]).toEqual([endpoint, body, true]);
    const escaped = JSON.stringify({ model: "m", ...body })
      .replaceAll("_url", "\\u005furl")
      .replaceAll("audio", "a\\u0075dio")
      .replaceAll("web_", "w\\u0065b_")
      .replaceAll("source", "sour\\u0063e");
    expect([escaped, parseRequest(endpoint, bytesOf(escaped)).hasUnseenInput]).toEqual([escaped, true]);
  }
  const seen: [LlmEndpoint, object][] = [
    ["chat/completions", user({ type: "text", text: 'the key "image_url": is a word here' })],
    ["chat/completions", { messages: [], ...tool("function") }],
    ["chat/completions", { messages: [], web_search_options: null }],
    ["responses", { input: "x", ...tool("custom") }],
    ["messages", { messages: [], ...tool("bash_20250124") }],
    ["messages", { messages: [], tools: [{ name: "read", input_schema: { type: "object" } }] }],
    ["completions", { prompt: "x" }],
    ["embeddings", { input: "x" }],
  ];
  for (const [endpoint, body] of seen)
    expect([endpoint, body, parsed(endpoint, body).hasUnseenInput]).toEqual([endpoint, body, false]);
});

test("an answer that is more than text is known", () => {
  const asks = (body: object) => parsed("chat/completions", body).hasUnseenOutput;
  expect([asks({ modalities: ["text", "audio"] }), asks({ audio: { voice: "alloy" } })]).toEqual([
    true,
    true,
  ]);
  expect([asks({ modalities: ["image", "text"] }), asks({ modalities: "audio" })]).toEqual([true, true]);
  expect([asks({}), asks({ modalities: ["text"] }), asks({ modalities: null, audio: null })]).toEqual([
    false,
    false,
    false,
  ]);
});

test("a body that asks for another price than its model's says by which key", () => {
  const apart: [string, unknown][] = [
    ["service_tier", "priority"],
    ["service_tier", "scale"],
    ["service_tier", 7],
    ["speed", "fast"],
    ["inference_geo", "us"],
    ["models", ["openai/o1-pro"]],
    ["route", "fallback"],
    ["fallbacks", [{ model: "claude-opus-4-1" }]],
  ];
  for (const [key, value] of apart)
    expect([key, value, parsed("chat/completions", { [key]: value }).pricedApart]).toEqual([
      key,
      value,
      [key],
    ]);
  const plain: [string, unknown][] = [
    ["service_tier", "auto"],
    ["service_tier", "flex"],
    ["service_tier", null],
    ["speed", "standard"],
    ["models", null],
    ["models", []],
    ["fallbacks", []],
    ["metadata", { models: ["x"] }],
  ];
  for (const [key, value] of plain)
    expect([key, value, parsed("messages", { [key]: value }).pricedApart]).toEqual([key, value, []]);
  expect(codeOf('{"model":"a","Service_Tier":"priority"}')).toBe("invalid_request");
});

test("a body that buys more than tokens says what, and no tool of the caller's own is taken for one", () => {
  const bought = (body: object) => parsed("responses", { input: "x", ...body }).boughtBeside;
  const tools = [
    ["image_generation", { quality: "high" }],
    ["web_search", {}],
    ["web_search_20250305", { name: "web_search" }],
    ["file_search", {}],
    ["code_interpreter", { container: { type: "auto" } }],
    ["code_execution_20250825", {}],
    ["openrouter:advisor", { parameters: { model: "openai/o1-pro" } }],
    ["advisor_20260301", { model: "claude-opus-4-1" }],
    ["function", { model: "o1-pro" }],
  ] as const;
  const own = { type: "function", name: "f", parameters: { type: "object", properties: { model: {} } } };
  for (const [type, more] of tools) {
    const named = { path: "tools", name: type };
    expect(bought({ tools: [own, { type, ...more }] })).toEqual(named);
    expect(bought({ tools: [{ type: "namespace", tools: [{ type, ...more }] }] })).toEqual(named);
  }
  for (const key of ["web_search_options", "plugins", "search_parameters"])
    expect(bought({ [key]: {} })).toEqual({ path: key, name: key });
  // Gemini's have no type.
  expect(bought({ tools: [{ google_search: {} }] })).toEqual({ path: "tools", name: "google_search" });
  expect(bought({ tools: [{ functionDeclarations: [{ name: "f" }] }] })).toBeNull();
  const google = (more: object) => bought({ extra_body: { google: { thinking_config: {}, ...more } } });
  expect(google({ tools: [{ google_search: {} }] })).toEqual({ path: "extra_body", name: "extra_body" });
  expect([google({}), bought({ extra_body: {} })]).toEqual([null, null]);
  const free = [
    "custom",
    "computer_20250124",
    "computer_use_preview",
    "bash_20250124",
    "mcp",
    "web_fetch_20250910",
  ];
  const caller = { name: "read", input_schema: { type: "object", model: "x" } };
  expect(bought({ tools: [own, caller, ...free.map((type) => ({ type }))] })).toBeNull();
  expect(
    bought({ tools: null, plugins: [], enable_search: false, search_parameters: { mode: "off" } }),
  ).toBeNull();
  const shell = (type: string) => bought({ tools: [{ type: "shell", environment: { type } }] });
  expect([shell("local"), shell("container_auto")]).toEqual([null, { path: "tools", name: "shell" }]);
  // Of two members with one key a provider may act on the other.
  const twice = (text: string) =>
    parseRequest("responses", Buffer.from(`{"model":"a",${text}}`)).boughtBeside;
  const local = '"environment":{"type":"local"}';
  expect(twice(`"tools":[{"type":"shell","environment":{"type":"auto"},${local}}]`)).not.toBeNull();
  expect(twice('"search_parameters":{"mode":"on","mode":"off"}')).not.toBeNull();
  expect(codeOf('{"model":"a","Tools":[]}')).toBe("invalid_request");
});
