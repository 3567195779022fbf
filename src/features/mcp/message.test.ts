/**
 * What is read and what is refused before anything is decided: shape, size, repeated keys, and headers that say something
 * else than the body. Whoever stands between client and gateway and looks at one of them must not be led astray.
 */
import { afterAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Failure } from "../../platform/failure.ts";
import { scanObject } from "../../platform/json.ts";
import type { ProtocolTool } from "../../platform/mcp-sources.ts";
import { startGateway } from "../../testing/gateway.ts";
import { legacyRpc, legacyVersion, modernVersion, rpc } from "../../testing/mcp.ts";
import { linesOf } from "../../testing/mcp-log.ts";

const seen: [string, unknown][] = [];
const echo = (name: string, inputSchema: Record<string, unknown> = { type: "object" }): ProtocolTool => ({
  name,
  scopes: ["mcp:read"],
  writes: false,
  definition: { name, description: "Echoes.", inputSchema },
  answer: async (args) => {
    seen.push([name, args]);
    return { content: [{ type: "text", text: name }] };
  },
});
const region = { type: "object", properties: { region: { type: "string", "x-mcp-header": "Region" } } };
const gateway = await startGateway({
  yaml: "limits: { mcp: { requests_per_minute: null, body_bytes_max: 65536 } }",
  mcpExtras: { tools: [echo("a"), echo("b"), echo("regional", region)] },
});
afterAll(() => gateway.close());
const { robo } = gateway;

const usual = { "content-type": "application/json", accept: "application/json, text/event-stream" };
const legacy = { "mcp-protocol-version": legacyVersion };
const modern = { "mcp-protocol-version": modernVersion, "mcp-method": "tools/call", "mcp-name": "a" };
const meta = JSON.stringify({
  "io.modelcontextprotocol/protocolVersion": modernVersion,
  "io.modelcontextprotocol/clientCapabilities": {},
});

type Answer = { status: number; code?: number; why?: string; id?: unknown; request: string };

async function post(
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = legacy,
): Promise<Answer> {
  const response = await robo.fetch("/mcp", { method: "POST", headers: { ...usual, ...headers }, body });
  const text = await response.text();
  const json = text.startsWith("{") ? JSON.parse(text) : {};
  const { error, id } = json as { error?: { code: number; data?: { code?: string } }; id?: unknown };
  return {
    status: response.status,
    ...(error === undefined ? {} : { code: error.code, why: error.data?.code ?? "" }),
    id,
    request: response.headers.get("x-request-id") ?? "",
  };
}

const callOf = (params: string, id = "1") =>
  `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":${params}}`;
const nothingRan = () => expect(seen.splice(0)).toEqual([]);

