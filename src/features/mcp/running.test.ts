/**
 * What happens between a call that is allowed and its answer: arguments, place, scopes, rates, bytes, and the record
 * without which nothing leaves.
 */
import { afterAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { z } from "zod";
import { Failure, notFound } from "../../platform/failure.ts";
import { readTool, type Tool, writeTool } from "../../platform/tool.ts";
import { localActor } from "../../testing/desk.ts";
import { startGateway } from "../../testing/gateway.ts";
import { callTool, legacyRpc, mcpClient, type Rpc, rpc } from "../../testing/mcp.ts";
import { linesOf } from "../../testing/mcp-log.ts";
import { newApp } from "../../testing/people.ts";
import { cutText, fit } from "./bounds.ts";

const asked: number[] = [];
let runs = 0;
const scopes = ["mcp:read"] as const;
const about = { title: "T", description: "D" };
const own: Tool[] = [
  readTool({
    ...about,
    name: "pick",
    scopes,
    input: z.object({
      session_id: z.string(),
      limit: z.number().int().max(5).optional(),
      deep: z.array(z.strictObject({ colour: z.string() })).optional(),
    }),
    output: z.object({ ok: z.boolean() }),
    run: async () => ({ ok: true, secret: "not in the shape" }) as { ok: boolean },
  }),
  readTool({
    ...about,
    name: "rows",
    scopes,
    input: z.object({ limit: z.number().int().default(50), cursor: z.string().optional(), wide: z.number() }),
    output: z.object({
      data: z.array(z.object({ id: z.number(), text: z.string() })),
      next_cursor: z.string().nullable(),
    }),
    run: async ({ asked: { limit, cursor, wide } }) => {
      asked.push(limit);
      const from = Number(cursor ?? 0);
      const data = Array.from({ length: Math.min(limit, 120 - from) }, (_, at) => ({
        id: from + at,
        text: "é ".repeat(wide),
      }));
      return { data, next_cursor: from + data.length < 120 ? String(from + data.length) : null };
    },
  }),
  readTool({
    ...about,
    name: "body",
    scopes,
    input: z.object({ text: z.string(), times: z.number() }),
    output: z.object({
      id: z.string(),
      url: z.string(),
      text: z.string(),
      lines: z.array(z.string()).optional(),
    }),
    run: async ({ asked: { text, times } }) => ({
      id: "id_1",
      url: `https://x.example/${"u".repeat(600)}`,
      text: text.repeat(times),
    }),
  }),
  writeTool({
    ...about,
    name: "put",
    scopes: ["mcp:write"],
    input: z.object({ limit: z.number().optional(), rows: z.number() }),
    output: z.object({ data: z.array(z.number()), next_cursor: z.null() }),
    run: async ({ asked: { rows }, call }) => {
      runs += 1;
      expect(call.via?.details).toMatchObject({ tool: "put", rule: expect.any(String) });
      return { data: Array.from({ length: rows }, (_, at) => 1_000_000 + at), next_cursor: null };
    },
  }),
  readTool({
    ...about,
    name: "fails",
    scopes,
    input: z.object({ how: z.string() }),
    output: z.object({}),
    run: async ({ asked: { how } }) => {
      if (how === "not_found") throw notFound();
      if (how === "verdict")
        throw new Failure("conflict", "gate_failed", "The gate says no.", {
          members: { evaluation: { passed: false } },
        });
      throw new Error("the password is hunter2");
    },
  }),
  readTool({
    ...about,
    name: "asks",
    scopes,
    input: z.object({ rows: z.number() }),
    output: z.object({}),
    run: async () => {
      throw new Failure("forbidden", "insufficient_scope", "One of two would do.", {
        headers: { "www-authenticate": 'Bearer error="insufficient_scope", scope="mcp:write"' },
      });
    },
  }),
  readTool({
    ...about,
    name: "place",
    scopes,
    place: { least: "viewer", at: "project", argument: "project_id" },
    input: z.object({ project_id: z.string() }),
    output: z.object({ role: z.string() }),
    run: async ({ place }) => ({ role: place?.role ?? "none" }),
  }),
  readTool({
    ...about,
    name: "slow",
    scopes,
    input: z.object({ ms: z.number() }),
    output: z.object({ left: z.boolean() }),
    run: async ({ asked: { ms }, signal }) => {
      const deadline = performance.now() + ms;
      while (performance.now() < deadline && !signal.aborted) await Bun.sleep(10);
      runs += 1;
      return { left: signal.aborted };
    },
  }),
];

const gateway = await startGateway({
  yaml: "limits: { mcp: { requests_per_minute: null, result_bytes_max: 20000 } }",
  mcpExtras: { own },
});
afterAll(() => gateway.close());
const { robo, mallory } = gateway;
const textOf = ({ result }: Rpc) => result?.content.map(({ text }) => text).join("\n") ?? "";
const requestOf = ({ headers }: Rpc) => headers.get("x-request-id") ?? "";

describe("arguments", () => {
  test("that are wrong come back as the tool's error, each by name, and none by value", async () => {
    const answer = await callTool(robo, "pick", {
      sessionId: "s3cret",
      limit: 99,
      deep: [{ color: "red", colour: 1 }],
    });
    expect(answer.result).toMatchObject({ isError: true });
    expect(answer.result).not.toHaveProperty("structuredContent");
    const text = textOf(answer);
    expect(text).toStartWith("invalid_request: ");
    expect(text).toContain("- sessionId: There is no such argument. Did you mean `session_id`?");
    expect(text).toContain("- deep.0.color: There is no such argument. Did you mean `colour`?");
    expect(text).toContain("- limit: ");
    expect(text).toContain("- session_id: ");
    expect(text).not.toContain("s3cret");
    const [line] = await linesOf(gateway, requestOf(answer));
    expect(JSON.stringify(line)).not.toContain("s3cret");
  });

  test("that are no object are a wrong request", async () => {
    for (const speak of [rpc, legacyRpc])
      for (const args of [[], "x", 1, null, [{ session_id: "x" }]]) {
        const answer = await speak(robo, "tools/call", { name: "pick", arguments: args });
        expect([args, answer]).toMatchObject([args, { status: 200, error: { code: -32_602 } }]);
      }
  });

  test("of methods are judged as strictly", async () => {
    const wrong: [string, Record<string, unknown>, string][] = [
      ["tools/list", { cursor: 5 }, "cursor"],
      ["tools/list", { cursor: "abc" }, "cursor"],
      ["resources/read", { uri: ["x"] }, "uri"],
      ["prompts/get", { name: 1 }, "name"],
      ["prompts/get", { name: "plan_from_spec", arguments: { session_id: 1 } }, "arguments.session_id"],
      ["completion/complete", { ref: { type: "ref/tool", name: "x" } }, "ref"],
    ];
    for (const speak of [rpc, legacyRpc])
      for (const [method, params, named] of wrong) {
        const answer = await speak(robo, method, params);
        expect([method, answer]).toMatchObject([
          method,
          { status: 200, error: { code: -32_602, message: expect.stringContaining(named) } },
        ]);
      }
  });
});

describe("an answer", () => {
  test("holds what the tool's shape says and nothing else", async () => {
    expect((await callTool(robo, "pick", { session_id: "x" })).result?.structuredContent).toEqual({
      ok: true,
    });
  });

  test("that fails says code and sentence, and for what nobody foresaw a fixed one with the request's id", async () => {
    expect(textOf(await callTool(robo, "fails", { how: "not_found" }))).toStartWith("not_found: ");
    const verdict = await callTool(robo, "fails", { how: "verdict" });
    expect(textOf(verdict)).toContain('{"evaluation":{"passed":false}}');
    expect(verdict.result?._meta).toMatchObject({ "specgate/problem": { code: "gate_failed", status: 409 } });
    const unforeseen = await callTool(robo, "fails", { how: "bug" });
    expect(textOf(unforeseen)).toStartWith("internal: ");
    expect(textOf(unforeseen)).toContain(requestOf(unforeseen));
    expect(JSON.stringify(unforeseen)).not.toContain("hunter2");
  });

  test("from a foreign place is the one from nowhere", async () => {
    const foreign = await callTool(mallory, "place", { project_id: robo.projectId });
    const nowhere = await callTool(mallory, "place", { project_id: `prj_${"0".repeat(32)}` });
    expect(textOf(foreign)).toBe(textOf(nowhere));
    expect(textOf(foreign)).toStartWith("not_found: ");
    expect((await callTool(robo, "place", { project_id: robo.projectId })).result?.structuredContent).toEqual(
      { role: "editor" },
    );
  });

  test("is taken by the SDK's client, errors and cut ones too", async () => {
    const client = await mcpClient(gateway.url, robo.bearer);
    await client.listTools();
    const error = await client.callTool({ name: "fails", arguments: { how: "verdict" } });
    expect(error.isError).toBe(true);
    const cut = await client.callTool({ name: "body", arguments: { text: "word ", times: 10_000 } });
    expect(cut.structuredContent).toMatchObject({ truncated: [{ path: "text", bytes: 50_000 }] });
    await client.close();
  });
});

describe("an answer that is too large", () => {
  const bytesOf = ({ result }: Rpc) => Buffer.byteLength(JSON.stringify(result));

  test("is asked for again as a smaller page, and its cursor leads through all of it", async () => {
    const ids: number[] = [];
    let cursor: string | null = null;
    asked.length = 0;
    do {
      const answer: Rpc = await callTool(robo, "rows", {
        wide: 60,
        limit: 50,
        ...(cursor === null ? {} : { cursor }),
      });
      const page = answer.result?.structuredContent as {
        data: { id: number }[];
        next_cursor: string | null;
        truncated?: unknown;
      };
      expect(bytesOf(answer)).toBeLessThanOrEqual(20_000);
      expect(page.data.length).toBeGreaterThan(10);
      if (page.data.length < Math.min(50, 120 - ids.length)) {
        expect(page.truncated).toEqual([{ path: "data", bytes: expect.any(Number) }]);
        expect(textOf(answer)).toContain("Truncated: the page was too large");
      }
      ids.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor;
    } while (cursor !== null);
    expect(ids).toEqual(Array.from({ length: 120 }, (_, at) => at));
    expect(Math.min(...asked)).toBeLessThan(50);
  });

  test("has its longest text cut at a character's end, says so, and keeps ids and addresses", async () => {
    for (const text of ["word ", "é ", "😀 ", '" \\ ', "\u0001 "]) {
      const answer = await callTool(robo, "body", { text, times: 8_000 });
      expect(bytesOf(answer)).toBeLessThanOrEqual(20_000);
      const cut = answer.result?.structuredContent as {
        id: string;
        url: string;
        text: string;
        truncated: unknown;
      };
      expect(cut.url).toHaveLength(618);
      expect(text.repeat(8_000)).toStartWith(cut.text);
      expect(cut.text.isWellFormed()).toBe(true);
      expect(cut.text.length).toBeGreaterThan(500);
      expect(cut.truncated).toEqual([{ path: "text", bytes: Buffer.byteLength(text.repeat(8_000)) }]);
      expect(textOf(answer)).toContain("Truncated: ");
      expect(JSON.parse(answer.result?.content[0]?.text ?? "")).toEqual(cut);
    }
  });

  test("is never made by writing twice: a list that a writing tool answers loses its end, and says so", async () => {
    runs = 0;
    const answer = await callTool(robo, "put", { rows: 4_000 });
    expect(runs).toBe(1);
    const { data = [], truncated } = (answer.result?.structuredContent ?? {}) as {
      data?: number[];
      truncated?: unknown;
    };
    expect(bytesOf(answer)).toBeLessThanOrEqual(20_000);
    expect(data.length).toBeGreaterThan(500);
    expect(truncated).toEqual([{ path: `data.${data.length}`, bytes: expect.any(Number) }]);
  });

  test("fits, whatever it is, or is an error that says how large it was", async () => {
    const value = fc.dictionary(fc.string({ minLength: 1, maxLength: 8 }), fc.jsonValue({ maxDepth: 4 }), {
      maxKeys: 5,
    });
    const text = fc
      .tuple(fc.string({ unit: "binary" }), fc.nat(400))
      .map(([some, times]) => `${some} `.repeat(times));
    await fc.assert(
      fc.asyncProperty(value, text, fc.integer({ min: 600, max: 5_000 }), async (some, long, bytesMax) => {
        const answer = { ...some, long, lines: [long, long] };
        const result = await fit(answer, bytesMax, null).catch((error: unknown) => error as Failure);
        if (result instanceof Failure) expect(result.code).toBe("result_too_large");
        else {
          expect(Buffer.byteLength(JSON.stringify(result))).toBeLessThanOrEqual(bytesMax);
          const isWhole = JSON.stringify(result.structuredContent) === JSON.stringify(answer);
          expect("truncated" in result.structuredContent || isWhole).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("never ends in half a character", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.nat(40), (text, bytesMax) => {
        const cut = cutText(text, bytesMax);
        expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(bytesMax);
        expect(text.startsWith(cut)).toBe(true);
      }),
    );
  });
});

describe("a token", () => {
  test("without a visible tool's scope is told all that it should ask for, under the request's own id", async () => {
    const { ed } = await gateway.people();
    const { token } = await newApp(gateway, ed, { scope: "mcp:read usage:read", aud: `${gateway.url}/mcp` });
    for (const name of ["put", "asks"])
      for (const speak of [rpc, legacyRpc]) {
        const answer = await speak(gateway.as(token), "tools/call", { name, arguments: { rows: 1 } });
        expect(answer).toMatchObject({ status: 403, id: 1, error: { data: { code: "insufficient_scope" } } });
        expect(answer.headers.get("www-authenticate")).toBe(
          `Bearer error="insufficient_scope", scope="mcp:read usage:read mcp:write", resource_metadata="${gateway.url}/.well-known/oauth-protected-resource/mcp"`,
        );
        const lines = await linesOf(gateway, requestOf(answer));
        expect(lines).toHaveLength(1);
        expect(JSON.stringify(lines[0])).toContain("insufficient_scope");
      }
  });

  test("that could never have the scope finds no such tool", async () => {
    const client = await gateway.clients.create(localActor, {
      name: "reader",
      kind: "runner",
      projectId: robo.projectId,
      scope: "mcp:read",
    });
    const { key } = await gateway.keys.create(localActor, {
      owner: { clientId: client.client_id },
      scope: "mcp:read",
    });
    const answer = await callTool(gateway.as(key), "put", { rows: 1 });
    expect([answer.status, answer.error?.message]).toEqual([200, "Unknown tool: put"]);
    expect((await rpc(gateway.as(key), "tools/list")).result?.tools.map(({ name }) => name)).not.toContain(
      "put",
    );
  });
});

describe("who leaves", () => {
  test("is heard by the tool, and what was done is written down all the same", async () => {
    runs = 0;
    for (const speak of ["modern", "legacy"]) {
      const leaving = new AbortController();
      const call = speak === "modern" ? callTool : legacyRpc;
      const fetching = {
        fetch: (path: string, init: RequestInit = {}) =>
          robo.fetch(path, { ...init, signal: leaving.signal }),
      };
      const asking =
        call === callTool
          ? callTool(fetching, "slow", { ms: 5_000 })
          : legacyRpc(fetching, "tools/call", { name: "slow", arguments: { ms: 5_000 } });
      setTimeout(() => leaving.abort(), 150);
      expect(
        await asking.then(
          () => "answered",
          () => "left",
        ),
      ).toBe("left");
      const before = runs;
      for (let tries = 0; tries < 100 && runs === before; tries++) await Bun.sleep(20);
      expect(runs).toBeGreaterThan(before === 0 ? 0 : before - 1);
    }
    expect(runs).toBe(2);
  });
});
