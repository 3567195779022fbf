/** `/mcp` as its clients speak to it: by hand in either era, or through the SDK. */
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import type { Actor } from "./gateway.ts";

export type Rpc = {
  status: number;
  headers: Headers;
  id?: unknown;
  result?: RpcResult;
  error?: { code: number; message: string; data?: Record<string, unknown> };
};

/** Of any method: what a test looks at is there, or it fails. */
export type RpcResult = {
  readonly [key: string]: unknown;
  readonly tools: { name: string; [key: string]: unknown }[];
  readonly content: { type: string; text: string }[];
  readonly structuredContent: Record<string, unknown>;
  readonly isError?: boolean;
};

export const modernVersion = "2026-07-28";
export const legacyVersion = "2025-11-25";

const envelope = {
  "io.modelcontextprotocol/protocolVersion": modernVersion,
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};

/** One request of 2026-07-28. */
export async function rpc(
  actor: Pick<Actor, "fetch">,
  method: string,
  params: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): Promise<Rpc> {
  const name = params.name ?? params.uri;
  return answerOf(
    await actor.fetch("/mcp", {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": modernVersion,
        "mcp-method": method,
        ...(typeof name === "string" ? { "mcp-name": name } : {}),
        ...headers,
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: { ...params, _meta: envelope } }),
    }),
  );
}

/** One request of 2025-11-25, without a session. */
export async function legacyRpc(
  actor: Pick<Actor, "fetch">,
  method: string,
  params: Record<string, unknown> = {},
): Promise<Rpc> {
  return answerOf(
    await actor.fetch("/mcp", {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": legacyVersion,
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
    }),
  );
}

export const callTool = (actor: Pick<Actor, "fetch">, name: string, args: Record<string, unknown> = {}) =>
  rpc(actor, "tools/call", { name, arguments: args });

/** What the tool answered; throws when it refused or failed. */
export async function toolAnswer<Answer = Record<string, unknown>>(
  actor: Pick<Actor, "fetch">,
  name: string,
  args: Record<string, unknown> = {},
): Promise<Answer> {
  const { result, error, status } = await callTool(actor, name, args);
  if (result === undefined || result.isError === true)
    throw new Error(`${name}: ${status} ${JSON.stringify(error ?? result?.content)}`);
  return result.structuredContent as Answer;
}

async function answerOf(response: Response): Promise<Rpc> {
  const text = await response.text();
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
  const json = isStream ? (/^data: (\{.*)$/m.exec(text)?.[1] ?? "{}") : text || "{}";
  return { ...JSON.parse(json), status: response.status, headers: response.headers };
}

/** The SDK's client, connected. Close it. */
export async function mcpClient(
  url: string,
  bearer: string,
  options: ConstructorParameters<typeof Client>[1] = {},
): Promise<Client> {
  const client = new Client({ name: "test", version: "1" }, options);
  const requestInit = { headers: { authorization: `Bearer ${bearer}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL("/mcp", url), { requestInit }));
  return client;
}
