/**
 * Two MCP servers behind the gateway, as fast as they can be, so that what is measured is what stands before them: `/modern`
 * speaks 2026-07-28, `/legacy` 2025-11-25 without sessions. Each has one tool, `echo`.
 */
type Rpc = { id?: string | number; method: string; params?: Record<string, unknown> };

const serverInfo = { name: "bench", version: "1" };
const capabilities = { tools: {} };
const tools = [
  {
    name: "echo",
    description: "Answers the same text each time.",
    inputSchema: { type: "object", properties: { text: { type: "string" } } },
    annotations: { readOnlyHint: true },
  },
];
const called = { content: [{ type: "text", text: "word ".repeat(40) }] };

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 0,
  async fetch(request) {
    if (request.method !== "POST") return new Response(null, { status: 405 });
    const { id, method } = (await request.json()) as Rpc;
    if (id === undefined) return new Response(null, { status: 202 });
    const isModern = new URL(request.url).pathname === "/modern";
    const result = isModern ? modern(method) : legacy(method);
    if (result !== null) return Response.json({ jsonrpc: "2.0", id, result });
    return Response.json({ jsonrpc: "2.0", id, error: { code: -32601, message: "Method not found" } });
  },
});
console.log(server.port);

function modern(method: string): object | null {
  const complete = { resultType: "complete" };
  const kept = { ...complete, ttlMs: 60_000, cacheScope: "private" };
  if (method === "server/discover")
    return { ...kept, supportedVersions: ["2026-07-28"], capabilities, serverInfo };
  if (method === "tools/list") return { ...kept, tools };
  return method === "tools/call" ? { ...complete, ...called } : null;
}

function legacy(method: string): object | null {
  if (method === "initialize") return { protocolVersion: "2025-11-25", capabilities, serverInfo };
  if (method === "tools/list") return { tools };
  return method === "tools/call" ? called : null;
}
