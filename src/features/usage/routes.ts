/**
 * `/usage/…` below the control plane's prefix.
 */
import { Elysia } from "elysia";
import type { Guard, Policy } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { requestsQuery, summaryQuery } from "./contract.ts";
import type { Usage } from "./usage.ts";

const policy = { plane: "control", scope: "usage:read" } as const satisfies Policy;

export function usageRoutes({ guard, usage }: { guard: Guard; usage: Usage }) {
  return new Elysia()
    .get(
      "/usage/requests",
      guard.closed(policy, ({ call, principal }) =>
        usage.list(principal, parseQuery(requestsQuery, call.url.searchParams)),
      ),
    )
    .get(
      "/usage/requests/:req",
      guard.closed(policy, ({ params, principal }) => usage.get(principal, params.req ?? "")),
    )
    .get(
      "/usage/summary",
      guard.closed(policy, ({ call, principal }) => {
        const { from, to, group_by } = parseQuery(summaryQuery, call.url.searchParams, ["group_by"]);
        return usage.summary(principal, { from, to, by: group_by });
      }),
    );
}
