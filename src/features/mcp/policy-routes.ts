/**
 * The doors of policies: administrators alone read and write them. Whoever is under one sees it through `whoami`.
 */
import { actorOf } from "../../db/audit-entry.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { seenVersion } from "../../platform/versions.ts";
import { readJson } from "../../platform/wire-body.ts";
import { type PolicyView, policiesQuery, policyBytesMax, policyForm } from "./contract.ts";
import type { PolicyBook } from "./policies.ts";

const administers = { plane: "control", scope: "admin" } as const satisfies ClosedPolicy;

/** For `/api/v1/mcp/policies` and, with a principal's id in the path, what is below. */
export function policyDoors(guard: Guard, policies: PolicyBook) {
  return {
    list: guard.closed(administers, ({ call }) =>
      policies.page(parseQuery(policiesQuery, call.url.searchParams)),
    ),
    get: guard.closed(administers, async ({ params }) =>
      answerOf(await policies.get(params.principal ?? "")),
    ),
    put: guard.closed(administers, async ({ request, call, principal, params }) => {
      const { rules } = await readJson(request, policyForm, policyBytesMax);
      const seen = seenVersion(request);
      return answerOf(await policies.replace(actorOf(principal, call), params.principal ?? "", rules, seen));
    }),
  };
}

const answerOf = (view: PolicyView): Response =>
  Response.json(view, { headers: { "cache-control": "no-store", etag: `"${view.revision}"` } });
