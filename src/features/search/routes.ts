/**
 * The search in a project, below `/api/v1`.
 */
import { Elysia } from "elysia";
import type { Guard } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { searchForm } from "./contract.ts";
import type { Search } from "./search.ts";

export type SearchRoutesNeeds = { guard: Guard; search: Search };

export const searchRoutes = ({ guard, search }: SearchRoutesNeeds) =>
  new Elysia({ prefix: "/api/v1" }).get(
    "/projects/:project/search",
    guard.closed(
      { plane: "control", scope: "control:read", project: "viewer" },
      ({ call, principal, place }) =>
        search.page(
          { projectId: place.projectId, only: principal.sessionId },
          parseQuery(searchForm, call.url.searchParams),
        ),
    ),
  );
