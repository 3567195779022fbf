/**
 * `/audit` below the control plane's prefix.
 */
import { Elysia } from "elysia";
import type { Guard, Policy } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { auditQuery } from "./contract.ts";
import type { AuditTrail } from "./trail.ts";

const admins = { plane: "control", scope: "admin" } as const satisfies Policy;

export function auditRoutes({ guard, audit }: { guard: Guard; audit: AuditTrail }) {
  return new Elysia().get(
    "/audit",
    guard.closed(admins, ({ call }) => audit.list(parseQuery(auditQuery, call.url.searchParams))),
  );
}
