/**
 * Approvals, below `/api/v1`.
 */
import { Elysia } from "elysia";
import type { Changes } from "../../db/changes.ts";
import type { ClosedPolicy, Guard, OpenedIn } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { seenVersion, versioned } from "../../platform/versions.ts";
import { type Approvals, type Named, requireMayConsumeAny } from "./approvals.ts";
import {
  approvalQuery,
  approvalsQuery,
  consumptionForm,
  decisionForm,
  emptyForm,
  newApprovalForm,
} from "./contract.ts";

const unparsed = { parse: "none" } as const;
const reads = { plane: "control", scope: "control:read", project: "viewer" } as const satisfies ClosedPolicy;
const writes = { plane: "control", project: "editor" } as const;
const asks = { ...writes, scope: "approvals:request" } as const satisfies ClosedPolicy;
const decides = { ...writes, scope: "approvals:decide", who: "person" } as const satisfies ClosedPolicy;
/** A runner needs another scope than whoever asked; which of them it is, the approval itself says. */
const consumes = { ...writes, scope: null } as const satisfies ClosedPolicy;

export type ApprovalRoutesNeeds = { guard: Guard; changes: Changes; approvals: Approvals };

export function approvalRoutes(needs: ApprovalRoutesNeeds) {
  const { guard, changes, approvals } = needs;
  return new Elysia({ prefix: "/api/v1" })
    .get(
      "/sessions/:session/approvals",
      guard.closed({ ...reads, at: "session" }, ({ call, params }) =>
        approvals.page(params.session ?? "", parseQuery(approvalsQuery, call.url.searchParams)),
      ),
    )
    .post(
      "/sessions/:session/approvals",
      guard.closed({ ...asks, at: "session" }, (opened) =>
        changes.answer(opened, { form: newApprovalForm }, (change, asked) =>
          approvals.request(change, opened.params.session ?? "", opened.principal, asked),
        ),
      ),
      unparsed,
    )
    .get(
      "/approvals/:approval",
      guard.closed({ ...reads, at: "approval" }, async ({ call, request, principal, params, place }) => {
        const { wait_seconds: seconds } = parseQuery(approvalQuery, call.url.searchParams);
        const id = params.approval ?? "";
        if (seconds === 0) return versioned(await approvals.get(id));
        // Bun's own idle timeout would come first.
        call.stayOpen(seconds + 10);
        const waiter = { principal, projectId: place.projectId, milliseconds: seconds * 1_000 };
        return versioned(await approvals.getOnceDecided(id, { ...waiter, signal: request.signal }));
      }),
    )
    .use(verbRoutes(needs));
}

/** What becomes of an approval: each answers with it, 200. */
function verbRoutes({ guard, changes, approvals }: ApprovalRoutesNeeds) {
  const at = "approval";
  const status = 200;
  return new Elysia({ prefix: "/approvals/:approval" })
    .post(
      "/decision",
      guard.closed({ ...decides, at }, (opened) =>
        changes.answer(opened, { form: decisionForm, status }, (change, asked) => {
          const judge = { principal: opened.principal, role: opened.place.role };
          return approvals.decide(change, namedBy(opened), judge, asked);
        }),
      ),
      unparsed,
    )
    .post(
      "/consumption",
      guard.closed({ ...consumes, at }, (opened) => {
        // Before an earlier answer would be given again.
        requireMayConsumeAny(opened.principal);
        return changes.answer(opened, { form: consumptionForm, status }, (change, asked) =>
          approvals.consume(change, namedBy(opened), opened.principal, asked),
        );
      }),
      unparsed,
    )
    .post(
      "/withdrawal",
      guard.closed({ ...asks, at }, (opened) =>
        changes.answer(opened, { form: emptyForm, status }, (change) =>
          approvals.withdraw(change, namedBy(opened), opened.principal),
        ),
      ),
      unparsed,
    )
    .post(
      "/revocation",
      guard.closed({ ...decides, at }, (opened) =>
        changes.answer(opened, { form: emptyForm, status }, (change) =>
          approvals.revoke(change, namedBy(opened), opened.principal),
        ),
      ),
      unparsed,
    );
}

const namedBy = ({ request, params, place }: OpenedIn): Named => ({
  approvalId: params.approval ?? "",
  sessionId: place.sessionId ?? "",
  seen: seenVersion(request),
});
