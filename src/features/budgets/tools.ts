/**
 * What a caller may still spend and ask for, for MCP clients.
 *
 * Money: the budgets that its own calls count in, as far as it may see them over HTTP; others' budgets are nobody's
 * business here, an administrator's neither. Pace: what is left of this minute, without counting anything.
 */
import { z } from "zod";
import type { LimitsLeft } from "../../platform/limits.ts";
import type { Principal } from "../../platform/principal.ts";
import { readTool, type Tool } from "../../platform/tool.ts";
import { toolPage, toolPageOf } from "../../platform/tool-page.ts";
import type { Budgets } from "./budgets.ts";
import { budgetShape } from "./contract.ts";

export type BudgetToolsNeeds = {
  budgets: Budgets;
  left: (principal: Principal) => Promise<LimitsLeft>;
  /** Of all that are charged to one project together; `null` is no limit. */
  ofProject: () => { requestsPerMinute: number | null; tokensPerMinute: number | null };
};

const pace = z
  .object({ max: z.int(), left: z.int(), resets_in_seconds: z.int() })
  .nullable()
  .describe("Of one minute; null is no limit.");
const perMinute = z.int().nullable().describe("null is no limit.");

const limitsShape = z.object({
  budgets: toolPageOf(budgetShape),
  requests_per_minute: z.object({ llm: pace, mcp: pace, control: pace }),
  llm_tokens_per_minute: pace,
  project: z
    .object({ llm_requests_per_minute: perMinute, llm_tokens_per_minute: perMinute })
    .describe("For all callers of one project together."),
});

export function budgetTools({ budgets, left, ofProject }: BudgetToolsNeeds): Tool[] {
  return [
    readTool({
      name: "usage_limits",
      title: "What may still be spent",
      description:
        "Tells what the caller may still spend and ask for: each budget that its model calls count in, with what remains of it in USD (a `hard` one refuses what goes over), and the requests and tokens left of this minute. Ask before expensive work.",
      scopes: ["mcp:read", "usage:read"],
      input: z.strictObject({
        project_id: z
          .string()
          .max(64)
          .optional()
          .describe("Only budgets that calls charged to this project (`prj_…`) count in."),
        ...toolPage,
      }),
      output: limitsShape,
      run: async ({ principal, asked: { project_id: projectId, ...page } }) => {
        const [concerning, now] = await Promise.all([
          budgets.concerning(principal, { ...page, projectId }),
          left(principal),
        ]);
        const project = ofProject();
        return {
          budgets: concerning,
          requests_per_minute: {
            llm: paceOf(now.requests.llm),
            mcp: paceOf(now.requests.mcp),
            control: paceOf(now.requests.control),
          },
          llm_tokens_per_minute: paceOf(now.llmTokens),
          project: {
            llm_requests_per_minute: project.requestsPerMinute,
            llm_tokens_per_minute: project.tokensPerMinute,
          },
        };
      },
    }),
  ];
}

const paceOf = (limit: LimitsLeft["llmTokens"]): z.infer<typeof pace> =>
  limit === null ? null : { max: limit.max, left: limit.left, resets_in_seconds: limit.seconds };
