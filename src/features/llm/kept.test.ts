import { expect, test } from "bun:test";
import fc from "fast-check";
import type { LlmEndpoint } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { parseRequest } from "./request.ts";

const named = (endpoint: LlmEndpoint, body: string | object): readonly string[] | string => {
  const text = typeof body === "string" ? body : JSON.stringify({ model: "m", ...body });
  try {
    return parseRequest(endpoint, new Uint8Array(Buffer.from(text))).keptIds;
  } catch (error) {
    if (error instanceof Failure) return error.code;
    throw error;
  }
};

const chat = "chat/completions";
const user = (...content: object[]) => ({ messages: [{ role: "user", content }] });
const input = (...items: object[]) => ({ input: items });

test("every id of something kept at the provider is found, wherever the provider would look", () => {
  const rows: [LlmEndpoint, object, string[]][] = [
    [chat, user({ type: "file", file: { file_id: "file-1" } }), ["file-1"]],
    [chat, user({ type: "file", file_id: "file-1" }), ["file-1"]],
    [chat, { messages: [{ role: "assistant", audio: { id: "audio_1" } }] }, ["audio_1"]],
    [
      chat,
      { messages: [], extra_body: { google: { cached_content: "cachedContents/1" } } },
      ["cachedContents/1"],
    ],
    [
      chat,
      { messages: [], extra_body: { google: { cachedContent: "cachedContents/1" } } },
      ["cachedContents/1"],
    ],
    [
      chat,
      { messages: [], tools: [{ type: "file_search", vector_store_ids: ["vs_1", "vs_2"] }] },
      ["vs_1", "vs_2"],
    ],
    ["responses", { input: "hi", previous_response_id: "resp_1" }, ["resp_1"]],
    ["responses", { input: "hi", conversation: "conv_1" }, ["conv_1"]],
    ["responses", { input: "hi", conversation: { id: "conv_1" } }, ["conv_1"]],
    [
      "responses",
      {
        prompt: { id: "pmpt_1", version: "2", variables: { doc: { type: "input_file", file_id: "file-2" } } },
      },
      ["pmpt_1", "file-2"],
    ],
    [
      "responses",
      input({
        role: "user",
        content: [
          { type: "input_image", file_id: "file-1" },
          { type: "input_file", file_id: "file-2" },
        ],
      }),
      ["file-1", "file-2"],
    ],
    [
      "responses",
      input({
        type: "function_call_output",
        call_id: "c",
        output: [{ type: "input_file", file_id: "file-3" }],
      }),
      ["file-3"],
    ],
    [
      "responses",
      input(
        { type: "item_reference", id: "msg_1" },
        { id: "msg_2" },
        { type: null, id: "msg_3" },
        { id: "msg_4", role: null, content: "x" },
        { type: "message", id: "msg_5", role: "user" },
      ),
      ["msg_1", "msg_2", "msg_3", "msg_4", "msg_5"],
    ],
    [
      "responses",
      input(
        { type: "reasoning", id: "rs_1", summary: [] },
        { type: "reasoning", id: "rs_2", summary: [], encrypted_content: "gAAA" },
      ),
      ["rs_1"],
    ],
    ["responses", input({ type: "image_generation_call", id: "ig_1" }), ["ig_1"]],
    ["responses", { input: "x", tools: [{ type: "file_search", vector_store_ids: ["vs_1"] }] }, ["vs_1"]],
    ["responses", { input: "x", tools: [{ type: "code_interpreter", container: "cntr_1" }] }, ["cntr_1"]],
    [
      "responses",
      {
        input: "x",
        tools: [{ type: "code_interpreter", container: { type: "auto", file_ids: ["file-1"] } }],
      },
      ["file-1"],
    ],
    [
      "responses",
      {
        input: "x",
        tools: [{ type: "shell", environment: { type: "container_reference", container_id: "cntr_1" } }],
      },
      ["cntr_1"],
    ],
    ["responses", { input: "x", tools: [{ type: "mcp", server_label: "s", tunnel_id: "tun_1" }] }, ["tun_1"]],
    ["messages", user({ type: "document", source: { type: "file", file_id: "file_1" } }), ["file_1"]],
    ["messages", user({ type: "container_upload", file_id: "file_1" }), ["file_1"]],
    [
      "messages",
      user({
        type: "tool_result",
        tool_use_id: "t",
        content: [{ type: "image", source: { type: "file", file_id: "file_2" } }],
      }),
      ["file_2"],
    ],
    ["messages", { messages: [], container: "container_1" }, ["container_1"]],
    [
      "messages",
      {
        messages: [],
        container: {
          id: "container_1",
          skills: [
            { type: "custom", skill_id: "skill_1" },
            { type: "anthropic", skill_id: "pptx" },
          ],
        },
      },
      ["container_1", "skill_1"],
    ],
    ["messages", { messages: [], thread: { type: "continue", previous_message_id: "msg_1" } }, ["msg_1"]],
    [
      "messages/count_tokens",
      user({ type: "document", source: { type: "file", file_id: "file_1" } }),
      ["file_1"],
    ],
  ];
  for (const [endpoint, body, ids] of rows) {
    expect([endpoint, body, named(endpoint, body)]).toEqual([endpoint, body, ids]);
    // The same with every key of the places written in escapes, and with room around everything.
    const escaped = JSON.stringify({ model: "m", ...body }).replaceAll(
      /"(\w+)":/g,
      (_, key: string) =>
        `"${key.replaceAll(/[a-z_]/g, (letter) => `\\u00${letter.charCodeAt(0).toString(16)}`)}" :`,
    );
    expect([body, named(endpoint, escaped)]).toEqual([body, ids]);
    const capital = JSON.stringify({ model: "m", ...body }).replaceAll('Content":', '\\u0043ontent":');
    expect([body, named(endpoint, capital)]).toEqual([body, ids]);
    const spaced = JSON.stringify({ model: "m", ...body }, null, "\t").replaceAll('":', '" \r\n :');
    expect([body, named(endpoint, spaced)]).toEqual([body, ids]);
  }
});

