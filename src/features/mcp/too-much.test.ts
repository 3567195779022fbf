/**
 * What is too large, too slow or too late: no message may hold up the others, no answer leaves larger than it may, and
 * none reaches a credential that ended while it was made.
 */
import { afterAll, describe, expect, test } from "bun:test";
import net from "node:net";
import { z } from "zod";
import type { ProtocolTool } from "../../platform/mcp-sources.ts";
import { readTool, type Tool } from "../../platform/tool.ts";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { callTool, legacyRpc, legacyVersion, modernVersion, type Rpc, rpc } from "../../testing/mcp.ts";
import { linesOf } from "../../testing/mcp-log.ts";
import { scriptedLink, tool } from "../../testing/scripted-link.ts";
import { Bodies } from "./bodies.ts";
import { callTurns } from "./turns.ts";

const about = { title: "T", description: "D" };
let begun = Promise.withResolvers<AbortSignal>();
let [atWork, mostAtWork] = [0, 0];
const own: Tool[] = [
  readTool({
    ...about,
    name: "look",
    scopes: ["mcp:read"],
    input: z.object({ ms: z.number() }),
    output: z.object({ secret: z.string() }),
    run: async ({ asked: { ms }, signal }) => {
      begun.resolve(signal);
      atWork += 1;
      mostAtWork = Math.max(mostAtWork, atWork);
      await Bun.sleep(ms);
      atWork -= 1;
      return { secret: "SECRET" };
    },
  }),
];
const boundless: ProtocolTool = {
  name: "boundless",
  scopes: ["mcp:read"],
  writes: false,
  definition: { name: "boundless", inputSchema: { type: "object" } },
  answer: async () => ({ content: [] }),
};
const link = scriptedLink(tool("find"));
const gateway = await startGateway({
  yaml: `limits: { mcp: { requests_per_minute: null } }
mcp: { upstreams: { notes: { url: "https://notes.example/mcp", pin: first_use } } }
`,
  mcpExtras: { own, tools: [boundless] },
  openLink: () => link,
});
afterAll(() => gateway.close());
const { robo } = gateway;

const usual = { "content-type": "application/json", accept: "application/json, text/event-stream" };
const legacy = { ...usual, "mcp-protocol-version": legacyVersion };
const modern = { ...usual, "mcp-protocol-version": modernVersion };

type Answered = {
  status: number;
  id: unknown;
  error: { code: number; message: string; data?: { code?: string } } | undefined;
  bytes: number;
  request: string;
};

async function post(body: string, headers: Record<string, string> = legacy): Promise<Answered> {
  const response = await robo.fetch("/mcp", { method: "POST", headers, body });
  const text = await response.text();
  const { id, error } = JSON.parse(text || "{}") as Pick<Answered, "id" | "error">;
  const request = response.headers.get("x-request-id") ?? "";
  return { status: response.status, id, error, bytes: text.length, request };
}

const messageOf = (method: string, params: unknown, id: unknown = 7) =>
  JSON.stringify({ jsonrpc: "2.0", id, method, params });
const envelope = (capabilities: unknown) => ({
  "io.modelcontextprotocol/protocolVersion": modernVersion,
  "io.modelcontextprotocol/clientCapabilities": capabilities,
});
const nested = (count: number, depth: number) =>
  Array.from({ length: count }, () => JSON.parse("[".repeat(depth) + "]".repeat(depth)));
const named = (count: number, value: unknown) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, value]));
const client = { name: "t", version: "1" };

/** How long nothing else could be done meanwhile. */
async function standstill(work: () => Promise<unknown>): Promise<number> {
  let [longest, last] = [0, performance.now()];
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  }, 2);
  await work();
  await Bun.sleep(5);
  clearInterval(timer);
  return longest;
}

