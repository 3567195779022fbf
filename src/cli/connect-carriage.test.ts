/** What `specgate connect` makes of what it is given, at either end: a gateway, or whatever else answers in its place. */
import { afterAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { ProtocolTool } from "../platform/mcp-sources.ts";
import { startGateway } from "../testing/gateway.ts";
import { briefly, legacyHello, modernMeta, openPipe, type PipeMessage } from "../testing/pipe.ts";
import { openTerminal, past } from "../testing/terminal.ts";

const regional: ProtocolTool = {
  name: "regional",
  scopes: ["mcp:read"],
  writes: false,
  definition: {
    name: "regional",
    description: "Says where it is asked from.",
    inputSchema: {
      type: "object",
      properties: {
        region: { type: "string", "x-mcp-header": "Region" },
        floor: { type: "number", "x-mcp-header": "Floor" },
      },
    },
  },
  answer: async (args) => ({ content: [{ type: "text", text: JSON.stringify(args) }] }),
};

const gateway = await startGateway({ mcpExtras: { tools: [regional] } });
type Answer = (request: Request, body: string) => Response | Promise<Response>;
let answer: Answer = () => new Response("");
let paths: string[] = [];
const other = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  idleTimeout: 0,
  async fetch(request) {
    paths.push(new URL(request.url).pathname);
    return answer(request, await request.text());
  },
});
const otherUrl = `http://127.0.0.1:${other.port}`;
afterAll(async () => {
  await other.stop(true);
  await gateway.close();
});

const robo = { SPECGATE_TOKEN: gateway.robo.bearer };
const ask = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "x" } };
const json = (body: unknown, status = 200) =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json" },
  });
const events = (text: string, isHeldOpen = false) =>
  new Response(
    new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(text));
        if (!isHeldOpen) controller.close();
      },
    }),
    { headers: { "content-type": "text/event-stream" } },
  );

const changes = ({ messages }: ReturnType<typeof openPipe>): number =>
  messages.filter(({ method }) => method === "notifications/tools/list_changed").length;

const never = () => new Promise<Response>(() => undefined);

/** What an app reads that sends these, then closes its end. */
async function said(messages: readonly (object | string)[], by: Answer) {
  answer = by;
  paths = [];
  const pipe = openPipe(openTerminal(otherUrl), robo);
  for (const message of messages) await pipe.send(message);
  const { code, err } = await pipe.end();
  return { lines: pipe.lines, messages: pipe.messages, code, err };
}

describe("an app that starts while the gateway is away", () => {
  const gone = {
    jsonrpc: "2.0",
    id: null,
    error: { code: -32000, message: "The gateway is shutting down." },
  };
  const ways: [string, Answer][] = [
    ["behind a proxy", () => json({ message: "bad gateway" }, 502)],
    ["for it is just going", () => json(gone, 503)],
  ];
  const back: Answer = (_, body) => json({ jsonrpc: "2.0", id: JSON.parse(body).id, result: { tools: [] } });
  for (const [how, away] of ways)
    test(`${how}, is greeted, gets an error for each call, and hears when it is back`, async () => {
      answer = away;
      const pipe = openPipe(openTerminal(otherUrl), robo, briefly);
      expect((await pipe.ask("initialize", legacyHello)).result?.protocolVersion).toBe("2025-11-25");
      await pipe.send({ jsonrpc: "2.0", method: "notifications/initialized" });
      expect((await pipe.ask("ping")).result).toEqual({});
      expect((await pipe.ask("tools/list")).error).toMatchObject({ code: -32000 });
      answer = back;
      await pipe.until(({ method }) => method === "notifications/tools/list_changed");
      expect((await pipe.ask("tools/list")).result).toEqual({ tools: [] });
      expect(changes(pipe)).toBe(1);
      expect(await pipe.end()).toMatchObject({ code: 0, err: "" });
    });

  test("is told so on the stream that it opened, in the modern era", async () => {
    const other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("") });
    const { port = 0 } = other;
    await other.stop(true);
    const pipe = openPipe(openTerminal(`http://127.0.0.1:${port}`), robo, briefly);
    expect((await pipe.ask("server/discover", { _meta: modernMeta })).result?.supportedVersions).toEqual([
      "2026-07-28",
    ]);
    const params = { _meta: modernMeta, notifications: { toolsListChanged: true } };
    await pipe.send({ jsonrpc: "2.0", id: "ear", method: "subscriptions/listen", params });
    await pipe.until(({ method }) => method === "notifications/subscriptions/acknowledged");
    expect((await pipe.ask("tools/list", { _meta: modernMeta })).error?.message).toContain(
      "cannot be reached",
    );
    answer = back;
    const again = Bun.serve({
      port,
      hostname: "127.0.0.1",
      fetch: async (request) => answer(request, await request.text()),
    });
    await pipe.until(({ method }) => method === "notifications/tools/list_changed");
    expect((await pipe.ask("tools/list", { _meta: modernMeta })).result).toEqual({ tools: [] });
    expect(changes(pipe)).toBe(1);
    await pipe.terminate();
    await again.stop(true);
  });
});