describe("a message", () => {
  test("is one JSON object with each key once, however deep and however it is spelled", async () => {
    const twice = [
      `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"a"}}`,
      callOf('{"name":"a","name":"b"}'),
      callOf('{"name":"b","n\\u0061me":"a"}'),
      callOf('{"\\u006eame":"b","name":"a"}'),
      callOf('{"name":"a","arguments":{"x":1},"arguments":{"x":2}}'),
      callOf('{"name":"a","arguments":{"x":{"y":[{"z":1,"z":2}]}}}'),
      callOf('{"name":"a","arguments":{"x":{"y":[[{"z":1,"\\u007a":2}]]}}}'),
      callOf('{"name":"a","arguments":{"\\ud83d\\ude00":1,"😀":2}}'),
      callOf('{"name":"a","arguments":{"__proto__":1,"__proto__":2}}'),
      callOf('{"name":"a","arguments":{"":1,"":2}}'),
    ];
    for (const body of twice)
      expect([body, await post(body)]).toMatchObject([
        body,
        { status: 400, code: -32_600, why: "duplicate_key" },
      ]);
    nothingRan();
    const once = callOf('{"name":"a","arguments":{"x":{"name":1},"y":{"name":2},"name":3}}');
    expect((await post(once)).status).toBe(200);
    expect(seen.splice(0)).toEqual([["a", { x: { name: 1 }, y: { name: 2 }, name: 3 }]]);
  });

  test("is refused as a batch, however small", async () => {
    const one = callOf('{"name":"a"}');
    for (const body of ["[]", `[${one}]`, `  \n[${one},${one}]`, `\t[{}]`])
      for (const headers of [legacy, modern])
        expect(await post(body, headers)).toMatchObject({ status: 400, code: -32_600, why: "batch_refused" });
    nothingRan();
  });

  test("is not two, and not half", async () => {
    const one = callOf('{"name":"a"}');
    const bodies = [
      `${one}${one}`,
      `${one}\n${one}`,
      `${one},`,
      one.slice(0, -1),
      "",
      "null",
      "1",
      '"x"',
      `${one}\0`,
      `\ufeff${one}`,
    ];
    for (const body of bodies)
      expect([body, await post(body)]).toMatchObject([body, { status: 400, code: -32_700 }]);
    const bytes = new TextEncoder().encode(callOf('{"name":"a?"}'));
    bytes[bytes.indexOf(0x3f)] = 0xff;
    expect(await post(bytes)).toMatchObject({ status: 400, code: -32_700 });
    nothingRan();
  });

  test("is JSON-RPC 2.0 with an id that an answer can carry, and says what is wrong under it", async () => {
    const wrong: [string, unknown][] = [
      ['{"jsonrpc":"1.0","id":7,"method":"ping"}', 7],
      ['{"id":7,"method":"ping"}', 7],
      ['{"jsonrpc":2,"id":"x","method":"ping"}', "x"],
      ['{"jsonrpc":"2.0","id":null,"method":"ping"}', null],
      ['{"jsonrpc":"2.0","id":1.5,"method":"ping"}', null],
      ['{"jsonrpc":"2.0","id":[1],"method":"ping"}', null],
      ['{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}', null],
      ['{"jsonrpc":"2.0","id":7,"method":["ping"]}', 7],
      ['{"jsonrpc":"2.0","id":7}', 7],
      ['{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}', 7],
      ['{"jsonrpc":"2.0","id":7,"method":"tools/call","params":["a"]}', 7],
      ['{"jsonrpc":"2.0","id":7,"method":"tools/call","params":null}', 7],
    ];
    for (const [body, id] of wrong)
      expect([body, await post(body)]).toMatchObject([
        body,
        { status: 400, code: -32_600, why: "invalid_message", id },
      ]);
    nothingRan();
  });

  test("is application/json and nothing else, whole, and no larger or deeper than it may be", async () => {
    const one = callOf('{"name":"a"}');
    for (const type of [
      "text/plain",
      "application/json-rpc",
      "application/x-www-form-urlencoded",
      "multipart/form-data",
      "application/json; charset=utf-16",
    ])
      expect(await post(one, { ...legacy, "content-type": type })).toMatchObject({ status: 415 });
    expect(await post(one, { ...legacy, "content-encoding": "gzip" })).toMatchObject({ status: 415 });
    const long = callOf(`{"name":"a","arguments":{"x":"${"x".repeat(65_536)}"}}`);
    expect(await post(long)).toMatchObject({ status: 413, why: "body_too_large" });
    const deep = callOf(`{"name":"a","arguments":{"x":${"[".repeat(80)}${"]".repeat(80)}}}`);
    expect(await post(deep)).toMatchObject({ status: 400, why: "json_too_complex" });
    nothingRan();
  });

  test("that answers or announces is taken and dropped, and runs nothing", async () => {
    for (const body of [
      '{"jsonrpc":"2.0","method":"notifications/initialized"}',
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
      '{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}',
      '{"jsonrpc":"2.0","id":1,"result":{}}',
    ])
      expect(await post(body)).toMatchObject({ status: 202 });
    nothingRan();
  });

  test("that is refused leaves one line behind, one that is dropped none", async () => {
    const refused = await post(callOf('{"name":"a","name":"b"}'));
    expect(await linesOf(gateway, refused.request)).toHaveLength(1);
    const batch = await post("[]");
    expect(await linesOf(gateway, batch.request)).toHaveLength(1);
  });
});

