/**
 * What calls of models cost, for MCP clients: the sums that the caller may see, as over HTTP.
 */
import { z } from "zod";
import { readTool, type Tool } from "../../platform/tool.ts";
import { groups, summaryQuery, summaryShape } from "./contract.ts";
import type { Usage } from "./usage.ts";

export function usageTools({ usage }: { usage: Usage }): Tool[] {
  const { from, to, group_by, model, provider, tag, ...ids } = summaryQuery.shape;
  return [
    readTool({
      name: "usage_summary",
      title: "Sum up spending",
      description:
        "Sums up the model calls that the caller may see: what they cost in USD, how many they were, tokens and latency, in all (`totals`) and by up to two groups (`data`). Covers whole hours; calls count once they are over.",
      scopes: ["mcp:read", "usage:read"],
      input: z.strictObject({
        from: from.describe("From when on, as RFC 3339 or a day; without it, from the beginning."),
        to: to.describe("Until when; without it, until now."),
        group_by: group_by.describe(`At most two of ${groups.join(", ")}; none sums up all in one.`),
        model: model.describe("Only calls that this model answered."),
        provider: provider.describe("Only calls that this provider answered."),
        tag: tag.describe("Only calls with this tag, as `name=value`."),
        ...ids,
      }),
      output: summaryShape,
      run: ({ principal, asked: { from: since, to: until, group_by: by, ...filters } }) =>
        usage.summary(principal, { from: since, to: until, by, filters }),
    }),
  ];
}