test("what only looks like it names state is left alone", () => {
  const schema = {
    type: "object",
    properties: { file_id: { type: "string" }, container: { type: "string", const: "x" } },
    example: { file_id: "file-9" },
  };
  const rows: [LlmEndpoint, object][] = [
    [
      chat,
      {
        messages: [
          { role: "user", content: 'Send {"file_id": "file-1"} and "previous_response_id": "resp_1"' },
        ],
      },
    ],
    [chat, user({ type: "image_url", image_url: { url: "https://example.com/file_id" } })],
    [chat, user({ type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } })],
    [
      chat,
      user({ type: "file", file: { filename: "a.pdf", file_data: "data:application/pdf;base64,AAAA" } }),
    ],
    [chat, { messages: [], tools: [{ type: "function", function: { name: "f", parameters: schema } }] }],
    [chat, { messages: [], response_format: { type: "json_schema", json_schema: { name: "n", schema } } }],
    [
      chat,
      {
        messages: [
          {
            role: "assistant",
            tool_calls: [
              { id: "c", type: "function", function: { name: "f", arguments: '{"file_id":"file-1"}' } },
            ],
          },
        ],
      },
    ],
    [
      chat,
      {
        messages: [],
        metadata: { file_id: "file-1" },
        modalities: ["text", "audio"],
        audio: { voice: "alloy", format: "wav" },
      },
    ],
    ["responses", { input: "hi", previous_response_id: null, conversation: null, background: false }],
    [
      "responses",
      input(
        { role: "user", content: "hi" },
        { id: "msg_0", role: "assistant", content: "hi" },
        { type: "message", id: "msg_1", role: "assistant", content: [{ type: "output_text", text: "x" }] },
        { type: "function_call", id: "fc_1", call_id: "c", name: "f", arguments: "{}" },
        { type: "function_call_output", call_id: "c", output: '{"file_id":"x"}' },
      ),
    ],
    [
      "responses",
      {
        input: "x",
        text: { format: { type: "json_schema", name: "n", schema } },
        tools: [{ type: "function", name: "f", parameters: schema }],
      },
    ],
    ["responses", { input: "x", tools: [{ type: "code_interpreter", container: { type: "auto" } }] }],
    [
      "messages",
      { messages: [], tools: [{ name: "f", input_schema: schema, input_examples: [{ file_id: "file-1" }] }] },
    ],
    [
      "messages",
      {
        messages: [
          {
            role: "assistant",
            content: [{ type: "tool_use", id: "t", name: "f", input: { file_id: "file-1", container: "c" } }],
          },
        ],
      },
    ],
    ["messages", user({ type: "image", source: { type: "url", url: "https://example.com/a.png" } })],
    ["messages", { messages: [], container: null }],
    [
      "messages",
      user({ type: "text", text: "x", citations: [{ type: "char_location", file_id: "file_1" }] }),
    ],
    [
      "responses",
      input({
        type: "message",
        id: "msg_1",
        role: "assistant",
        content: [
          {
            type: "output_text",
            text: "x",
            annotations: [{ type: "container_file_citation", container_id: "cntr_1", file_id: "cfile_1" }],
          },
        ],
      }),
    ],
    ["completions", { prompt: '{"file_id": "file-1"}' }],
    ["embeddings", { input: ['{"file_id": "file-1"}'] }],
  ];
  for (const [endpoint, body] of rows)
    expect([endpoint, body, named(endpoint, body)]).toEqual([endpoint, body, []]);
});

