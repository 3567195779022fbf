/**
 * Reports as MCP resources: their texts, each as the kind of text that it is.
 */
import type { Database } from "../../db/database.ts";
import { newestIds } from "../../db/newest.ts";
import type { ResourceSource } from "../../platform/mcp-sources.ts";
import { type ThingResourcesNeeds, thingResources } from "../../platform/thing-resources.ts";
import type { ReportFormat } from "./contract.ts";
import type { Reports } from "./reports.ts";
import { listLines } from "./store.ts";

export type ReportResourcesNeeds = ThingResourcesNeeds & { reports: Reports; database: Database };

const mimeTypes = {
  markdown: "text/markdown",
  json: "application/json",
  text: "text/plain",
} as const satisfies Record<ReportFormat, string>;

export const reportResources = (needs: ReportResourcesNeeds): ResourceSource =>
  thingResources(needs, {
    prefix: "rpt",
    kind: "report",
    template: {
      name: "report",
      title: "Report",
      description: "One report's text, in the format in which it was handed in.",
    },
    async newest(principal, range) {
      const { db } = needs.database;
      const rows = await listLines(db, await newestIds(db, "reports", principal, range));
      return rows.map(({ id, title, kind, format, sessionId }) => ({
        id,
        name: id,
        title,
        description: `A report of ${sessionId}, ${kind}.`,
        mimeType: mimeTypes[format],
      }));
    },
    async read(id) {
      const { format, body } = await needs.reports.get(id);
      return { mimeType: mimeTypes[format], text: body };
    },
  });
