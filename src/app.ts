/**
 * Parts → one answerer: the edge, then the router with every feature's routes, each behind a door of the guard.
 *
 * A route whose handler the guard did not make stops the start: nothing is public by omission.
 */
import { type AnyElysia, Elysia } from "elysia";
import { alertRoutes } from "./features/alerts/routes.ts";
import { approvalRoutes } from "./features/approvals/routes.ts";
import { artifactRoutes, blobRoutes } from "./features/artifacts/routes.ts";
import { auditRoutes } from "./features/audit/routes.ts";
import { budgetRoutes } from "./features/budgets/routes.ts";
import { eventRoutes } from "./features/events/routes.ts";
import { gateRoutes } from "./features/gates/routes.ts";
import { healthRoutes } from "./features/health/routes.ts";
import { identityRoutes } from "./features/identity/routes.ts";
import { consoleLlmRoutes, llmRoutes } from "./features/llm/routes.ts";
import { mcpRoutes } from "./features/mcp/routes.ts";
import { priceRoutes } from "./features/prices/routes.ts";
import { projectRoutes } from "./features/projects/routes.ts";
import { reportRoutes } from "./features/reports/routes.ts";
import { searchRoutes } from "./features/search/routes.ts";
import { sessionRoutes } from "./features/sessions/routes.ts";
import { taskRoutes } from "./features/tasks/routes.ts";
import { tokenRoutes } from "./features/tokens/routes.ts";
import { upstreamRoutes } from "./features/upstreams/routes.ts";
import { usageRoutes } from "./features/usage/routes.ts";
import { callOf } from "./platform/call.ts";
import { dialectOf, failureResponse } from "./platform/dialects.ts";
import type { Answerer } from "./platform/edge.ts";
import { Failure } from "./platform/failure.ts";
import type { Policy } from "./platform/guard.ts";
import type { Parts } from "./wiring.ts";

export type App = {
  readonly answer: Answerer;
  /** Every route with its policy, for the tests that try each door. */
  readonly doors: readonly { method: string; path: string; policy: Policy }[];
};

/** Every route of the gateway, on one screen. */
export function createApp(parts: Parts): App {
  const { guard, identity, oidc, addresses, completions, prices, gateway, audit, health, config, cursors } =
    parts;
  const { changes, control } = parts;
  const { oauth, clients, keys, projects, attempts } = identity;
  const requestsPerMinute = () => parts.limitNumbers().requests;
  const publicUrl = () => addresses().publicUrl;
  const { authenticateCookie } = identity.authenticator;
  const projectNames = (ids: readonly string[]) => projects.names(ids);
  const doors = config.oauth;
  const controlBytesMax = () => gateway().limits.control.bodyBytesMax;
  return mount([
    healthRoutes({ guard, health, metricsToken: config.metricsToken }),
    identityRoutes({ ...identity, guard, changes, authenticateCookie, oidc, cursors, publicUrl }),
    tokenRoutes({
      guard,
      changes,
      oauth,
      doors,
      clients,
      keys,
      attempts,
      addresses,
      cursors,
      requestsPerMinute,
      projectNames,
      visibleTools: parts.visibleTools,
    }),
    projectRoutes({ guard, changes, projects, cursors }),
    searchRoutes({ guard, search: control.search }),
    eventRoutes({ guard, events: parts.events }),
    sessionRoutes({ guard, changes, sessions: control.sessions }),
    taskRoutes({ guard, changes, tasks: control.tasks, bodyBytesMax: controlBytesMax }),
    reportRoutes({ guard, changes, reports: control.reports }),
    approvalRoutes({ guard, changes, approvals: control.approvals }),
    artifactRoutes({ guard, changes, artifacts: control.artifacts }),
    ...(parts.disk === null ? [] : [blobRoutes({ guard, disk: parts.disk })]),
    alertRoutes({ guard, changes, hooks: parts.alerts.hooks }),
    gateRoutes({ ...control, guard, changes }),
    budgetRoutes({ guard, changes, budgets: parts.budgets }),
    priceRoutes({ guard, priceBook: parts.priceBook }),
    llmRoutes({ guard, completions, prices, gateway }),
    consoleLlmRoutes({ guard, completions }),
    mcpRoutes({ guard, mcp: parts.mcp, policies: parts.mcpPolicies }),
    upstreamRoutes({ guard, changes, upstreams: parts.upstreams.servers, pins: parts.upstreams.pins }),
    new Elysia({ prefix: "/api/v1" })
      .use(usageRoutes({ guard, ...parts.spending }))
      .use(auditRoutes({ guard, audit })),
  ]);
}

/** Throws for a route whose handler the guard did not make. */
export function mount(features: readonly AnyElysia[]): App {
  // The router must take the path from the parsed URL: with the default it counts characters from a fixed offset,
  // and a short Host moves the path.
  const router = new Elysia({ handler: { standardHostname: false } }).onError(({ request, code, error }) => {
    const call = callOf(request);
    const failure = code === "NOT_FOUND" ? noRoute(request.method) : routerFailure(error);
    return failureResponse(failure, dialectOf(call.url.pathname, request), call.id);
  });
  for (const feature of features) router.use(feature);
  const doors = router.routes.map(({ method, path, handler }) => ({
    method,
    path,
    policy: policyOf(method, path, handler),
  }));
  return { answer: (request) => router.fetch(request), doors };
}

function policyOf(method: string, path: string, handler: unknown): Policy {
  const policy = typeof handler === "function" ? (handler as { policy?: Policy }).policy : undefined;
  if (policy === undefined)
    throw new Error(`${method} ${path} has no policy: make its handler with the guard.`);
  return policy;
}

const noRoute = (method: string): Failure =>
  new Failure("missing", "not_found", `There is nothing at this path that answers ${method}.`);

/** What the router itself could not do; its own messages may echo the request, so they stay in the log. */
const routerFailure = (cause: unknown): Failure =>
  new Failure(
    "internal",
    "internal",
    "Something went wrong inside the gateway. Its log has the reason under this request id.",
    {
      cause,
    },
  );
