/**
 * `/usage/…` below the control plane's prefix.
 */
import { Elysia } from "elysia";
import { attachmentOf } from "../../platform/content-disposition.ts";
import type { Guard, OpenedBy, Policy } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { type ExportFormat, exportQuery, requestsQuery, summaryQuery } from "./contract.ts";
import type { Exports } from "./export.ts";
import type { Usage } from "./usage.ts";

const policy = { plane: "control", scope: "usage:read" } as const satisfies Policy;

export function usageRoutes({ guard, usage, exports }: { guard: Guard; usage: Usage; exports: Exports }) {
  const file = async ({ call, principal, request }: OpenedBy): Promise<Response> => {
    const { format, ...filters } = parseQuery(exportQuery, call.url.searchParams);
    const headers = fileHeaders(format);
    // Nobody would read a body, or say that they have gone.
    if (request.method === "HEAD") return new Response(null, { headers });
    const body = await exports.open(principal, { format, filters });
    // A slow reader is waited for; one that reads nothing is let go by the export itself.
    call.stayOpen();
    return new Response(body, { headers });
  };
  return new Elysia()
    .get(
      "/usage/requests",
      guard.closed(policy, ({ call, principal }) =>
        usage.list(principal, parseQuery(requestsQuery, call.url.searchParams)),
      ),
    )
    .get("/usage/export", guard.closed(policy, file))
    .get(
      "/usage/requests/:req",
      guard.closed(policy, ({ params, principal }) => usage.get(principal, params.req ?? "")),
    )
    .get(
      "/usage/summary",
      guard.closed(policy, ({ call, principal }) => {
        const asked = parseQuery(summaryQuery, call.url.searchParams, ["group_by"]);
        const { from, to, group_by: by, ...filters } = asked;
        return usage.summary(principal, { from, to, by, filters });
      }),
    );
}

const mediaTypes: Record<ExportFormat, string> = {
  csv: "text/csv; charset=utf-8; header=present",
  ndjson: "application/x-ndjson",
};

const fileHeaders = (format: ExportFormat) => ({
  "content-type": mediaTypes[format],
  "content-disposition": attachmentOf(`usage.${format}`),
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
});
