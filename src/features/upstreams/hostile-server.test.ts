/** What a server can do to the gateway, and what one caller can do to the others through a server. */
import { afterEach, describe, expect, test } from "bun:test";
import { systemClock } from "../../platform/clock.ts";
import type { UpstreamConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { createGuardedFetch } from "../../platform/guarded-fetch.ts";
import { silentLog } from "../../platform/log.ts";
import {
  commandUpstream,
  echoTool,
  eventStream,
  type Heard,
  httpUpstream,
  rpcResult,
  type ScriptedUpstream,
  startUpstream,
  textResult,
  type UpstreamOptions,
} from "../../testing/mcp-upstreams.ts";
import type { Link } from "./link.ts";
import { sortOut, sortOutInTurns } from "./names.ts";
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
const signal = () => new AbortController().signal;
const call = (link: Link, caller: string, args: Record<string, unknown> = {}, name = "echo") =>
  link.call(name, args, { caller, signal: signal(), resultBytesMax: 1_048_576, traceparent: null });
const said = { kind: "result", isError: false } as const;
const failureOf = async (promise: Promise<unknown>): Promise<Failure> => {
  const error = await promise.then(
    () => new Error("it did not fail"),
    (reason: unknown) => reason,
  );
  if (error instanceof Failure) return error;
  throw error;
};
const codeOf = async (promise: Promise<unknown>): Promise<string> => (await failureOf(promise)).code;
const argsOf = ({ params }: Heard) => (params.arguments ?? {}) as Record<string, unknown>;
const count = (upstream: ScriptedUpstream, method: string) =>
  upstream.heard.filter((one) => one.method === method).length;

/** The longest time that nothing else had a turn. */
async function longestTurn(run: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let at = performance.now();
  const look = () => {
    const now = performance.now();
    longest = Math.max(longest, now - at);
    at = now;
  };
  const timer = setInterval(look, 5);
  await run();
  look();
  clearInterval(timer);
  return longest;
}

describe("a server that answers a call with a flood", () => {
  const answering = (parts: (heard: Heard) => (object | string)[]): ScriptedUpstream =>
    upstreamOf({ script: (heard) => (heard.method === "tools/call" ? eventStream(parts(heard)) : null) });
  const ping = { jsonrpc: "2.0", id: 1, method: "ping" };
  const notice = { jsonrpc: "2.0", method: "notifications/message", params: {} };
  const result = ({ id }: Heard) => ({ jsonrpc: "2.0", id, result: textResult("x") });

  test("of pings is answered a few of them, one after the other, and no more", async () => {
    const some = answering((heard) => [...Array(16).fill(ping), result(heard)]);
    expect(await call(linkTo(httpUpstream(some.url)), "one")).toMatchObject(said);
    const upstream = answering((heard) => [...Array(20_000).fill(ping), result(heard)]);
    expect((await failureOf(call(linkTo(httpUpstream(upstream.url)), "one"))).message).toContain("pinged");
    await Bun.sleep(100);
    expect(some.heard.length).toBeLessThanOrEqual(2 + 16);
    expect(upstream.heard.length).toBeLessThanOrEqual(2 + 16);
  });

  test("of notices is left after a thousand", async () => {
    const some = answering((heard) => [...Array(1_000).fill(notice), result(heard)]);
    expect(await call(linkTo(httpUpstream(some.url)), "one")).toMatchObject(said);
    const link = linkTo(httpUpstream(answering(() => Array(100_000).fill(notice)).url));
    expect((await failureOf(call(link, "one"))).message).toContain("more than 1000 messages");
  });

  test("of empty lines or comments holds nobody else up", async () => {
    for (const line of ["\r", "\n", ":\n", "data\n"]) {
      const link = linkTo(httpUpstream(answering(() => [line.repeat((8 << 20) / line.length)]).url));
      let code = "";
      const longest = await longestTurn(async () => (code = await codeOf(call(link, "one"))));
      expect(code).toBe("result_too_large");
      expect(longest).toBeLessThan(750);
    }
  });
});

describe("a list that is too much", () => {
  const listing = (page: (id: unknown, at: number) => Response): ScriptedUpstream =>
    upstreamOf({
      script: ({ method, id, params }) =>
        method === "tools/list" ? page(id, Number(params.cursor ?? 0)) : null,
    });

  test("by what is no tool is left after one page", async () => {
    const upstream = listing((id, at) =>
      rpcResult(id, { tools: Array(100_000).fill(1), nextCursor: String(at + 1) }),
    );
    const { message } = await failureOf(linkTo(httpUpstream(upstream.url)).list(signal()));
    expect(message).toContain("more than 2000 tools");
    expect(count(upstream, "tools/list")).toBe(1);
  });

  test("by its bytes is left before there are many of them", async () => {
    const description = "x".repeat(100_000);
    const upstream = listing((id, at) =>
      rpcResult(id, {
        tools: Array.from({ length: 20 }, (_, n) => ({ ...echoTool, name: `t${at}_${n}`, description })),
        nextCursor: String(at + 1),
      }),
    );
    const { message } = await failureOf(linkTo(httpUpstream(upstream.url)).list(signal()));
    expect(message).toContain("bytes of tools");
    expect(count(upstream, "tools/list")).toBeLessThanOrEqual(5);
  });

  test("is sorted out in turns, and what cannot be offered is not looked into", async () => {
    const properties = Object.fromEntries(
      Array.from({ length: 4_000 }, (_, n) => [`p${n}`, { type: "string" }]),
    );
    const large = (name: string) => ({ name, inputSchema: { type: "object", properties } });
    const list = Array.from({ length: 80 }, (_, n) => large(`t${n}`));
    const began = performance.now();
    const { tools, refused } = sortOut("a", list, (value) => value);
    expect([tools.size, refused.length]).toEqual([0, 80]);
    expect(performance.now() - began).toBeLessThan(1_500);
    const small = Array.from({ length: 2_000 }, (_, n) => ({
      ...echoTool,
      name: `t${n}`,
      title: "x".repeat(3_000),
    }));
    let sorted = { tools: new Map() as ReadonlyMap<string, unknown> };
    const longest = await longestTurn(async () => {
      sorted = await sortOutInTurns("a", small, (value) => value);
    });
    expect(sorted.tools.size).toBe(512);
    expect(longest).toBeLessThan(750);
  });

  test("a tool that is not valid is not told with half a secret", () => {
    const secret = "very-secret-bearer";
    const at = { properties: { [`${"y".repeat(60)}${secret}`]: true } };
    const tools = [
      { name: `${"x".repeat(120)}${secret}`, inputSchema: {} },
      { name: "t", inputSchema: { type: "object", ...at } },
    ];
    const { refused } = sortOut("a", tools, (value) =>
      typeof value === "string" ? (value.replaceAll(secret, "[redacted]") as never) : value,
    );
    expect(refused[0]?.tool).toContain("x".repeat(120));
    expect(refused[1]?.reason).toContain("[red");
    expect(JSON.stringify(refused)).not.toContain("very");
  });
});

describe("what one caller does to a server", () => {
  /** Answers as the arguments say. */
  const obedient = (more: UpstreamOptions = {}) =>
    upstreamOf({
      script: async (heard) => {
        if (heard.method !== "tools/call") return null;
        const { ms = 0, status = 200 } = argsOf(heard);
        await Bun.sleep(Number(ms));
        return status === 200 ? null : new Response("", { status: Number(status) });
      },
      ...more,
    });

  test("makes it refused to that caller alone, however often it fails", async () => {
    const link = linkTo(httpUpstream(obedient().url), 10_000);
    for (let n = 0; n < 5; n++)
      expect(await codeOf(call(link, "a", { status: 500 }))).toBe("upstream_failed");
    expect((await failureOf(call(link, "a"))).message).toContain("for this caller");
    expect(await call(link, "b")).toMatchObject(said);
    // Together with one other caller it is no different.
    for (let n = 0; n < 4; n++) await codeOf(call(link, "c", { status: 500 }));
    expect(await call(link, "b")).toMatchObject(said);
  });

  test("takes no more than half of its calls", async () => {
    const link = linkTo(httpUpstream(obedient().url, { callsMax: 4 }));
    await call(link, "b");
    const slow = [1, 2].map(() => call(link, "a", { ms: 300 }));
    expect(await codeOf(call(link, "a"))).toBe("upstream_busy");
    expect(await call(link, "b")).toMatchObject(said);
    for (const answer of await Promise.all(slow)) expect(answer).toMatchObject(said);
    expect(await call(link, "a")).toMatchObject(said);
  });

  test("neither cuts another's call nor ends its command, when all of it is too slow", async () => {
    const link = linkTo(commandUpstream(["modern"], { timeoutMs: 1_000 }), 10_000);
    await call(link, "b");
    const slow = Array.from({ length: 5 }, () => codeOf(call(link, "a", { ms: 60_000 }, "late")));
    await Bun.sleep(600);
    const beside = call(link, "b", { ms: 800 }, "late");
    expect(await Promise.all(slow)).toEqual(Array(5).fill("upstream_timeout"));
    expect(await beside).toMatchObject(said);
    expect(await call(link, "b")).toMatchObject(said);
    expect(await codeOf(call(link, "a"))).toBe("upstream_unavailable");
  });
});

describe("a server that fails several callers", () => {
  const failing = () =>
    upstreamOf({
      script: ({ method }) => (method === "tools/call" ? new Response("", { status: 503 }) : null),
    });

  test("is refused to all, and asked for its list before it is called again", async () => {
    const upstream = failing();
    const link = linkTo(httpUpstream(upstream.url), 60);
    for (const caller of ["a", "a", "b", "b", "c"]) await codeOf(call(link, caller));
    expect((await failureOf(call(link, "d"))).message).toContain("left alone");
    expect(count(upstream, "tools/call")).toBe(5);
    upstream.script = null;
    await Bun.sleep(320);
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, (_, n) => call(link, `e${n}`)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(count(upstream, "tools/list")).toBe(1);
    expect(await call(link, "d")).toMatchObject(said);
  });

  test("stays refused while it does not list, whoever calls", async () => {
    const upstream = failing();
    const link = linkTo(httpUpstream(upstream.url), 40);
    for (const caller of ["a", "a", "b", "b", "c"]) await codeOf(call(link, caller));
    upstream.script = () => new Response("", { status: 503 });
    await Bun.sleep(220);
    expect(await codeOf(call(link, "d"))).toBe("upstream_unavailable");
    expect(await codeOf(call(link, "d"))).toBe("upstream_unavailable");
    expect(count(upstream, "tools/call")).toBe(5);
  });

  test("does not lose the calls under way when it is met anew", async () => {
    const link = linkTo(commandUpstream(["modern"], { timeoutMs: 1_500 }), 40);
    await call(link, "d");
    const long = call(link, "d", { ms: 1_200 }, "late");
    for (const caller of ["a", "a", "b", "b", "c"]) void codeOf(call(link, caller, {}, "hang"));
    await Bun.sleep(1_000);
    expect(await long).toMatchObject(said);
  });
});

describe("a command that floods the gateway", () => {
  const notice = `${JSON.stringify({ jsonrpc: "2.0", method: "notifications/progress", params: {} })}\n`;
  for (const [what, text] of [
    ["notices", notice],
    ["late answers", '{"jsonrpc":"2.0","id":1,"result":{}}\n'],
    ["pings", '{"jsonrpc":"2.0","id":7,"method":"ping"}\n'],
    ["empty lines", "\n"],
    ["lines of nothing", "\r\n"],
  ] as const)
    test(`with ${what} is ended, and nobody else waits`, async () => {
      const link = linkTo(commandUpstream(["modern"]));
      await call(link, "one");
      let failure: Failure | null = null;
      const longest = await longestTurn(async () => {
        failure = await failureOf(call(link, "one", { text, times: 1_000, ms: 20_000 }, "flood"));
      });
      expect(failure).toMatchObject({ code: "upstream_failed" });
      expect(String(failure)).toContain("nobody had asked for");
      expect(longest).toBeLessThan(1_000);
      await Bun.sleep(50);
      expect(await call(link, "one")).toMatchObject(said);
    });

  test("with a few thousand notices at once is borne", async () => {
    const link = linkTo(commandUpstream(["modern"]));
    expect(await call(link, "one", { text: notice.repeat(4), times: 1_000, ms: 0 }, "flood")).toMatchObject(
      said,
    );
  });
});

describe("when the configuration changes", () => {
  test("calls under way come to their end before the link is closed, and no more are taken", async () => {
    const slow = upstreamOf({
      script: async ({ method }) => {
        if (method === "tools/call") await Bun.sleep(300);
        return null;
      },
    });
    for (const config of [commandUpstream(["modern"]), httpUpstream(slow.url)]) {
      const link = linkTo(config);
      await call(link, "one");
      const long = call(link, "one", { ms: 300 }, "late");
      await Bun.sleep(50);
      const retired = link.retire();
      expect(await codeOf(call(link, "one"))).toBe("upstream_unavailable");
      expect(await long).toMatchObject(said);
      await retired;
    }
  });

  test("a call that was sent and is cut all the same is not said to be safe to repeat", async () => {
    const link = linkTo(commandUpstream(["modern"]));
    await call(link, "one");
    const failed = failureOf(call(link, "one", {}, "hang"));
    await Bun.sleep(50);
    void link.retire();
    await link.close();
    expect(await failed).toMatchObject({ code: "upstream_failed" });
    expect((await failed).message).toContain("is not known");
  });

  test("limits hold from then on, and the way stays", async () => {
    const upstream = upstreamOf();
    const link = linkTo(httpUpstream(upstream.url));
    await call(link, "one");
    link.adopt({ timeoutMs: 100, resultBytesMax: 10, callsMax: 2 });
    expect(await codeOf(call(link, "one"))).toBe("result_too_large");
    expect(count(upstream, "server/discover")).toBe(1);
  });
});
