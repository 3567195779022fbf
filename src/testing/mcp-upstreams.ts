/**
 * Scripted MCP servers that stand behind the gateway: over HTTP in either era, raw bytes on a socket, or a command.
 *
 * A well-behaved one lists `tools` and answers each call with what `call` makes of it. `script` comes first, and answers
 * any request in whatever way a test needs.
 */
import { fileURLToPath } from "node:url";
import type { UpstreamConfig } from "../platform/config.ts";
import { Secret } from "../platform/secret.ts";
import type { ToolDefinition } from "../platform/upstream.ts";

/** One request as it came. */
export type Heard = {
  readonly method: string;
  readonly httpMethod: string;
  readonly id: unknown;
  readonly params: Record<string, unknown>;
  readonly headers: Headers;
};

export type UpstreamScript = (heard: Heard) => Response | Promise<Response | null> | null | undefined;

export type UpstreamOptions = {
  era?: "modern" | "legacy";
  /** Whether the older era gives out sessions; then a request with another one is answered 404. */
  sessions?: boolean;
  /** Whether answers come as event streams. */
  streams?: boolean;
  tools?: ToolDefinition[];
  /** A tool's result; the arguments as text, unless told. */
  call?: (name: string, args: Record<string, unknown>) => Record<string, unknown>;
  script?: UpstreamScript;
};

export type ScriptedUpstream = {
  readonly url: string;
  readonly heard: Heard[];
  /** Its list from now on. */
  tools: ToolDefinition[];
  script: UpstreamScript | null;
  era: "modern" | "legacy";
  /** Forgets all sessions, as a restart does. */
  forget(): void;
  close(): Promise<void>;
};

export const echoTool: ToolDefinition = {
  name: "echo",
  title: "Echo",
  description: "Says what it was told.",
  inputSchema: { type: "object", properties: { text: { type: "string" } } },
  annotations: { readOnlyHint: true },
};

export const textResult = (text: string) => ({ content: [{ type: "text", text }] });

const versions = { modern: "2026-07-28", legacy: "2025-11-25" };

export function startUpstream(options: UpstreamOptions = {}): ScriptedUpstream {
  const sessions = new Set<string>();
  const heard: Heard[] = [];
  const upstream = {
    tools: options.tools ?? [echoTool],
    script: options.script ?? null,
    era: options.era ?? ("modern" as const),
  };
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 0,
    fetch: async (request) => {
      const text = await request.text();
      const { id, method = "", params = {} } = text === "" ? {} : JSON.parse(text);
      const one: Heard = { method, httpMethod: request.method, id, params, headers: request.headers };
      heard.push(one);
      return (await upstream.script?.(one)) ?? answerTo(one, { ...options, ...upstream }, sessions);
    },
  });
  return Object.assign(upstream, {
    url: `http://127.0.0.1:${server.port}/mcp`,
    heard,
    forget: () => sessions.clear(),
    close: () => server.stop(true),
  });
}

type World = Omit<UpstreamOptions, "script"> & { tools: ToolDefinition[]; era: "modern" | "legacy" };

function answerTo(heard: Heard, world: World, sessions: Set<string>): Response {
  const { method, headers, id } = heard;
  if (world.era === "legacy") {
    if (method === "initialize") return begin(id, world, sessions);
    const session = headers.get("mcp-session-id");
    if (world.sessions === true && !sessions.has(session ?? ""))
      return rpcError(id, -32_001, "Session not found", session === null ? 400 : 404);
    if (heard.httpMethod === "DELETE")
      return new Response(null, { status: sessions.delete(session ?? "") ? 200 : 404 });
    if (id === undefined) return new Response(null, { status: 202 });
    if (method === "server/discover") return rpcError(id, -32_601, "Method not found");
  }
  if (world.era === "modern") {
    if (headers.get("mcp-method") !== method)
      return rpcError(id, -32_022, "Unsupported protocol version", 400, { supported: [versions.modern] });
    if (method === "server/discover")
      return rpcResult(id, {
        resultType: "complete",
        supportedVersions: [versions.modern],
        capabilities: { tools: {} },
        serverInfo: { name: "scripted", version: "1" },
      });
  }
  const complete = world.era === "modern" ? { resultType: "complete" } : {};
  if (method === "tools/list") return rpcResult(id, { ...complete, tools: world.tools }, world.streams);
  if (method === "tools/call") {
    const { name = "", arguments: args = {} } = heard.params as { name?: string; arguments?: object };
    const call = world.call ?? ((_, given) => textResult(JSON.stringify(given)));
    return rpcResult(id, { ...complete, ...call(name, args as Record<string, unknown>) }, world.streams);
  }
  return rpcError(id, -32_601, "Method not found", world.era === "modern" ? 404 : 200);
}

