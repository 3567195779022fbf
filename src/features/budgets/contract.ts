/**
 * Budgets on the wire.
 */
import { z } from "zod";
import { formatUsd, type NanoUsd, parseUsd } from "../../platform/money.ts";
import { pageQuery } from "../../platform/page.ts";

export const subjects = ["global", "user", "project", "client", "key"] as const;
export type Subject = (typeof subjects)[number];
export const periods = ["day", "week", "month", "total"] as const;
export type Period = (typeof periods)[number];
const weekStarts = ["monday", "sunday"] as const;

/** More than anybody means, and sums of it are still whole numbers. */
const limitNanoMax: NanoUsd = 1_000_000_000_000_000;
const limitUsd = z.string().transform((text, context): NanoUsd => {
  const nano = parseUsd(text);
  if (nano !== null && nano <= limitNanoMax) return nano;
  const message = `An amount from 0 to ${formatUsd(limitNanoMax)} USD as text, such as "12.50", with at most nine decimals.`;
  context.addIssue({ code: "custom", message });
  return z.NEVER;
});

export const thresholdPercentMax = 1_000;
/** Per cent of the limit. */
const thresholds = z
  .array(z.int().min(1).max(thresholdPercentMax))
  .max(20)
  .transform((given) => [...new Set(given)].sort((a, b) => a - b));

export const newBudgetForm = z.strictObject({
  subject: z.enum(subjects),
  subject_id: z.string().max(2_048).nullable().optional(),
  period: z.enum(periods),
  timezone: z.string().min(1).max(64).default("UTC"),
  week_start: z.enum(weekStarts).default("monday"),
  limit_usd: limitUsd,
  thresholds: thresholds.default([50, 80, 95, 100]),
  hard: z.boolean().default(true),
});
export type NewBudget = z.infer<typeof newBudgetForm>;

/** Whom it is about and which time stay: that would be another budget, with other sums. */
export const budgetChangeForm = z
  .strictObject({ limit_usd: limitUsd, thresholds, hard: z.boolean() })
  .partial();
export type BudgetChange = z.infer<typeof budgetChangeForm>;

export const budgetsQuery = z.strictObject({ ...pageQuery, subject: z.enum(subjects).optional() });
export type BudgetsQuery = z.infer<typeof budgetsQuery>;

export const budgetShape = z.object({
  id: z.string(),
  subject: z.enum(subjects),
  subject_id: z.string().nullable(),
  period: z.enum(periods),
  timezone: z.string(),
  week_start: z.enum(weekStarts),
  limit_usd: z.string(),
  thresholds: z.array(z.int()),
  hard: z.boolean().describe("Whether a call that would go over is refused; otherwise it is only told."),
  current: z
    .object({
      starts_at: z.string(),
      ends_at: z.string().nullable(),
      spent_usd: z.string(),
      held_usd: z.string(),
      remaining_usd: z.string(),
    })
    .describe(
      "The period that now lies in. `remaining_usd` is what a call could still be promised, and never below zero.",
    ),
  created_by: z.string(),
  created_at: z.string(),
  version: z.int(),
});
export type BudgetView = z.infer<typeof budgetShape>;