describe("whoever answers in the gateway's place", () => {
  const strange: [string, () => Response, string][] = [
    ["a proxy's JSON", () => json({ message: "bad gateway" }, 502), "502: bad gateway"],
    ["a problem", () => json({ type: "about:blank", title: "Too many", status: 429 }, 429), "429: Too many"],
    [
      "an OAuth error",
      () => json({ error: "insufficient_scope", error_description: "ask for more" }, 403),
      "403: ask for more",
    ],
    ["a page", () => new Response("<html>", { headers: { "content-type": "text/html" } }), "200 and no more"],
    ["a batch", () => json([{ jsonrpc: "2.0", id: 1, result: {} }]), "200 and no more"],
    [
      "a redirect",
      () => new Response("", { status: 302, headers: { location: "http://evil.test/" } }),
      "302",
    ],
    ["another's answer", () => json({ jsonrpc: "2.0", id: 999, result: {} }), "200 and no more"],
    ["an id of another type", () => json({ jsonrpc: "2.0", id: "1", result: {} }), "200 and no more"],
    [
      "result and error",
      () => json({ jsonrpc: "2.0", id: 1, result: {}, error: { code: 1, message: "" } }),
      "200",
    ],
    [
      "an error without a code",
      () => json({ jsonrpc: "2.0", id: 1, error: { message: "no" } }, 400),
      "400: no",
    ],
    ["half an event", () => events('data: {"jsonrpc":"2.0","id":1,"res'), "200 and no more"],
  ];
  for (const [what, by, reason] of strange)
    test(`${what} becomes an error that an app can read`, async () => {
      const { messages } = await said([ask], by);
      expect(messages).toEqual([
        {
          jsonrpc: "2.0",
          id: 1,
          error: { code: -32000, message: expect.stringContaining(`${otherUrl} answered ${reason}`) },
        },
      ]);
    });

  test("what is no UTF-8 is not put right on the way", async () => {
    const bytes = Buffer.from('{"jsonrpc":"2.0","id":1,"result":{"a":"\xff"}}', "latin1");
    const { messages } = await said([ask], () => new Response(bytes));
    expect(messages).toMatchObject([{ id: 1, error: { message: expect.stringContaining("broke off") } }]);
  });

  test("what is too long is not read to its end", async () => {
    let left = 100;
    const body = () =>
      new ReadableStream({
        pull(controller) {
          left -= 1;
          if (left < 0) controller.close();
          else controller.enqueue(new Uint8Array(1 << 20).fill(0x20));
        },
      });
    const { messages } = await said([ask], () => new Response(body()));
    expect(messages).toMatchObject([
      { id: 1, error: { message: expect.stringContaining("67108864 bytes") } },
    ]);
  });

  test("a given credential that is refused is named", async () => {
    const { messages } = await said([ask], () => json({}, 401));
    expect(messages).toMatchObject([
      { id: 1, error: { message: expect.stringContaining("SPECGATE_TOKEN") } },
    ]);
  });

  test("a second answer is not said, nor waited for", async () => {
    const twice = [1, 2].map((a) => `data: {"jsonrpc":"2.0","id":1,"result":{"a":${a}}}\n\n`).join("");
    const started = performance.now();
    const { messages, code } = await said([ask], () => events(twice, true));
    expect(messages).toEqual([{ jsonrpc: "2.0", id: 1, result: { a: 1 } }]);
    expect(code).toBe(0);
    expect(performance.now() - started).toBeLessThan(1_500);
  });

  test("two requests under one id get two answers", async () => {
    const { messages } = await said([ask, ask], () => json({ jsonrpc: "2.0", id: 1, result: {} }));
    expect(messages).toHaveLength(2);
  });

  test("an answer passes as it was received, on one line", async () => {
    const text = '{"jsonrpc": "2.0", "id": 1, "result": {"n": 12345678901234567890, "f": 1.0, "e": 1E400}}';
    for (const by of [
      () => json(text),
      () => json(text.replaceAll(" ", "\r\n")),
      () => events(`data: ${text.replaceAll(" ", "\ndata: ")}\n\n`),
    ])
      expect((await said([ask], by)).lines.map((line) => line.replaceAll(/\s+/g, " "))).toEqual([text]);
  });

  test("an error without an id is about the request", async () => {
    const error = { code: -32600, message: "no" };
    const { messages } = await said([ask], () => json({ jsonrpc: "2.0", id: null, error }, 400));
    expect(messages).toEqual([{ jsonrpc: "2.0", id: 1, error }]);
  });

  test("a notification that is refused is told beside the pipe", async () => {
    const refusal = { jsonrpc: "2.0", id: null, error: { code: -32600, message: "not\u001b[31m here" } };
    const { lines, err } = await said([{ jsonrpc: "2.0", method: "notifications/x" }], () =>
      json(refusal, 400),
    );
    expect(lines).toEqual([]);
    expect(err).toBe(`specgate: notifications/x: ${otherUrl} answered 400: not?[31m here\n`);
  });

  test("takes its time, and the app has closed its end: the answer is still said", async () => {
    const { messages, code } = await said([ask], async () => {
      await Bun.sleep(3_000);
      return json({ jsonrpc: "2.0", id: 1, result: {} });
    });
    expect(messages).toEqual([{ jsonrpc: "2.0", id: 1, result: {} }]);
    expect(code).toBe(0);
  }, 20_000);

  test("never answers: who ends the program gets an error for each request, and exit 1", async () => {
    answer = never;
    const pipe = openPipe(openTerminal(otherUrl), robo);
    for (const id of [1, 2]) await pipe.send({ ...ask, id });
    await pipe.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 2 } });
    await Bun.sleep(50);
    expect(await pipe.terminate()).toMatchObject({ code: 1 });
    expect(pipe.messages).toMatchObject([{ id: 1, error: { code: -32000 } }]);
  });
});

