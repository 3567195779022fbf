/**
 * `/mcp`, and what administrators set about it below `/api/v1/mcp`.
 */
import { Elysia } from "elysia";
import { Failure } from "../../platform/failure.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import type { Mcp } from "./mcp.ts";

const unparsed = { parse: "none" } as const;
const speaks = { plane: "mcp", scope: "mcp:read" } as const satisfies ClosedPolicy;

export function mcpRoutes({ guard, mcp }: { guard: Guard; mcp: Mcp }) {
  return new Elysia()
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