describe("headers", () => {
  const body = callOf(`{"name":"a","_meta":${meta}}`);

  test("of 2026-07-28 must be there, once, and say what the body says", async () => {
    expect(await post(body, modern)).toMatchObject({ status: 200 });
    expect(seen.splice(0)).toEqual([["a", {}]]);
    const lies: Record<string, string | null>[] = [
      { "mcp-name": "b" },
      { "mcp-name": "A" },
      { "mcp-name": "a a" },
      { "mcp-name": "a, a" },
      { "mcp-name": "a,b" },
      { "mcp-name": "a/" },
      { "mcp-name": "%61" },
      { "mcp-name": '"a"' },
      { "mcp-name": "=?base64?Yg==?=" },
      { "mcp-name": "=?base64?YQ?=" },
      { "mcp-name": "=?base64?YQ=?=" },
      { "mcp-name": "=?BASE64?YQ==?=" },
      { "mcp-name": "=?base64?4oCL?=" },
      { "mcp-name": "=?base64?77u/YQ==?=" },
      { "mcp-name": "" },
      { "mcp-name": null },
      { "mcp-method": "tools/list" },
      { "mcp-method": "TOOLS/CALL" },
      { "mcp-method": "tools/call, tools/call" },
      { "mcp-method": null },
      { "mcp-protocol-version": "2026-07-28, 2026-07-28" },
      { "mcp-protocol-version": legacyVersion },
      { "mcp-protocol-version": null },
    ];
    for (const lie of lies) {
      const told = Object.entries({ ...modern, ...lie }).filter(([, value]) => value !== null);
      const answer = await post(body, Object.fromEntries(told) as Record<string, string>);
      expect([lie, answer]).toMatchObject([lie, { status: 400, code: -32_020, id: 1 }]);
      expect(await linesOf(gateway, answer.request)).toHaveLength(1);
    }
    nothingRan();
    expect(await post(body, { ...modern, "mcp-name": "=?base64?YQ==?=" })).toMatchObject({ status: 200 });
    expect(seen.splice(0)).toEqual([["a", {}]]);
  });

  test("of earlier revisions may be missing, and may not lie", async () => {
    const old = callOf('{"name":"a"}');
    for (const lie of [{ "mcp-name": "b" }, { "mcp-method": "tools/list" }, { "mcp-name": "a, b" }])
      expect([lie, await post(old, { ...legacy, ...lie })]).toMatchObject([
        lie,
        { status: 400, code: -32_020 },
      ]);
    // Says that it is of the new revision, and has not what that needs.
    expect(await post(old, modern)).toMatchObject({ status: 400, code: -32_602 });
    expect(await post(old, { "mcp-protocol-version": "2099-01-01" })).toMatchObject({ status: 400 });
    expect(await post(old, { "mcp-protocol-version": "not a version" })).toMatchObject({ status: 400 });
    nothingRan();
    expect(await post(old, { ...legacy, "mcp-name": "a", "mcp-method": "tools/call" })).toMatchObject({
      status: 200,
    });
    expect(seen.splice(0)).toEqual([["a", {}]]);
  });

  test("name what is no name at all only to be refused", async () => {
    for (const name of ['["a"]', '{"a":1}', "1", "true", "null"])
      expect([name, await post(callOf(`{"name":${name},"_meta":${meta}}`), modern)]).toMatchObject([
        name,
        { status: 400, code: -32_020 },
      ]);
    const listed = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":${meta}}}`;
    expect(await post(listed, { ...modern, "mcp-method": "tools/list" })).toMatchObject({ code: -32_020 });
    nothingRan();
  });

  test("that a tool's schema asks for say what its arguments say", async () => {
    const call = (headers: Record<string, string>) =>
      rpc(robo, "tools/call", { name: "regional", arguments: { region: "eu" } }, headers);
    for (const lie of [{}, { "mcp-param-region": "us" }, { "mcp-param-region": "eu, us" }])
      expect([lie, await call(lie as Record<string, string>)]).toMatchObject([
        lie,
        { status: 400, error: { code: -32_020 } },
      ]);
    nothingRan();
    expect(await call({ "mcp-param-region": "eu" })).toMatchObject({ status: 200 });
    expect(await call({ "mcp-param-region": "=?base64?ZXU=?=" })).toMatchObject({ status: 200 });
    expect(
      await legacyRpc(robo, "tools/call", { name: "regional", arguments: { region: "eu" } }),
    ).toMatchObject({
      status: 200,
    });
    seen.length = 0;
  });

  test("of a session say nothing, and none is ever given", async () => {
    for (const session of ["", "x", crypto.randomUUID(), "../../etc"]) {
      const response = await robo.fetch("/mcp", {
        method: "POST",
        headers: { ...usual, ...legacy, "mcp-session-id": session },
        body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
      });
      expect([response.status, response.headers.get("mcp-session-id")]).toEqual([200, null]);
    }
    for (const method of ["GET", "DELETE"]) {
      const response = await robo.fetch("/mcp", { method, headers: { ...legacy, "mcp-session-id": "x" } });
      expect([response.status, response.headers.get("allow")]).toEqual([405, "POST"]);
    }
  });
});

describe("a scan for repeated keys", () => {
  const json = fc.jsonValue({ maxDepth: 5 });
  const scan = (text: string) =>
    scanObject(new TextEncoder().encode(text), { uniqueLevels: Number.POSITIVE_INFINITY });

  test("takes whatever a serialiser writes", () => {
    fc.assert(fc.property(json, (value) => void scan(JSON.stringify({ value }))));
  });

  test("finds one planted anywhere, in any spelling", () => {
    const escaped = (key: string) =>
      Array.from(key, (_, at) => `\\u${key.charCodeAt(at).toString(16).padStart(4, "0")}`).join("");
    const spelled = fc.tuple(fc.string({ maxLength: 4 }), fc.boolean()).map(([key, isEscaped]) => ({
      key,
      other: isEscaped
        ? Array.from({ length: key.length }, (_, at) => escaped(key[at] ?? "")).join("")
        : JSON.stringify(key).slice(1, -1),
    }));
    const wrap = fc.array(fc.constantFrom("array", "object"), { maxLength: 6 });
    fc.assert(
      fc.property(spelled, json, wrap, ({ key, other }, value, around) => {
        const filler = JSON.stringify({ [`${key}!`]: value }).slice(1, -1);
        let text = `{${JSON.stringify(key)}:1,${filler},"${other}":2}`;
        for (const kind of around) text = kind === "array" ? `[0,${text}]` : `{"k":${text}}`;
        expect(() => scan(`{"a":${text}}`)).toThrow(Failure);
      }),
    );
  });
});
