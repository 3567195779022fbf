import { expect, test } from "bun:test";
import fc from "fast-check";
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
  const json = fc.dictionary(fc.string({ unit: "grapheme" }), fc.jsonValue());
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
