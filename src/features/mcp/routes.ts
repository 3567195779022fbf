/**
 * `/mcp`, and what administrators set about it below `/api/v1/mcp`.
 */
import { Elysia } from "elysia";
import { Failure } from "../../platform/failure.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import type { Mcp } from "./mcp.ts";
import type { PolicyBook } from "./policies.ts";
import { policyDoors } from "./policy-routes.ts";

const unparsed = { parse: "none" } as const;
const speaks = { plane: "mcp", scope: "mcp:read" } as const satisfies ClosedPolicy;

export type McpRoutesNeeds = { guard: Guard; mcp: Mcp; policies: PolicyBook };

export function mcpRoutes({ guard, mcp, policies }: McpRoutesNeeds) {
  const ofPolicies = policyDoors(guard, policies);
  return new Elysia()
    .get("/api/v1/mcp/policies", ofPolicies.list)
    .get("/api/v1/mcp/policies/:principal", ofPolicies.get)
    .put("/api/v1/mcp/policies/:principal", ofPolicies.put, unparsed)
    .post(
      "/mcp",
      guard.closed(speaks, (opened) => mcp.answer(opened)),
      unparsed,
    )
    .get("/mcp", guard.closed(speaks, refuseMethod))
    .delete("/mcp", guard.closed(speaks, refuseMethod));
}

/** There are no sessions here, so there is none to listen to or to end (MCP 2025-11-25, Streamable HTTP). */
function refuseMethod(): never {
  const message = "Send messages with POST: this server keeps no sessions.";
  throw new Failure("method", "method_not_allowed", message, { headers: { allow: "POST" } });
}