function begin(id: unknown, { sessions: isStateful }: World, sessions: Set<string>): Response {
  const result = {
    protocolVersion: versions.legacy,
    capabilities: { tools: { listChanged: true } },
    serverInfo: { name: "scripted", version: "1" },
  };
  const response = rpcResult(id, result);
  if (isStateful !== true) return response;
  const session = crypto.randomUUID();
  sessions.add(session);
  response.headers.set("mcp-session-id", session);
  return response;
}

export function rpcResult(id: unknown, result: Record<string, unknown>, isStream = false): Response {
  const message = { jsonrpc: "2.0", id, result };
  return isStream ? eventStream([message]) : Response.json(message);
}

export const rpcError = (id: unknown, code: number, message: string, status = 200, data?: object): Response =>
  Response.json(
    { jsonrpc: "2.0", id: id ?? null, error: { code, message, ...(data && { data }) } },
    { status },
  );

/** Objects become one event each; strings are sent as they are. */
export function eventStream(parts: readonly (object | string)[]): Response {
  const text = parts.map((part) =>
    typeof part === "string" ? part : `event: message\ndata: ${JSON.stringify(part)}\n\n`,
  );
  return new Response(text.join(""), { headers: { "content-type": "text/event-stream" } });
}

/** As the configuration file would have it. */
export function httpUpstream(url: string, more: Partial<UpstreamConfig> & { bearer?: Secret | null } = {}) {
  const { bearer = null, ...rest } = more;
  return {
    allow: ["**"],
    deny: [],
    pin: "first_use" as const,
    timeoutMs: 5_000,
    resultBytesMax: null,
    callsMax: 64,
    ...rest,
    kind: "http" as const,
    url,
    bearer,
    allowPrivateNetwork: false,
  } satisfies UpstreamConfig;
}

/** The command in mcp-command.ts, which is told its era and further words. */
export function commandUpstream(
  words: readonly string[],
  more: Partial<Omit<UpstreamConfig, "kind">> & { env?: Record<string, string>; cwd?: string | null } = {},
) {
  const { env = {}, cwd = import.meta.dir, ...rest } = more;
  return {
    allow: ["**"],
    deny: [],
    pin: "first_use" as const,
    timeoutMs: 10_000,
    resultBytesMax: null,
    callsMax: 64,
    ...rest,
    kind: "stdio" as const,
    command: [process.execPath, fileURLToPath(import.meta.resolve("./mcp-command.ts")), ...words],
    env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, new Secret(value)])),
    cwd,
  } satisfies UpstreamConfig;
}

/** A server that writes these bytes, each piece on its own, to whoever sends a request; then nothing more. */
export function rawUpstream(
  answer: (body: { id: number; method: string }) => readonly (string | Uint8Array)[],
) {
  const state = { connections: 0, closed: 0 };
  const server = Bun.listen<{ text: string }>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (socket) => {
        socket.data = { text: "" };
        state.connections++;
      },
      close: () => void state.closed++,
      data: async (socket, bytes) => {
        const text = socket.data.text + Buffer.from(bytes).toString("latin1");
        const end = text.indexOf("\r\n\r\n");
        const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
        socket.data.text = end === -1 || text.length < end + 4 + length ? text : "";
        if (socket.data.text !== "" || text === "") return;
        for (const piece of answer(JSON.parse(text.slice(end + 4) || "{}"))) {
          if (piece === "RST") socket.terminate();
          else socket.write(piece);
          await Bun.sleep(0);
        }
      },
    },
  });
  return { url: `http://127.0.0.1:${server.port}/mcp`, state, close: () => server.stop(true) };
}
