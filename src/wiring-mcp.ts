/**
 * The MCP door: every slice's tools, the allowlist over them, other servers behind them, and the record of each decision.
 */
import type { McpRecords } from "./db/mcp-decision.ts";
import { Allowlist } from "./features/mcp/allowlist.ts";
import { Mcp } from "./features/mcp/mcp.ts";
import { mcpTools } from "./features/mcp/tools.ts";
import type { Locate } from "./platform/guard.ts";
import type { Tool } from "./platform/tool.ts";
import { noUpstreams } from "./platform/upstream.ts";
import type { WiringInput } from "./wiring.ts";

export type WireMcpNeeds = { locate: Locate };

export function wireMcp(input: WiringInput, { locate }: WireMcpNeeds) {
  const { gateway, version, log } = input;
  const records: McpRecords = { record: async () => undefined, intend: async () => undefined };
  const tools: Tool[] = [...mcpTools()];
  const allowlist = new Allowlist({ gateway });
  const mcp = new Mcp({ gateway, version, tools, upstreams: noUpstreams, allowlist, records, locate, log });
  return {
    mcp,
    close: () => mcp.close(),
  };
}
