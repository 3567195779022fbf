/**
 * What a policy, a rate, an ended credential, a full journal or a closing gateway makes of a request; and that each of
 * them, like each answer, is written down exactly once.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { z } from "zod";
import { audit } from "../../db/schema.ts";
import type { ProtocolTool } from "../../platform/mcp-sources.ts";
import { readTool, type Tool, writeTool } from "../../platform/tool.ts";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway, type TestGateway } from "../../testing/gateway.ts";
import { callTool, legacyRpc, type Rpc, rpc } from "../../testing/mcp.ts";
import { linesOf } from "../../testing/mcp-log.ts";
import { type ScriptedLink, scriptedLink, tool } from "../../testing/scripted-link.ts";
import { call, ok } from "../../testing/wire.ts";

let runs = 0;
const about = { title: "T", description: "D" };
const own: Tool[] = [
  readTool({
    ...about,
    name: "look",
    scopes: ["mcp:read"],
    input: z.object({ where: z.string().optional(), ms: z.number().optional() }),
    output: z.object({ runs: z.number() }),
    run: async ({ asked: { ms = 0 } }) => {
      await Bun.sleep(ms);
      runs += 1;
      return { runs };
    },
  }),
  writeTool({
    ...about,
    name: "make",
    scopes: ["mcp:write"],
    input: z.object({}),
    output: z.object({ runs: z.number() }),
    run: async () => ({ runs: ++runs }),
  }),
];
const talkative: ProtocolTool = {
  name: "talk",
  scopes: ["mcp:read"],
  writes: false,
  definition: { name: "talk", inputSchema: { type: "object" } },
  async answer(args, { mcpReq }) {
    await mcpReq.notify({ method: "notifications/progress", params: { progressToken: 1, progress: 1 } });
    if (args.fails === true) throw new Error("as it is");
    return { content: [{ type: "text", text: "said" }] };
  },
};
const yaml = `limits: { mcp: { requests_per_minute: null } }
mcp: { upstreams: { notes: { url: "https://notes.example/mcp", pin: first_use } } }
`;
const start = (link: ScriptedLink = scriptedLink()) =>
  startGateway({ yaml, mcpExtras: { own, tools: [talkative] }, openLink: () => link });

const link = scriptedLink(tool("find"), tool("write", { annotations: {} }));
const gateway = await start(link);
afterAll(() => gateway.close());
const { ada } = await gateway.people();
const { robo } = gateway;
const requestOf = ({ headers }: Rpc) => headers.get("x-request-id") ?? "";

async function newRunner(of: TestGateway = gateway): Promise<Actor & { keyId: string }> {
  const scope = "mcp:read mcp:write";
  const made = { name: "r", kind: "runner", projectId: of.robo.projectId, scope } as const;
  const client = await of.clients.create(localActor, made);
  const { key, id } = await of.keys.create(localActor, { owner: { clientId: client.client_id }, scope });
  return { ...of.as(key, client.client_id), keyId: id };
}

const setPolicy = (who: Actor, rules: unknown[]) =>
  call(ada, "PUT", `/mcp/policies/${encodeURIComponent(who.id)}`, { rules });

describe("a policy", () => {
  test("lets a tool be called so many times a minute, each rule by itself, and says when again", async () => {
    const who = await newRunner();
    await setPolicy(who, [
      { effect: "allow", tool: "look", requests_per_minute: 3 },
      { effect: "allow", tool: "whoami" },
    ]);
    const answers: Rpc[] = [];
    for (let at = 0; at < 5; at++)
      answers.push(
        await (at % 2 === 0 ? rpc : legacyRpc)(who, "tools/call", { name: "look", arguments: {} }),
      );
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429, 429]);
    const last = answers[4] as Rpc;
    expect(Number(last.headers.get("retry-after"))).toBeWithin(1, 61);
    expect(last).toMatchObject({ id: 1, error: { code: -32_000, data: { code: "rate_limit_exceeded" } } });
    expect((await callTool(who, "whoami")).status).toBe(200);
    const lines = await linesOf(gateway, requestOf(last));
    expect(lines).toMatchObject([
      { verdict: "rate_limited", tool: "look", outcome: { transport: 429, rpc: -32_000, tool: null } },
    ]);
  });

  test("that wants other arguments says so, and never what was sent", async () => {
    const who = await newRunner();
    await setPolicy(who, [
      { effect: "allow", tool: "look", args: [{ path: "where", op: "prefix", value: "/srv/" }] },
    ]);
    runs = 0;
    for (const speak of [rpc, legacyRpc]) {
      const answer = await speak(who, "tools/call", { name: "look", arguments: { where: "/etc/shadow" } });
      expect(answer).toMatchObject({
        status: 200,
        error: { code: -32_602, data: { code: "arguments_denied" } },
      });
      expect(answer.error?.message).toContain("arguments");
      expect(JSON.stringify(answer)).not.toContain("shadow");
      const lines = await linesOf(gateway, requestOf(answer));
      expect(lines).toMatchObject([{ verdict: "denied", tool: "look" }]);
      expect(JSON.stringify(lines)).not.toContain("shadow");
    }
    expect(runs).toBe(0);
    expect((await callTool(who, "look", { where: "/srv/x" })).result?.structuredContent).toEqual({ runs: 1 });
  });

  test("bounds what a tool answers below the gateway's own limit", async () => {
    const who = await newRunner();
    await setPolicy(who, [{ effect: "allow", tool: "**", result_bytes_max: 1_024 }]);
    const answer = await callTool(who, "whoami");
    expect(Buffer.byteLength(JSON.stringify(answer.result))).toBeLessThan(1_400);
  });

  test("makes the pages of resources smaller, and leaves none out", async () => {
    const who = await newRunner();
    const { id } = await ok<{ id: string }>(robo, "POST", `/projects/${robo.projectId}/sessions`, {
      title: "S",
    });
    const tasks = Array.from({ length: 60 }, (_, at) => ({ title: `Task ${at} ${"of many ".repeat(10)}` }));
    await ok(robo, "PUT", `/sessions/${id}/tasks`, { tasks });
    await setPolicy(who, [{ effect: "allow", tool: "**", result_bytes_max: 4_000 }]);
    const uris = new Set<string>();
    for (let cursor: string | undefined, pages = 0; pages === 0 || cursor !== undefined; pages++) {
      const { result } = await rpc(who, "resources/list", cursor === undefined ? {} : { cursor });
      for (const { uri } of (result?.resources ?? []) as { uri: string }[]) uris.add(uri);
      cursor = result?.nextCursor as string | undefined;
      if (pages > 100) throw new Error("it never ends");
    }
    expect([...uris].filter((uri) => uri.startsWith("specgate://tasks/"))).toHaveLength(60);
  });
});

describe("one line, and only one, is written for", () => {
  const line = async (answer: Rpc) => {
    const lines = await linesOf(gateway, requestOf(answer));
    expect(lines).toHaveLength(1);
    return lines[0];
  };

  test("each list, read, call, prompt and refusal, in both eras", async () => {
    for (const [speak, era] of [
      [rpc, "modern"],
      [legacyRpc, "legacy"],
    ] as const) {
      const listed = await speak(robo, "tools/list");
      expect(await line(listed)).toMatchObject({
        era,
        method: "tools/list",
        verdict: "allowed",
        tool: null,
        outcome: { transport: 200, rpc: null },
      });
      const called = await speak(robo, "tools/call", { name: "look", arguments: {} });
      const told = await line(called);
      expect(told).toMatchObject({
        era,
        verdict: "allowed",
        tool: "look",
        rule: expect.stringContaining("ceiling"),
        outcome: { transport: 200, rpc: null, tool: "ok" },
      });
      expect(told?.bytes_out).toBeGreaterThan(Buffer.byteLength(JSON.stringify(called.result)));
      expect(told?.bytes_in).toBeGreaterThan(50);
      expect(
        await line(await speak(robo, "tools/call", { name: "look", arguments: { x: 1 } })),
      ).toMatchObject({ verdict: "allowed", outcome: { tool: "error" } });
      expect(await line(await speak(robo, "tools/call", { name: "nothing", arguments: {} }))).toMatchObject({
        verdict: "unknown",
        tool: "nothing",
        outcome: { rpc: -32_602 },
      });
      for (const method of ["resources/list", "resources/templates/list", "prompts/list"])
        expect(await line(await speak(robo, method))).toMatchObject({ era, method, verdict: "allowed" });
      const missing = { uri: `specgate://tasks/tsk_${"0".repeat(32)}` };
      expect(await line(await speak(robo, "resources/read", missing))).toMatchObject({
        verdict: "unknown",
        tool: missing.uri,
      });
      expect(await line(await speak(robo, "prompts/get", { name: "none" }))).toMatchObject({
        verdict: "unknown",
        tool: "none",
      });
      expect(await line(await speak(robo, "no/such/method"))).toMatchObject({
        verdict: "unknown",
        outcome: { rpc: -32_601 },
      });
      expect(await line(await speak(robo, "tools/list", { cursor: "x" }))).toMatchObject({
        verdict: "malformed",
        outcome: { rpc: -32_602 },
      });
    }
  });

  test("a tool that speaks before it answers", async () => {
    for (const speak of [rpc, legacyRpc])
      for (const fails of [false, true]) {
        const answer = await speak(robo, "tools/call", {
          name: "talk",
          arguments: { fails },
          _meta: { progressToken: 1 },
        });
        expect(answer.headers.get("content-type")).toBe("text/event-stream");
        expect(await line(answer)).toMatchObject({
          tool: "talk",
          verdict: "allowed",
          outcome: { tool: fails ? "error" : "ok" },
        });
      }
  });

  test("another server's tool, with which one and by which pin", async () => {
    while ((await callTool(robo, "notes__find")).error !== undefined) await Bun.sleep(20);
    const answer = await callTool(robo, "notes__find", { query: "x" });
    expect(answer.result?.content).toEqual([{ type: "text", text: "find" }]);
    expect(await line(answer)).toMatchObject({
      tool: "notes__find",
      upstream: "notes",
      pin: expect.any(String),
    });
    link.answer = () => ({ kind: "error", code: -32_021, message: "bad" });
    const failed = await callTool(robo, "notes__find");
    expect(failed).toMatchObject({ status: 200, error: { code: -32_603, message: "bad" } });
    expect(await line(failed)).toMatchObject({
      verdict: "allowed",
      outcome: { rpc: -32_603, tool: "error" },
    });
    link.answer = () => ({ kind: "result", isError: true, result: { content: [] } });
    expect((await callTool(robo, "notes__find")).result).toMatchObject({ isError: true });
  });

  test("another server's question, which is not passed on", async () => {
    const question = {
      method: "elicitation/create",
      params: { message: "Your password?", requestedSchema: { type: "object", properties: {} } },
    };
    link.answer = () => ({
      kind: "result",
      isError: false,
      result: { resultType: "input_required", inputRequests: { q: question } },
    });
    for (const speak of [rpc, legacyRpc]) {
      const answer = await speak(robo, "tools/call", { name: "notes__find", arguments: {} });
      expect(answer.result).toMatchObject({ isError: true });
      expect(JSON.stringify(answer)).not.toContain("password");
      expect(await line(answer)).toMatchObject({ outcome: { tool: "error" } });
    }
  });

  test("another server's result that is none, as the error that it is", async () => {
    link.answer = () => ({ kind: "result", isError: false, result: { content: "no list" } });
    const answer = await callTool(robo, "notes__find");
    expect(answer.error?.code).toBe(-32_602);
    expect(await line(answer)).toMatchObject({ outcome: { rpc: -32_602, tool: "error" } });
  });

  test("and a row before and after another server's tool that changes something", async () => {
    link.answer = () => ({ kind: "result", isError: false, result: { content: [] } });
    const request = requestOf(await callTool(robo, "notes__write"));
    expect(link.calls).toContain("write");
    const rows = async () =>
      (
        await gateway.database.db.select().from(audit).where(eq(audit.requestId, request)).orderBy(audit.id)
      ).map(({ action }) => action);
    for (let tries = 0; tries < 100 && (await rows()).length < 2; tries++) await Bun.sleep(20);
    expect(await rows()).toEqual(["mcp.intended", "mcp.called"]);
  });

  test("nothing at all where nothing was asked", async () => {
    for (const [method, params] of [
      [
        "initialize",
        { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } },
      ],
      ["ping", {}],
    ] as const) {
      const answer = await legacyRpc(robo, method, params);
      expect(answer.error).toBeUndefined();
      await Bun.sleep(100);
      const { dir } = gateway;
      const text = await Array.fromAsync(new Bun.Glob("mcp-*").scan(dir.file("audit")), (name) =>
        Bun.file(dir.file(`audit/${name}`)).text(),
      );
      expect(text.join("")).not.toContain(requestOf(answer));
    }
  });
});

test("a credential that ends while its message is still coming does nothing any more", async () => {
  const who = await newRunner();
  runs = 0;
  const message = JSON.stringify({
    jsonrpc: "2.0",
    id: 1,
    method: "tools/call",
    params: { name: "make", arguments: {} },
  });
  const gate = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      controller.enqueue(new TextEncoder().encode(message.slice(0, 40)));
      await gate.promise;
      controller.enqueue(new TextEncoder().encode(message.slice(40)));
      controller.close();
    },
  });
  const headers = {
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
  };
  const asking = who.fetch("/mcp", { method: "POST", headers, body, duplex: "half" } as RequestInit);
  await Bun.sleep(150);
  await gateway.keys.revoke(localActor, who.keyId);
  await Bun.sleep(150);
  gate.resolve();
  const response = await asking;
  expect([response.status, runs]).toEqual([401, 0]);
  expect(response.headers.get("www-authenticate")).toContain("resource_metadata=");
});

test("a gateway that cannot write down what it answers does not answer", async () => {
  const other = await start();
  const who = await newRunner(other);
  expect((await callTool(who, "look")).status).toBe(200);
  await other.parts.ledger.close();
  for (const speak of [rpc, legacyRpc])
    for (const [method, params] of [
      ["tools/list", {}],
      ["tools/call", { name: "look", arguments: {} }],
      ["tools/call", { name: "nothing", arguments: {} }],
      ["prompts/list", {}],
    ] as const) {
      const answer = await speak(who, method, params);
      expect([method, answer]).toMatchObject([
        method,
        { status: 503, id: 1, error: { data: { code: "journal_unavailable" } } },
      ]);
      expect(answer.result).toBeUndefined();
    }
  const streamed = await rpc(who, "tools/call", { name: "talk", arguments: {} });
  expect(JSON.stringify(streamed)).not.toContain('"said"');
  await other.close().catch(() => undefined);
});

test("a gateway that is stopped lets calls finish, and lets nobody in", async () => {
  const other = await start();
  const who = await newRunner(other);
  const slow = [
    callTool(who, "look", { ms: 600 }),
    legacyRpc(who, "tools/call", { name: "look", arguments: { ms: 600 } }),
  ];
  await Bun.sleep(200);
  const began = performance.now();
  const drained = other.parts.mcp.drain(5_000);
  await Bun.sleep(50);
  expect(await callTool(who, "look")).toMatchObject({ status: 503, id: null });
  await drained;
  expect(performance.now() - began).toBeWithin(200, 3_000);
  for (const answer of await Promise.all(slow)) expect(answer.status).toBe(200);
  await other.close();
});