test("an object that could be read in two ways is refused", () => {
  const rows: [LlmEndpoint, string][] = [
    [
      chat,
      '{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"a","file_id":"b"}}]}]}',
    ],
    [
      chat,
      '{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"a","file\\u005fid":"b"}}]}]}',
    ],
    ["responses", '{"model":"m","input":[{"type":"message","type":"item_reference","id":"x"}]}'],
    ["responses", '{"model":"m","input":[{"type":"reasoning","id":"a","id":"b","summary":[]}]}'],
    [
      "messages",
      '{"model":"m","messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"a","file_id":null}}]}]}',
    ],
    [
      "messages",
      '{"model":"m","messages":[{"content":[{"type":"tool_use","type":"document","input":{},"source":{"file_id":"a"}}]}]}',
    ],
  ];
  for (const [endpoint, body] of rows) expect([body, named(endpoint, body)]).toEqual([body, "duplicate_key"]);
});

/** Any JSON around a marked place, each key and string spelled in any of the ways that JSON allows. */
const noise = fc.jsonValue({ maxDepth: 3 });
const spelling = fc.infiniteStream(fc.nat(9));

function spell(value: unknown, dice: Iterator<number>): string {
  const roll = () => dice.next().value as number;
  const room = () => [" ", "\n", "\t", "", "", "", "\r\n", "  ", "", ""][roll()] as string;
  if (typeof value === "string") {
    const plain = JSON.stringify(value);
    return plain.replaceAll(/[a-z_]/g, (letter, at: number) =>
      plain[at - 1] === "\\" || /\\u[0-9a-f]{0,3}$/.test(plain.slice(0, at)) || roll() > 1
        ? letter
        : `\\u00${letter.charCodeAt(0).toString(16)[roll() > 4 ? "toUpperCase" : "toLowerCase"]()}`,
    );
  }
  if (Array.isArray(value))
    return `[${room()}${value.map((one) => spell(one, dice)).join(`${room()},${room()}`)}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([key, one]) => `${room()}${spell(key, dice)}${room()}:${room()}${spell(one, dice)}`,
  );
  return `{${members.join(",")}${room()}}`;
}

test("no spelling and no company hides an id", () => {
  const id = fc.stringMatching(/^[a-z]{2,5}[_-][A-Za-z0-9]{4,20}$/);
  const places: [LlmEndpoint, (id: string, noise: unknown) => object][] = [
    [
      chat,
      (id, noise) => ({
        x: noise,
        ...user({ type: "text", text: "hi", y: noise }, { z: noise, type: "file", file: { file_id: id } }),
      }),
    ],
    ["responses", (id, noise) => ({ x: noise, previous_response_id: id })],
    [
      "responses",
      (id, noise) => ({
        x: noise,
        ...input({ role: "user", content: [{ type: "input_image", z: noise, file_id: id }] }),
      }),
    ],
    ["responses", (id, noise) => ({ ...input({ y: noise, type: "item_reference", id }) })],
    ["messages", (id, noise) => ({ x: noise, container: { id, y: noise } })],
    [
      "messages",
      (id, noise) => user({ type: "document", y: noise, source: { z: noise, type: "file", file_id: id } }),
    ],
  ];
  fc.assert(
    fc.property(fc.nat(places.length - 1), id, noise, spelling, (place, id, noise, dice) => {
      const [endpoint, make] = places[place] as (typeof places)[number];
      const text = spell({ model: "m", ...make(id, noise) }, dice[Symbol.iterator]());
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify({ model: "m", ...make(id, noise) })));
      const found = named(endpoint, text);
      expect(found).toContain(id);
    }),
    { numRuns: 3_000 },
  );
});

test("prose about ids, of any kind, names none", () => {
  const word = fc.oneof(
    fc.string({ unit: "grapheme" }),
    fc.constantFrom(
      '"file_id":',
      '\\"file_id\\": "x"',
      "previous_response_id",
      '{"container":"c"}',
      "\\u0066ile_id",
      '"}]',
    ),
  );
  fc.assert(
    fc.property(fc.array(word), spelling, (words, dice) => {
      const prose = words.join(" ");
      const text = spell(
        { model: "m", messages: [{ role: "user", content: prose }], input: prose },
        dice[Symbol.iterator](),
      );
      for (const endpoint of [chat, "responses", "messages"] as const)
        expect(named(endpoint, text)).toEqual([]);
    }),
    { numRuns: 1_000 },
  );
});

test("a call that would go on behind the gateway's back is refused", () => {
  for (const value of [true, 1, "true", {}]) {
    expect(named("responses", { input: "x", background: value })).toBe("background_refused");
    expect(named(chat, { messages: [], deferred: value })).toBe("background_refused");
  }
});

test("a body full of escaped quotes is walked no slower than others", () => {
  const content = '\\"'.repeat(15 << 20);
  const bodies: [LlmEndpoint, string][] = [
    [chat, `{"model":"m","messages":[{"role":"user","content":"${content}","file_id":"x"}]}`],
    ["completions", `{"model":"m","prompt":["${content}"]}`],
    ["responses", `{"model":"m","input":[{"id":"x","type":"${content}"}]}`],
  ];
  for (const [endpoint, body] of bodies) {
    const bytes = new Uint8Array(Buffer.from(body));
    parseRequest(endpoint, bytes);
    const startedAt = performance.now();
    parseRequest(endpoint, bytes);
    expect([endpoint, performance.now() - startedAt < 300]).toEqual([endpoint, true]);
  }
});

test("strings are outlined where they end, however many quotes they hold", () => {
  const piece = fc.oneof(
    fc.constantFrom('"', "\\", '\\"', "x"),
    fc.nat(1_100).map((count) => "y".repeat(count)),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      const said = { content: pieces.join(""), file_id: "file-1" };
      expect(named(chat, user(said))).toEqual(["file-1"]);
    }),
    { numRuns: 500 },
  );
});

test("addresses of files that a provider was handed before are ids", () => {
  const gemini = "https://generativelanguage.googleapis.com/v1beta/files/abc";
  const rows: [object, string[]][] = [
    [user({ type: "video_url", video_url: { url: "ms://file-1" } }), ["ms://file-1"]],
    [{ messages: [{ role: "system", content: "fileid://file-fe-1" }] }, ["fileid://file-fe-1"]],
    [user({ type: "image_url", image_url: { url: gemini } }), [gemini]],
    [{ messages: [], agent_id: "ag_1", context_id: "ctx-1" }, ["ag_1", "ctx-1"]],
    [user({ type: "text", text: "how does ms:// or fileid://x work? see generativelanguage" }), []],
    [user({ type: "image_url", image_url: { url: "https://example.com/files/abc" } }), []],
  ];
  for (const [body, ids] of rows) {
    expect([body, named(chat, body)]).toEqual([body, ids]);
    const escaped = JSON.stringify({ model: "m", ...body }).replaceAll("://", ":\\/\\/");
    expect([escaped, named(chat, escaped)]).toEqual([escaped, ids]);
    const colons = JSON.stringify({ model: "m", ...body }).replaceAll("://", "\\u003a//");
    expect([colons, named(chat, colons)]).toEqual([colons, ids]);
  }
});

test("a body of 32 MB without state is searched, not walked", () => {
  const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: "x".repeat(30 << 20) }] });
  const bytes = new Uint8Array(Buffer.from(body));
  parseRequest(chat, bytes);
  const startedAt = performance.now();
  parseRequest(chat, bytes);
  expect(performance.now() - startedAt).toBeLessThan(500);
});
