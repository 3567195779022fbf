/** Decisions of the MCP door as it would hand them over; a test names only what it is about. */
import type { McpDecision } from "../db/mcp-decision.ts";
import { beginCall } from "../platform/call.ts";
import type { Principal } from "../platform/principal.ts";

/** A call that reached the edge; a new one each time. */
export function mcpCall(headers: Record<string, string> = { "user-agent": "desk/1" }) {
  const url = "http://127.0.0.1/mcp";
  const request = new Request(url, { method: "POST", headers });
  return beginCall(request, new URL(url), { address: () => "127.0.0.1", stayOpen: () => undefined });
}

const runner = {
  id: "cli_runner",
  kind: "client",
  clientId: "cli_runner",
  projectId: "prj_one",
} as unknown as Principal;

/** A read that went well. */
export const decided = (over: Partial<McpDecision> = {}): McpDecision => ({
  call: mcpCall(),
  principal: runner,
  era: "modern",
  method: "tools/call",
  tool: "task_get",
  upstream: null,
  pin: null,
  projectId: "prj_one",
  sessionId: null,
  verdict: "allowed",
  rule: "allow **",
  revisions: { cli_runner: 3 },
  args: { task_id: "tsk_1", limit: 20 },
  bytesIn: 300,
  bytesOut: 1_200,
  outcome: { transport: 200, rpc: null, tool: "ok" },
  milliseconds: 1.234,
  ...over,
});
