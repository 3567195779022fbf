/**
 * Reports, below `/api/v1`.
 */
import { Elysia } from "elysia";
import type { Changes } from "../../db/changes.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { newReportForm, reportBytesMax, reportsQuery } from "./contract.ts";
import type { Reports } from "./reports.ts";

const reads = { plane: "control", scope: "control:read", project: "viewer" } as const satisfies ClosedPolicy;
const writes = {
  plane: "control",
  scope: "control:write",
  project: "editor",
} as const satisfies ClosedPolicy;

export type ReportRoutesNeeds = { guard: Guard; changes: Changes; reports: Reports };

export function reportRoutes({ guard, changes, reports }: ReportRoutesNeeds) {
  return new Elysia({ prefix: "/api/v1" })
    .get(
      "/sessions/:session/reports",
      guard.closed({ ...reads, at: "session" }, ({ call, params }) =>
        reports.page(params.session ?? "", parseQuery(reportsQuery, call.url.searchParams)),
      ),
    )
    .post(
      "/sessions/:session/reports",
      guard.closed({ ...writes, at: "session" }, (opened) =>
        changes.answer(opened, { form: newReportForm, bodyBytesMax: reportBytesMax }, (change, asked) =>
          reports.submit(change, opened.params.session ?? "", asked),
        ),
      ),
      { parse: "none" },
    )
    .get(
      "/reports/:report",
      guard.closed({ ...reads, at: "report" }, ({ params }) => reports.get(params.report ?? "")),
    );
}