describe("a message that is too large", () => {
  const icons = (count: number) => ({
    protocolVersion: legacyVersion,
    capabilities: {},
    clientInfo: { ...client, icons: Array(count).fill(0) },
  });
  const deep = { experimental: { a: { v: nested(4_400, 40) } } };
  const cases: [string, string, Record<string, string>][] = [
    ["its id", messageOf("ping", {}, "i".repeat(257)), legacy],
    ["what a client can do", messageOf("tools/list", { _meta: envelope(deep) }), modern],
    [
      "as much of it at the beginning of a session",
      messageOf("initialize", { ...icons(0), capabilities: deep }),
      legacy,
    ],
    ["the pictures of a client", messageOf("initialize", icons(90_000)), legacy],
    [
      "what is known while something is completed",
      messageOf("completion/complete", {
        ref: { type: "ref/prompt", name: "plan_from_spec" },
        argument: { name: "session_id", value: "" },
        context: { arguments: named(900, [1, 2, 3]) },
      }),
      legacy,
    ],
    [
      "an object in a tool's arguments",
      messageOf("tools/call", { name: "whoami", arguments: named(1_001, 1) }),
      legacy,
    ],
    [
      "a notification",
      JSON.stringify({ jsonrpc: "2.0", method: "notifications/x", params: { v: nested(4_400, 20) } }),
      legacy,
    ],
    [
      "an answer to nothing",
      JSON.stringify({ jsonrpc: "2.0", id: 1, result: { v: nested(4_400, 20) } }),
      legacy,
    ],
  ];

  for (const [what, body, headers] of cases)
    test(`is refused at once and written down: ${what}`, async () => {
      await post(messageOf("ping", {}));
      let answered: Answered | undefined;
      const ms = await standstill(async () => {
        answered = await post(body, headers);
      });
      expect(answered).toMatchObject({ status: 400, error: { code: -32_600 } });
      expect(answered?.bytes).toBeLessThan(1_000);
      expect(ms).toBeLessThan(500);
      expect(await linesOf(gateway, answered?.request ?? "")).toMatchObject([{ verdict: "malformed" }]);
    });

  test("may hold what is large for good reason: a list of tasks, and a thousand resources to hear of", async () => {
    const tasks = Array.from({ length: 10_000 }, (_, at) => ({ dedupe_key: `k${at}`, title: `t${at}` }));
    const params = { name: "task_upsert", arguments: { session_id: "ses_none", mode: "replace", tasks } };
    expect((await post(messageOf("tools/call", params))).status).toBe(200);
    const uris = Array.from({ length: 1_000 }, (_, at) => `specgate://tasks/${String(at).padStart(40, "0")}`);
    const _meta = envelope({});
    const notifications = { resourceSubscriptions: uris };
    const headers = { ...modern, "mcp-method": "subscriptions/listen" };
    const leaving = new AbortController();
    const body = messageOf("subscriptions/listen", { notifications, _meta });
    const init = { method: "POST", headers, body, signal: leaving.signal };
    const response = await robo.fetch("/mcp", init);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    leaving.abort();
  });

  test("tells its first mistake alone where the protocol's library reads it", async () => {
    const { status, id, error, request, bytes } = await post(messageOf("initialize", icons(1_500)));
    expect({ status, id, code: error?.code }).toEqual({ status: 200, id: 7, code: -32_602 });
    expect(error?.message).toContain("clientInfo.icons.0");
    expect(bytes).toBeLessThan(500);
    expect(await linesOf(gateway, request)).toMatchObject([
      { verdict: "malformed", outcome: { transport: 200, rpc: -32_602 } },
    ]);
    const completing = await rpc(robo, "completion/complete", {
      ref: { type: "ref/prompt", name: "plan_from_spec" },
      argument: { name: "session_id", value: "" },
      context: { arguments: named(500, 1) },
    });
    expect(completing.error).toMatchObject({ code: -32_602 });
    expect(completing.error?.message.length).toBeLessThan(300);
  });

  test("is answered under its own id where the library alone refuses it", async () => {
    const wrong = [
      { ...usual, "mcp-protocol-version": "1999-01-01" },
      { ...legacy, accept: "application/json" },
    ];
    for (const headers of wrong) {
      const { status, id } = await post(messageOf("tools/list", {}), headers);
      expect([status >= 400, id]).toEqual([true, 7]);
    }
    const _meta = { ...envelope({}), "io.modelcontextprotocol/protocolVersion": "2027-01-01" };
    const headers = { ...modern, "mcp-protocol-version": "2027-01-01" };
    expect(await post(messageOf("tools/list", { _meta }), headers)).toMatchObject({
      status: 400,
      id: 7,
      error: { code: -32_022, data: { supported: [modernVersion], requested: "2027-01-01" } },
    });
  });
});

