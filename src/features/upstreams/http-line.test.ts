import { afterEach, describe, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { McpServer as LegacyServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { WebStandardStreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js";
import { createMcpHandler, McpServer as ModernServer } from "@modelcontextprotocol/server";
import fc from "fast-check";
import { z } from "zod";
import { systemClock } from "../../platform/clock.ts";
import type { UpstreamConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { createGuardedFetch } from "../../platform/guarded-fetch.ts";
import { silentLog } from "../../platform/log.ts";
import { Secret } from "../../platform/secret.ts";
import { certificate, certificateKey } from "../../testing/certificate.ts";
import {
  echoTool,
  eventStream,
  type Heard,
  httpUpstream,
  rawUpstream,
  rpcError,
  rpcResult,
  type ScriptedUpstream,
  startUpstream,
  textResult,
  type UpstreamOptions,
} from "../../testing/mcp-upstreams.ts";
import type { Link, LinkAsking } from "./link.ts";
import { openLink } from "./open-link.ts";

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
});

function linkTo(config: UpstreamConfig, backOffMs = 20): Link {
  const needs = { fetch: createGuardedFetch(), log: silentLog, clock: systemClock(), version: "9.9.9" };
  const link = openLink("other", config, { ...needs, childrenDir: null, backOffMs });
  open.push(link);
  return link;
}

function upstreamOf(options: UpstreamOptions = {}): ScriptedUpstream {
  const upstream = startUpstream(options);
  open.push(upstream);
  return upstream;
}

const asking = (more: Partial<LinkAsking> = {}): LinkAsking => ({
  caller: "one",
  signal: new AbortController().signal,
  resultBytesMax: 100_000,
  traceparent: null,
  ...more,
});
const echo = (link: Link, more: Partial<LinkAsking> = {}) => link.call("echo", { text: "hi" }, asking(more));
const said = { kind: "result", result: textResult('{"text":"hi"}'), isError: false } as const;
/** The code of the failure that a promise rejects with. */
const codeOf = async (promise: Promise<unknown>): Promise<string> => {
  const error = await promise.then(
    () => new Error("it did not fail"),
    (reason: unknown) => reason,
  );
  if (error instanceof Failure) return error.code;
  throw error;
};
const callsTo = (upstream: ScriptedUpstream): Heard[] =>
  upstream.heard.filter(({ method }) => method === "tools/call");
/** Answers each call so; everything else as ever. */
const calls =
  (answer: (heard: Heard) => Response | Promise<Response>) =>
  (heard: Heard): Response | Promise<Response> | null =>
    heard.method === "tools/call" ? answer(heard) : null;

describe("a server of either era", () => {
  const kinds: UpstreamOptions[] = [
    { era: "modern" },
    { era: "modern", streams: true },
    { era: "legacy" },
    { era: "legacy", sessions: true },
    { era: "legacy", sessions: true, streams: true },
  ];
  for (const options of kinds)
    test(`is listed and called: ${JSON.stringify(options)}`, async () => {
      const upstream = upstreamOf(options);
      const link = linkTo(httpUpstream(upstream.url));
      expect(await link.list(new AbortController().signal)).toEqual([echoTool]);
      expect(await echo(link)).toEqual(said);
      expect(link.status()).toMatchObject({ state: "up", era: options.era, reason: null });
      const handshakes = upstream.heard.filter(({ method }) => /discover|initialize$/.test(method));
      expect(handshakes).toHaveLength(options.era === "modern" ? 1 : 2);
    });

  test("is met once, however many call it at the same time", async () => {
    const upstream = upstreamOf({ era: "legacy", sessions: true });
    const link = linkTo(httpUpstream(upstream.url));
    await Promise.all(Array.from({ length: 32 }, () => echo(link)));
    expect(upstream.heard.filter(({ method }) => method === "initialize")).toHaveLength(1);
    const sessions = new Set(callsTo(upstream).map(({ headers }) => headers.get("mcp-session-id")));
    expect(sessions.size).toBe(1);
  });

  test("is met anew when it has forgotten the session, and the call is put again", async () => {
    const upstream = upstreamOf({ era: "legacy", sessions: true });
    const link = linkTo(httpUpstream(upstream.url));
    await echo(link);
    upstream.forget();
    expect(await echo(link)).toEqual(said);
    expect(upstream.heard.filter(({ method }) => method === "initialize")).toHaveLength(2);
  });

  test("that answers a call so on a new session as well has answered it: its session stays, for everybody", async () => {
    const missing = ({ params }: Heard) =>
      (params.arguments as { text?: string }).text === "missing" ? new Response("", { status: 404 }) : null;
    const script = (heard: Heard) => (heard.method === "tools/call" ? missing(heard) : null);
    const upstream = upstreamOf({ era: "legacy", sessions: true, script });
    const link = linkTo(httpUpstream(upstream.url), 60_000);
    const ask = () => link.call("echo", { text: "missing" }, asking({ caller: "other" }));
    for (let n = 0; n < 5; n++) {
      expect(await codeOf(ask())).toBe("upstream_failed");
      expect(await echo(link)).toEqual(said);
    }
    // And whoever asks for it again and again is to wait, as after any other failure.
    expect(await codeOf(ask())).toBe("upstream_unavailable");
    expect(await echo(link)).toEqual(said);
    await link.close();
    expect(upstream.heard.filter(({ httpMethod }) => httpMethod === "DELETE")).toHaveLength(6);
  });

  test("may move from one era to the other", async () => {
    const upstream = upstreamOf({ era: "legacy" });
    const link = linkTo(httpUpstream(upstream.url));
    await echo(link);
    upstream.era = "modern";
    expect(await echo(link)).toEqual(said);
    expect(link.status().era).toBe("modern");
  });

  test("is told when its session is over", async () => {
    const upstream = upstreamOf({ era: "legacy", sessions: true });
    const link = linkTo(httpUpstream(upstream.url));
    await echo(link);
    await link.close();
    expect(upstream.heard.at(-1)?.httpMethod).toBe("DELETE");
    expect(await codeOf(echo(link))).toBe("upstream_unavailable");
  });

  test("that speaks neither version is refused in words", async () => {
    const upstream = upstreamOf({
      script: ({ id }) => rpcResult(id, { resultType: "complete", supportedVersions: ["2031-01-01"] }),
    });
    await expect(echo(linkTo(httpUpstream(upstream.url)))).rejects.toThrow(
      "no version of MCP that the gateway knows",
    );
  });
});

describe("what is sent", () => {
  test("is the gateway's own: its credential, its envelope, and of the caller the arguments alone", async () => {
    const upstream = upstreamOf({ era: "modern" });
    const link = linkTo(httpUpstream(upstream.url, { bearer: new Secret("sk-upstream") }));
    await echo(link, { traceparent: "00-11111111111111111111111111111111-2222222222222222-01" });
    const [call] = callsTo(upstream);
    const sent = Object.fromEntries(call?.headers ?? []);
    const { host, "content-length": length, connection, ...ours } = sent;
    expect(ours).toEqual({
      accept: "application/json, text/event-stream",
      "accept-encoding": "identity",
      authorization: "Bearer sk-upstream",
      "content-type": "application/json",
      "mcp-method": "tools/call",
      "mcp-name": "echo",
      "mcp-protocol-version": "2026-07-28",
      traceparent: "00-11111111111111111111111111111111-2222222222222222-01",
      "user-agent": "specgate",
    });
    expect(call?.params).toEqual({
      name: "echo",
      arguments: { text: "hi" },
      _meta: {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { name: "specgate", version: "9.9.9" },
        "io.modelcontextprotocol/clientCapabilities": {},
      },
    });
  });

  test("repeats in headers what the tool's schema wants repeated, in a form that headers can hold", async () => {
    const properties = {
      region: { type: "string", "x-mcp-header": "Region" },
      where: { type: "object", properties: { dry: { type: "boolean", "x-mcp-header": "Dry" } } },
    };
    const named = { name: "näme", inputSchema: { type: "object", properties } };
    const upstream = upstreamOf({ tools: [named] });
    const link = linkTo(httpUpstream(upstream.url));
    await link.list(new AbortController().signal);
    await link.call("näme", { region: "a\r\nx: y", where: { dry: false } }, asking());
    const headers = callsTo(upstream)[0]?.headers;
    expect(headers?.get("mcp-param-region")).toBe(`=?base64?${btoa("a\r\nx: y")}?=`);
    expect(headers?.get("mcp-param-dry")).toBe("false");
    expect(headers?.get("mcp-name")).toStartWith("=?base64?");
  });

  test("never asks two questions under one id", async () => {
    const upstream = upstreamOf();
    const link = linkTo(httpUpstream(upstream.url));
    for (let n = 0; n < 50; n++) await echo(link);
    expect(new Set(upstream.heard.map(({ id }) => id)).size).toBe(upstream.heard.length);
  });
});

describe("an answer", () => {
  test("keeps what the gateway does not know of", async () => {
    const result = {
      content: [{ type: "text", text: "x", odd: 1 }],
      structuredContent: { a: [1] },
      more: { b: 2 },
    };
    const upstream = upstreamOf({ call: () => ({ ...result, isError: true }) });
    expect(await echo(linkTo(httpUpstream(upstream.url)))).toEqual({
      kind: "result",
      result: { ...result, isError: true },
      isError: true,
    });
  });

  test("is without what the protocol says between that server and the gateway", async () => {
    const _meta = { "io.modelcontextprotocol/serverInfo": { name: "x", version: "1" }, "example.com/own": 1 };
    const link = linkTo(httpUpstream(upstreamOf({ call: () => ({ ...textResult("x"), _meta }) }).url));
    expect(await echo(link)).toMatchObject({
      result: { ...textResult("x"), _meta: { "example.com/own": 1 } },
    });
    expect(JSON.stringify(await echo(link))).not.toContain("serverInfo");
  });

  test("may be an error, without the configured secret in it", async () => {
    const script = calls(({ id }) => rpcError(id, -32_602, "no such tool, Bearer sk-upstream-1"));
    const link = linkTo(httpUpstream(upstreamOf({ script }).url, { bearer: new Secret("sk-upstream-1") }));
    expect(await echo(link)).toEqual({
      kind: "error",
      code: -32_602,
      message: "no such tool, Bearer [redacted]",
    });
  });

  const refused: [string, string, (heard: Heard) => Response][] = [
    ["a redirect", "upstream_failed", () => Response.redirect("http://127.0.0.1:1/", 307)],
    ["another's id", "upstream_failed", ({ id }) => rpcResult(Number(id) + 1, textResult("x"))],
    ["the id as text", "upstream_failed", ({ id }) => rpcResult(String(id), textResult("x"))],
    ["no id", "upstream_failed", () => rpcResult(undefined, textResult("x"))],
    [
      "a batch",
      "upstream_failed",
      ({ id }) => Response.json([{ jsonrpc: "2.0", id, result: textResult("x") }]),
    ],
    ["another protocol", "upstream_failed", ({ id }) => Response.json({ id, result: textResult("x") })],
    ["HTML", "upstream_failed", () => new Response("<p>hi", { headers: { "content-type": "text/html" } })],
    ["HTML called JSON", "upstream_failed", () => new Response("<p>hi", json)],
    ["nothing", "upstream_failed", () => new Response(null, { status: 202 })],
    ["no UTF-8", "upstream_failed", ({ id }) => new Response(notUtf8(Number(id)), json)],
    [
      "result and error",
      "upstream_failed",
      ({ id }) => Response.json({ jsonrpc: "2.0", id, result: {}, error: {} }),
    ],
    [
      "two results in one",
      "upstream_failed",
      ({ id }) => new Response(`{"jsonrpc":"2.0","id":${id},"result":{},"result":{}}`, json),
    ],
    ["brackets without end", "upstream_failed", ({ id }) => new Response(deep(Number(id)), json)],
    ["unknown content", "upstream_failed", ({ id }) => rpcResult(id, { content: [{ type: "text" }] })],
    ["gzip", "upstream_failed", ({ id }) => zipped(Number(id))],
    ["too much", "result_too_large", ({ id }) => rpcResult(id, textResult("x".repeat(100_000)))],
    [
      "too much in a stream",
      "result_too_large",
      ({ id }) => rpcResult(id, textResult("x".repeat(100_000)), true),
    ],
    [
      "a wish for input",
      "upstream_needs_input",
      ({ id }) => rpcResult(id, { resultType: "input_required", requestState: "x" }),
    ],
    ["a wish for a page to visit", "upstream_needs_input", ({ id }) => rpcError(id, -32_042, "visit")],
    [
      "a wish in a stream",
      "upstream_needs_input",
      () => eventStream([{ jsonrpc: "2.0", id: 1, method: "elicitation/create", params: {} }]),
    ],
    [
      "two answers",
      "upstream_failed",
      ({ id }) => eventStream([1, 2].map((n) => ({ jsonrpc: "2.0", id, result: textResult(`${n}`) }))),
    ],
    ["a stream without an answer", "upstream_failed", () => eventStream([": nothing\n\n"])],
    [
      "half an event",
      "upstream_failed",
      ({ id }) => eventStream([`data: {"jsonrpc":"2.0","id":${id},"result":{}}\n`]),
    ],
    ["a refused credential", "upstream_failed", () => new Response("sk-upstream", { status: 401 })],
    ["too many calls", "upstream_busy", () => new Response("", { status: 429 })],
    ["a breakdown", "upstream_failed", () => new Response("sk-upstream", { status: 500 })],
  ];
  for (const [what, code, answer] of refused)
    test(`that is ${what} is refused, and the server is well for the next call`, async () => {
      const upstream = upstreamOf({ script: calls(answer) });
      const link = linkTo(httpUpstream(upstream.url, { bearer: new Secret("sk-upstream") }));
      const error = await echo(link).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(Failure);
      expect(error).toMatchObject({ code });
      expect((error as Failure).message).not.toMatch(/sk-upstream|127\.0\.0\.1/);
      upstream.script = null;
      expect(await echo(link)).toEqual(said);
    });

  test("is found among notices, wherever the stream is cut", async () => {
    const notice = {
      jsonrpc: "2.0",
      method: "notifications/progress",
      params: { progressToken: 1, progress: 1 },
    };
    const link = linkTo(
      httpUpstream(
        upstreamOf({
          script: calls(({ id }) => {
            const answer = JSON.stringify({ jsonrpc: "2.0", id, result: textResult("ü ☃ 𝄞") });
            const middle = answer.indexOf('"result"');
            const text = `\ufeff: hello\r\ndata:\r\n\r\nevent: message\rdata: ${JSON.stringify(notice)}\r\rid: 7\ndata: ${answer.slice(0, middle)}\ndata:${answer.slice(middle)}\n\n`;
            return new Response(inPieces(new TextEncoder().encode(text), cut), {
              headers: { "content-type": "text/event-stream" },
            });
          }),
        }).url,
      ),
    );
    let cut = 1;
    for (; cut < 330; cut += cut < 20 ? 1 : 13)
      expect(await echo(link)).toMatchObject({ result: textResult("ü ☃ 𝄞") });
  });

  test("says that the list has changed, and whoever listens hears it", async () => {
    const changed = { jsonrpc: "2.0", method: "notifications/tools/list_changed" };
    const script = calls(({ id }) => eventStream([changed, { jsonrpc: "2.0", id, result: textResult("x") }]));
    const link = linkTo(httpUpstream(upstreamOf({ era: "legacy", script }).url));
    let times = 0;
    link.onListChanged(() => times++);
    await echo(link);
    expect(times).toBe(1);
  });
});

const json = { headers: { "content-type": "application/json" } };
const notUtf8 = (id: number) =>
  Buffer.concat([
    Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":{"a":"`),
    Buffer.from([0xff]),
    Buffer.from('"}}'),
  ]);
const deep = (id: number) =>
  `{"jsonrpc":"2.0","id":${id},"result":{"a":${"[".repeat(20_000)}${"]".repeat(20_000)}}}`;
const zipped = (id: number) =>
  new Response(gzipSync(JSON.stringify({ jsonrpc: "2.0", id, result: textResult("x") })), {
    headers: { "content-type": "application/json", "content-encoding": "gzip" },
  });

function inPieces(bytes: Uint8Array, size: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.subarray(at, at + size));
      at += size;
    },
  });
}

describe("a server that is not well", () => {
  test("and refuses connections is told from one that breaks off", async () => {
    expect(await codeOf(echo(linkTo(httpUpstream("http://127.0.0.1:9/mcp"))))).toBe("upstream_unavailable");
    const raw = rawUpstream(() => [
      "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{",
      "RST",
    ]);
    open.push(raw);
    expect(await codeOf(echo(linkTo(httpUpstream(raw.url))))).toBe("upstream_failed");
  });

  test("and shows a certificate of its own making is sent nothing", async () => {
    const heard: string[] = [];
    const server = Bun.serve({
      port: 0,
      tls: { cert: certificate, key: certificateKey },
      fetch: ({ url }) => {
        heard.push(url);
        return new Response("");
      },
    });
    open.push({ close: () => server.stop(true) });
    const link = linkTo(httpUpstream(`https://127.0.0.1:${server.port}/mcp`, { bearer: new Secret("s") }));
    await expect(echo(link)).rejects.toThrow("no certificate that can be trusted");
    expect(heard).toEqual([]);
  });

  test("and does not answer costs its callers their timeout, and its connection is closed", async () => {
    let left = false;
    const hang = new Promise<Response>(() => {});
    const server = Bun.serve({
      port: 0,
      idleTimeout: 0,
      fetch: (request) => {
        request.signal.addEventListener("abort", () => (left = true));
        return hang;
      },
    });
    open.push({ close: () => server.stop(true) });
    const began = performance.now();
    const link = linkTo(httpUpstream(`http://127.0.0.1:${server.port}/`, { timeoutMs: 200 }));
    expect(await codeOf(echo(link))).toBe("upstream_timeout");
    expect(performance.now() - began).toBeLessThan(1_500);
    expect(link.status()).toMatchObject({ state: "down" });
    await Bun.sleep(50);
    expect(left).toBe(true);
  });

  test("is left alone after five failures, and tried by one call later", async () => {
    const upstream = upstreamOf({ script: calls(() => new Response("", { status: 503 })) });
    const link = linkTo(httpUpstream(upstream.url), 60);
    for (let n = 0; n < 5; n++) expect(await codeOf(echo(link))).toBe("upstream_failed");
    const before = callsTo(upstream).length;
    expect(await codeOf(echo(link))).toBe("upstream_unavailable");
    expect(callsTo(upstream)).toHaveLength(before);
    upstream.script = null;
    await Bun.sleep(320);
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => echo(link)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await echo(link)).toEqual(said);
  });

  test("is not met more often than the back-off allows", async () => {
    const upstream = upstreamOf({ script: () => new Response("", { status: 503 }) });
    const link = linkTo(httpUpstream(upstream.url), 10_000);
    for (let n = 0; n < 4; n++) await echo(link).catch(() => {});
    expect(upstream.heard).toHaveLength(1);
    expect(await codeOf(echo(link))).toBe("upstream_unavailable");
  });

  test("holds nobody else up: another is called while it hangs, and it takes only so many calls", async () => {
    const slow = upstreamOf({ script: calls(() => new Promise<Response>(() => {})) });
    const link = linkTo(httpUpstream(slow.url, { callsMax: 3, timeoutMs: 400 }));
    const waiting = [1, 2, 3].map((n) => codeOf(echo(link, { caller: String(n) })));
    expect(await codeOf(echo(link))).toBe("upstream_busy");
    expect(await echo(linkTo(httpUpstream(upstreamOf().url)))).toEqual(said);
    expect(await Promise.all(waiting)).toEqual(Array(3).fill("upstream_timeout"));
  });

  test("is not waited for by a caller who leaves, and is told so in the older era", async () => {
    const upstream = upstreamOf({ era: "legacy", script: calls(() => new Promise<Response>(() => {})) });
    const link = linkTo(httpUpstream(upstream.url));
    const caller = new AbortController();
    const call = echo(link, { signal: caller.signal });
    while (callsTo(upstream).length === 0) await Bun.sleep(5);
    caller.abort(new Error("gone"));
    await expect(call).rejects.toThrow("gone");
    await Bun.sleep(50);
    const last = upstream.heard.at(-1);
    expect(last?.method).toBe("notifications/cancelled");
    expect(last?.params.requestId).toBe(callsTo(upstream)[0]?.id as number);
  });

  test("may send a line of two gigabytes, which is never held", async () => {
    const piece = new Uint8Array(1 << 20).fill(0x78);
    const endless = (type: string) => () => {
      let left = 2_048;
      const body = new ReadableStream({
        pull: (controller) => (left-- > 0 ? controller.enqueue(piece) : controller.close()),
      });
      return new Response(body, { headers: { "content-type": type } });
    };
    for (const type of ["application/json", "text/event-stream"]) {
      const link = linkTo(httpUpstream(upstreamOf({ script: calls(endless(type)) }).url));
      Bun.gc(true);
      const before = process.memoryUsage().rss;
      expect(await codeOf(echo(link))).toBe("result_too_large");
      expect(process.memoryUsage().rss - before).toBeLessThan(20 << 20);
    }
  });

  test("cannot have one response taken for the answer to a later call", async () => {
    const body = (id: number, text: string) =>
      JSON.stringify({ jsonrpc: "2.0", id, result: textResult(text) });
    const response = (text: string) =>
      `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
    const discovery = (id: number) =>
      JSON.stringify({ jsonrpc: "2.0", id, result: { supportedVersions: ["2026-07-28"] } });
    const headless = (text: string) =>
      response(text).replace(/content-length: \d+/, "transfer-encoding: chunked");
    const chunked = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n0\r\n\r\n`;
    const tricks: ((id: number) => string)[] = [
      (id) => response(body(id, "mine")) + response(body(id + 1, "slipped in")) + response(body(id, "again")),
      // One length for the client, another for whoever believes the chunks.
      (id) =>
        response(body(id, "mine")).replace("content-length", "transfer-encoding: chunked\r\ncontent-length"),
      (id) => headless(chunked(body(id, "mine")) + response(body(id, "slipped in"))),
      (id) =>
        response(body(id, "mine")).replace(/content-length: \d+/, "content-length: 5\r\ncontent-length: 500"),
      (id) => response(body(id, "mine")).replace(/content-length: (\d+)/, "content-length: 1$1"),
    ];
    for (const trick of tricks) {
      const raw = rawUpstream(({ id, method }) => [
        method === "server/discover" ? response(discovery(id)) : trick(id),
      ]);
      open.push(raw);
      const link = linkTo(httpUpstream(raw.url, { timeoutMs: 200 }));
      for (let n = 0; n < 10; n++) {
        const answer = await echo(link).catch((error: Failure) => error.code);
        if (typeof answer === "string") expect(answer).toMatch(/^upstream_/);
        else expect(answer).toMatchObject({ result: textResult("mine") });
      }
    }
  });

  test("cannot lead the gateway to where the operator did not send it", async () => {
    const link = linkTo(httpUpstream("http://169.254.169.254/mcp"));
    expect(await codeOf(echo(link))).toBe("upstream_unavailable");
    expect(await codeOf(echo(linkTo(httpUpstream("http://10.1.2.3/mcp"))))).toBe("upstream_unavailable");
  });
});

