/**
 * `/mcp`, and what administrators set about it below `/api/v1/mcp`.
 */
import { Elysia } from "elysia";
import type { ClosedPolicy, Guard, OpenedBy } from "../../platform/guard.ts";
import type { Doorway } from "./doorway.ts";
import type { PolicyBook } from "./policies.ts";
import { policyDoors } from "./policy-routes.ts";

const unparsed = { parse: "none" } as const;
/** The door itself asks for `mcp:read`, so that a refusal for lacking it is written down like every other. */
const speaks = { plane: "mcp", scope: null } as const satisfies ClosedPolicy;

export type McpRoutesNeeds = { guard: Guard; mcp: Doorway; policies: PolicyBook };

export function mcpRoutes({ guard, mcp, policies }: McpRoutesNeeds) {
  const ofPolicies = policyDoors(guard, policies);
  const refuseMethod = (opened: OpenedBy) => mcp.refuseMethod(opened);
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