test("goes to one path alone, since rules of others go by it", async () => {
  const body = messageOf("tools/list", {});
  const statusOf = async (path: string) => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const socket = net.connect(Number(new URL(gateway.url).port), "127.0.0.1");
    socket.on("data", (bytes) => resolve(String(bytes).slice(9, 12)));
    const headers = { ...legacy, host: "127.0.0.1", authorization: `Bearer ${robo.bearer}` };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`POST ${path} HTTP/1.1\r\n${lines.join("")}content-length: ${body.length}\r\n\r\n${body}`);
    return promise.finally(() => socket.destroy());
  };
  for (const [path, status] of [
    ["/mcp", "200"],
    ["//mcp", "404"],
    ["/mcp/", "404"],
  ] as const)
    expect([path, await statusOf(path)]).toEqual([path, status]);
});

test("names its tool by a string", async () => {
  for (const params of [{}, { name: { a: 1 } }, { name: null }])
    expect(await post(messageOf("tools/call", params))).toMatchObject({
      id: 7,
      error: { code: -32_602, message: "`name` must be a string." },
    });
});

describe("a body", () => {
  const chunked = (bytes: number) =>
    `POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n` +
    `authorization: Bearer ${robo.bearer}\r\naccept: application/json, text/event-stream\r\n\r\n` +
    `${bytes.toString(16)}\r\n${" ".repeat(bytes)}\r\n`;

  test("that never ends takes room from nobody else, and from its sender no more than a share", async () => {
    const { port } = new URL(gateway.url);
    const answers: string[] = [];
    const sockets = Array.from({ length: 24 }, () => {
      const socket = net.connect(Number(port), "127.0.0.1", () => socket.write(chunked(1_000_000)));
      socket.on("data", (bytes) => answers.push(String(bytes).slice(9, 12)));
      socket.on("error", () => undefined);
      return socket;
    });
    try {
      const deadline = performance.now() + 5_000;
      while (answers.length < 8 && performance.now() < deadline) await Bun.sleep(20);
      // Sixteen of a million bytes fit.
      expect(answers.slice(0, 8)).toEqual(Array(8).fill("503"));
      expect((await callTool(gateway.mallory, "whoami")).status).toBe(200);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });

  test("has a while to come, and gives its room back", async () => {
    const bodies = new Bodies({ roomBytesMax: 300, shareBytesMax: 200, millisecondsMax: 100 });
    let finish = () => {};
    const slow = (bytes: number) =>
      new Request("http://x/", {
        method: "POST",
        body: new ReadableStream({
          start(controller) {
            controller.enqueue(new Uint8Array(bytes));
            finish = () => controller.close();
          },
        }),
      });
    const codeOf = (reading: Promise<unknown>) =>
      reading.then(
        () => "read",
        ({ code }) => code,
      );
    const first = codeOf(bodies.read(slow(150), "a", 200));
    const endFirst = finish;
    await Bun.sleep(5);
    expect(await codeOf(bodies.read(slow(100), "a", 200))).toBe("unavailable");
    expect(await codeOf(bodies.read(slow(160), "b", 200))).toBe("unavailable");
    expect(await first).toBe("body_too_slow");
    endFirst();
    await Bun.sleep(5);
    const second = codeOf(bodies.read(slow(200), "a", 200));
    await Bun.sleep(5);
    finish();
    expect(await second).toBe("read");
  });
});

describe("many calls at once of one credential", () => {
  test("take their turn, and leave turns to others", async () => {
    const asking = Array.from({ length: 20 }, () => callTool(robo, "look", { ms: 400 }));
    await Bun.sleep(30);
    expect(atWork).toBeLessThanOrEqual(5);
    const from = performance.now();
    expect((await callTool(gateway.mallory, "look", { ms: 0 })).status).toBe(200);
    expect(performance.now() - from).toBeLessThan(400);
    // What takes nothing from anybody waits for nothing.
    expect((await callTool(robo, "notes__find")).status).toBe(200);
    expect((await rpc(robo, "tools/list")).status).toBe(200);
    expect(performance.now() - from).toBeLessThan(1_200);
    expect((await Promise.all(asking)).map(({ status }) => status)).toEqual(Array(20).fill(200));
    // Five of the one, and the other's.
    expect(mostAtWork).toBe(6);
  });

  test("wait in order, not for ever, and leave nothing behind", async () => {
    const turns = callTurns({ atOnce: 1, allAtOnce: 2, waitMs: 50 });
    const end = turns.take("a") as () => void;
    const order: string[] = [];
    const late = Promise.resolve(turns.take("a")).catch(({ code }) => code);
    const endOther = turns.take("b") as () => void;
    const third = Promise.resolve(turns.take("c")).then((endThird) => {
      order.push("c");
      endThird();
    });
    endOther();
    await third;
    expect(order).toEqual(["c"]);
    expect(await late).toBe("too_many_calls");
    const next = turns.take("a");
    expect(next).toBeInstanceOf(Promise);
    end();
    (await next)();
    for (const caller of ["a", "b"]) expect(turns.take(caller)).toBeFunction();
  });
});

describe("a credential that ends in mid-call", () => {
  async function newRunner(): Promise<Actor & { keyId: string }> {
    const scope = "mcp:read";
    const made = { name: "r", kind: "runner", projectId: robo.projectId, scope } as const;
    const { client_id } = await gateway.clients.create(localActor, made);
    const { key, id } = await gateway.keys.create(localActor, { owner: { clientId: client_id }, scope });
    return { ...gateway.as(key, client_id), keyId: id };
  }

  const speaks: [string, typeof rpc][] = [
    ["2026-07-28", rpc],
    ["2025-11-25", legacyRpc],
  ];
  for (const [era, speak] of speaks) {
    test(`hears nothing of what its tool answers, which is told to stop and written down (${era})`, async () => {
      const who = await newRunner();
      begun = Promise.withResolvers();
      const asking = speak(who, "tools/call", { name: "look", arguments: { ms: 300 } });
      const signal = await begun.promise;
      expect(signal.aborted).toBe(false);
      await gateway.keys.revoke(localActor, who.keyId);
      const answer = await asking;
      expect(signal.aborted).toBe(true);
      expect(answer.status).toBe(401);
      expect(JSON.stringify(answer)).not.toContain("SECRET");
      const line = { verdict: "allowed", method: "tools/call", outcome: { transport: 401, tool: "ok" } };
      expect(await linesOf(gateway, requestOf(answer))).toMatchObject([line]);
    });
  }

  test("has its call to an upstream cut", async () => {
    const who = await newRunner();
    const called = Promise.withResolvers<AbortSignal>();
    link.answer = (_name, _args, { signal }) => {
      called.resolve(signal);
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    };
    const asking = callTool(who, "notes__find");
    const signal = await called.promise;
    const from = performance.now();
    await gateway.keys.revoke(localActor, who.keyId);
    expect((await asking).status).toBe(401);
    expect(signal.aborted).toBe(true);
    expect(performance.now() - from).toBeLessThan(2_000);
  });
});

const requestOf = ({ headers }: Rpc) => headers.get("x-request-id") ?? "";