describe("servers made with the official libraries", () => {
  const add = { a: z.number(), b: z.number() };
  const sum = ({ a, b }: { a: number; b: number }) => ({
    content: [{ type: "text" as const, text: String(a + b) }],
  });
  const serve = (fetch: (request: Request) => Promise<Response>): string => {
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", idleTimeout: 0, fetch });
    open.push({ close: () => server.stop(true) });
    return `http://127.0.0.1:${server.port}/mcp`;
  };
  const expectSum = async (url: string, era: string) => {
    const link = linkTo(httpUpstream(url));
    expect(await link.list(new AbortController().signal)).toMatchObject([{ name: "add" }]);
    expect(await link.call("add", { a: 1, b: 2 }, asking())).toMatchObject({ result: textResult("3") });
    expect(link.status().era as string).toBe(era);
    await link.close();
  };

  test("are listed and called: the one of 2026-07-28", async () => {
    const handler = createMcpHandler(() => {
      const server = new ModernServer({ name: "two", version: "1" });
      server.registerTool("add", { inputSchema: z.object(add) }, async (args) => sum(args));
      return server;
    });
    await expectSum(
      serve((request) => handler.fetch(request)),
      "modern",
    );
  });

  test("are listed and called: the one before, with sessions and streams", async () => {
    const sessions = new Map<string, WebStandardStreamableHTTPServerTransport>();
    const url = serve(async (request) => {
      const known = sessions.get(request.headers.get("mcp-session-id") ?? "");
      if (known !== undefined) return await known.handleRequest(request);
      const transport = new WebStandardStreamableHTTPServerTransport({
        sessionIdGenerator: () => crypto.randomUUID(),
        onsessioninitialized: (id) => void sessions.set(id, transport),
        onsessionclosed: (id) => void sessions.delete(id),
      });
      const server = new LegacyServer({ name: "one", version: "1" });
      server.registerTool("add", { inputSchema: add }, async (args) => sum(args));
      await server.connect(transport as never);
      return await transport.handleRequest(request);
    });
    await expectSum(url, "legacy");
    expect(sessions.size).toBe(0);
  });
});

