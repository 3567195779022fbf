/**
 * Search within a project, below `/api/v1`.
 */
import { Elysia } from "elysia";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { searchForm } from "./contract.ts";
import type { Search } from "./search.ts";

const reads = { plane: "control", scope: "control:read", project: "viewer" } as const satisfies ClosedPolicy;

export const searchRoutes = ({ guard, search }: { guard: Guard; search: Search }) =>
  new Elysia({ prefix: "/api/v1" }).get(
    "/projects/:project/search",
    guard.closed(reads, ({ call, principal, place }) => {
      const question = parseQuery(searchForm, call.url.searchParams);
      return search.page({ projectId: place.projectId, sessionId: principal.sessionId }, question);
    }),
  );