describe("a token endpoint that hangs", () => {
  const stale = {
    access_token: "old-access-token",
    expires_at: past(),
    refresh_token: "a-refresh-token",
    scope: "mcp:read",
    client_id: "specgate-desktop",
    signed_in_at: past(),
  };

  test("holds up neither what is cancelled nor what is wrong", async () => {
    answer = never;
    const terminal = openTerminal(otherUrl);
    terminal.keep(stale, otherUrl);
    const pipe = openPipe(terminal);
    paths = [];
    await pipe.send(ask);
    while (paths.length === 0) await Bun.sleep(5);
    await pipe.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 1 } });
    await pipe.send("{");
    expect(await pipe.until(({ id }) => id === null)).toMatchObject({ error: { code: -32700 } });
    expect(await pipe.end()).toMatchObject({ code: 0, err: "" });
    expect(pipe.messages).toHaveLength(1);
  });

  test("is asked once for all who wait", async () => {
    paths = [];
    answer = async () => {
      await Bun.sleep(100);
      return new Response("busy", { status: 503 });
    };
    const terminal = openTerminal(otherUrl);
    terminal.keep(stale, otherUrl);
    const pipe = openPipe(terminal);
    const all = await Promise.all(Array.from({ length: 10 }, () => pipe.ask("tools/list")));
    expect(all.every(({ error }) => error !== undefined)).toBe(true);
    expect(paths).toEqual(["/.well-known/oauth-authorization-server"]);
    await pipe.end();
  });
});

