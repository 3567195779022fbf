/**
 * Checks, gate policies, gate evaluations and waivers, below `/api/v1`.
 */
import { Elysia } from "elysia";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { ClosedPolicy, Guard, OpenedIn } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { seenVersion, versioned } from "../../platform/versions.ts";
import { readJson } from "../../platform/wire-body.ts";
import type { Checks } from "./checks.ts";
import {
  checksQuery,
  listQuery,
  newCheckForm,
  newEvaluationForm,
  newWaiverForm,
  policyForm,
} from "./contract.ts";
import type { Gates } from "./gates.ts";
import type { Waivers } from "./waivers.ts";

const unparsed = { parse: "none" } as const;
const reads = { plane: "control", scope: "control:read", project: "viewer" } as const satisfies ClosedPolicy;
const writes = {
  plane: "control",
  scope: "control:write",
  project: "editor",
} as const satisfies ClosedPolicy;
/** What is asked for, and what is excused, is for those who answer for the project. */
const rules = { ...writes, project: "owner", who: "signed_in" } as const satisfies ClosedPolicy;
const at = "iteration";

export type GateRoutesNeeds = {
  guard: Guard;
  changes: Changes;
  checks: Checks;
  gates: Gates;
  waivers: Waivers;
};

export function gateRoutes(needs: GateRoutesNeeds) {
  const { guard, changes, gates } = needs;
  return new Elysia({ prefix: "/api/v1" })
    .get(
      "/projects/:project/gate-policy",
      guard.closed(reads, async ({ place }) => versioned(await gates.policy(place.projectId))),
    )
    .put(
      "/projects/:project/gate-policy",
      guard.closed(rules, async ({ request, call, principal, place }) => {
        const policy = await readJson(request, policyForm);
        const actor = actorOf(principal, call);
        return versioned(await gates.setPolicy(actor, place.projectId, policy, seenVersion(request)));
      }),
      unparsed,
    )
    .get(
      "/iterations/:iteration/gate-evaluations",
      guard.closed({ ...reads, at }, ({ call, params }) =>
        gates.page(params.iteration ?? "", parseQuery(listQuery, call.url.searchParams)),
      ),
    )
    .post(
      "/iterations/:iteration/gate-evaluations",
      guard.closed({ ...writes, at }, (opened) =>
        changes.answer(opened, { form: newEvaluationForm }, (change) =>
          gates.create(change, iterationIn(opened)),
        ),
      ),
      unparsed,
    )
    .use(checkRoutes(needs))
    .use(waiverRoutes(needs));
}

function checkRoutes({ guard, changes, checks }: GateRoutesNeeds) {
  return new Elysia()
    .get(
      "/iterations/:iteration/checks",
      guard.closed({ ...reads, at }, ({ call, params }) =>
        checks.page(params.iteration ?? "", parseQuery(checksQuery, call.url.searchParams)),
      ),
    )
    .post(
      "/iterations/:iteration/checks",
      guard.closed({ ...writes, at }, (opened) =>
        changes.answer(opened, { form: newCheckForm }, (change, asked) =>
          checks.create(change, iterationIn(opened), asked),
        ),
      ),
      unparsed,
    )
    .get(
      "/checks/:check",
      guard.closed({ ...reads, at: "check" }, ({ params }) => checks.get(params.check ?? "")),
    );
}

function waiverRoutes({ guard, changes, waivers }: GateRoutesNeeds) {
  return new Elysia()
    .get(
      "/iterations/:iteration/waivers",
      guard.closed({ ...reads, at }, ({ call, params }) =>
        waivers.page(params.iteration ?? "", parseQuery(listQuery, call.url.searchParams)),
      ),
    )
    .post(
      "/iterations/:iteration/waivers",
      guard.closed({ ...rules, at }, (opened) =>
        changes.answer(opened, { form: newWaiverForm }, (change, asked) =>
          waivers.create(change, iterationIn(opened), asked),
        ),
      ),
      unparsed,
    )
    .delete(
      "/waivers/:waiver",
      guard.closed({ ...rules, at: "waiver" }, async ({ request, call, principal, params, place }) => {
        const waiver = { waiverId: params.waiver ?? "", sessionId: place.sessionId ?? "" };
        return versioned(await waivers.revoke(actorOf(principal, call), waiver, seenVersion(request)));
      }),
    );
}

const iterationIn = ({ params, place }: OpenedIn) => ({
  iterationId: params.iteration ?? "",
  sessionId: place.sessionId ?? "",
});