test("a list that never ends is stopped", async () => {
  let page = 0;
  const endless = (next: () => string) => (heard: Heard) =>
    heard.method === "tools/list" ? rpcResult(heard.id, { tools: [], nextCursor: next() }) : null;
  for (const next of [() => "same", () => `page ${page++}`]) {
    const link = linkTo(httpUpstream(upstreamOf({ script: endless(next) }).url));
    expect(await codeOf(link.list(new AbortController().signal))).toBe("upstream_failed");
  }
  expect(page).toBeLessThan(150);
});

test("whatever a server says, a call ends in an answer or in one of the codes", async () => {
  let body: string | Uint8Array = "";
  let type = "";
  let status = 200;
  const script = calls(() => new Response(body as string, { status, headers: { "content-type": type } }));
  const upstream = upstreamOf({ script });
  const link = linkTo(httpUpstream(upstream.url), 1);
  const bodies = fc.oneof(fc.json(), fc.string(), fc.uint8Array());
  const types = fc.constantFrom("application/json", "text/event-stream", "text/plain");
  await fc.assert(
    fc.asyncProperty(bodies, types, fc.constantFrom(200, 400, 404), async (...given) => {
      [body, type, status] = given;
      expect(await codeOf(echo(link))).toMatch(/^(upstream_|result_too_large)/);
    }),
    { numRuns: 200 },
  );
});