test("a gateway that refuses what it has just renewed is not asked to renew it again and again", async () => {
  let renewals = 0;
  answer = (request) => {
    const { pathname, origin } = new URL(request.url);
    if (pathname.startsWith("/.well-known"))
      return json({
        issuer: origin,
        token_endpoint: `${origin}/token`,
        device_authorization_endpoint: `${origin}/device`,
      });
    if (pathname === "/device")
      return json({
        device_code: "d",
        user_code: "ABCD-EFGH",
        verification_uri: `${origin}/enter`,
        expires_in: 600,
      });
    if (pathname !== "/token") return json({}, 401);
    renewals += 1;
    return json({
      access_token: `renewed-token-${renewals}`,
      token_type: "Bearer",
      expires_in: 3_600,
      refresh_token: `refresh-token-${renewals}`,
    });
  };
  const terminal = openTerminal(otherUrl);
  terminal.keep(
    {
      access_token: "an-access-token",
      expires_at: new Date(Date.now() + 3_000_000).toISOString(),
      refresh_token: "the-first-refresh-token",
      scope: "mcp:read",
      client_id: "specgate-desktop",
      signed_in_at: past(),
    },
    otherUrl,
  );
  const pipe = openPipe(terminal, {}, () => new Promise(() => undefined));
  expect((await pipe.ask("tools/list")).error?.message).toContain("sign_in");
  for (let turn = 0; turn < 10; turn++)
    expect((await pipe.ask("tools/list")).result?.tools?.map(({ name }) => name)).toEqual(["sign_in"]);
  expect(renewals).toBe(1);
  const { result } = await pipe.ask("tools/call", { name: "sign_in" });
  expect(result?.content?.[0]?.text).toContain(`${otherUrl}/enter`);
  expect(pipe.messages.filter(({ method }) => method === "notifications/tools/list_changed")).toHaveLength(1);
  await pipe.end();
});

describe("a tool that wants arguments in headers", () => {
  const args = { region: "Zürich ", floor: 1.5 };
  const call = { name: "regional", arguments: args, _meta: modernMeta };

  test("is called, listed before or not", async () => {
    for (const lists of [false, true]) {
      const pipe = openPipe(openTerminal(gateway.url), robo);
      if (lists) await pipe.ask("tools/list", { _meta: modernMeta });
      const { result } = await pipe.ask("tools/call", call);
      expect(JSON.parse(result?.content?.[0]?.text ?? "{}")).toEqual(args);
      expect(pipe.messages).toHaveLength(lists ? 2 : 1);
      await pipe.end();
    }
  });
});

describe("an app's own mistakes", () => {
  test("an id that no answer can carry gets an error without one, once", async () => {
    const ids = ["null", "true", '{"a":1}', "1.5", "1e400", "9007199254740993"];
    for (const env of [robo, {}])
      for (const id of ids) {
        const pipe = openPipe(openTerminal(gateway.url), env);
        await pipe.send(`{"jsonrpc":"2.0","id":${id},"method":"tools/list"}`);
        await pipe.end();
        expect(pipe.messages).toMatchObject([{ id: null, error: { code: -32600 } }]);
      }
  });

  test("a line that is no UTF-8 is refused, as the gateway would", async () => {
    const pipe = openPipe(openTerminal(gateway.url), robo);
    const line = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\xff\xfe"}}\n';
    await pipe.write(Buffer.from(line, "latin1"));
    await pipe.end();
    expect(pipe.messages).toMatchObject([{ id: null, error: { code: -32700 } }]);
  });

  const member = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
  const lines = fc.record({
    jsonrpc: fc.constantFrom("2.0", "1.0", undefined),
    id: fc.oneof(fc.integer(), fc.string({ maxLength: 4 }), fc.constantFrom(null, true, 0.5, {})),
    method: fc.constantFrom<unknown[]>(
      "initialize",
      "ping",
      "tools/list",
      "tools/call",
      "prompts/get",
      "completion/complete",
      "resources/read",
      "server/discover",
      "nothing",
      "",
      7,
      undefined,
    ),
    params: member(
      fc.oneof(
        fc.record({ name: fc.constantFrom("nothing", "whoami"), _meta: fc.constantFrom(modernMeta, {}, 1) }),
        fc.constantFrom<unknown[]>(null, [], "x", legacyInitialize()),
      ),
    ),
  });

  test("whatever has an id is answered exactly once", async () => {
    for (const env of [robo, {}])
      await fc.assert(
        fc.asyncProperty(fc.array(lines, { minLength: 1, maxLength: 8 }), async (sent) => {
          const pipe = openPipe(openTerminal(gateway.url), env);
          for (const line of sent) await pipe.send(line);
          await pipe.end();
          const answers = pipe.messages.filter(({ method }) => method === undefined);
          const owed = sent.map(({ id }) => (typeof id === "string" || Number.isInteger(id) ? id : null));
          expect(answers.map(idText).sort()).toEqual(owed.map((id) => JSON.stringify(id)).sort());
        }),
        { numRuns: 60 },
      );
  }, 120_000);
});

function legacyInitialize() {
  return { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "app", version: "1" } };
}

const idText = ({ id }: PipeMessage): string => JSON.stringify(id ?? null);
