/**
 * The wire of the usage API: what may be asked, and the rows that answer.
 */
import { z } from "zod";
import { finalStates } from "../../db/ledger.ts";
import { pageQuery } from "../../platform/page.ts";
import { timeText } from "../../platform/query.ts";

const name = z.string().min(1).max(256);
const tag = z
  .string()
  .max(256)
  .regex(/^[^=]+=./, "Give a tag as `name=value`.");

/** What a call was for and whose it was; each takes one name or id. */
const filters = {
  /** The model that answered. */
  model: name.optional(),
  provider: name.optional(),
  project: name.optional(),
  session: name.optional(),
  iteration: name.optional(),
  task: name.optional(),
  user: name.optional(),
  client: name.optional(),
  key: name.optional(),
  tag: tag.optional(),
};

/** Of single calls `model` may also be the name that was asked for. */
const callFilters = {
  ...filters,
  from: timeText.optional(),
  to: timeText.optional(),
  endpoint: name.optional(),
  state: z.enum(["unknown", ...finalStates]).optional(),
};

export const requestsQuery = z.strictObject({ ...pageQuery, ...callFilters });
export type RequestsQuery = z.infer<typeof requestsQuery>;
export type CallFilters = Omit<RequestsQuery, "limit" | "cursor">;

export const exportFormats = ["csv", "ndjson"] as const;
export type ExportFormat = (typeof exportFormats)[number];
export const exportQuery = z.strictObject({
  format: z.enum(exportFormats, { error: "Give `csv` or `ndjson`." }).default("csv"),
  ...callFilters,
});

export const groups = [
  "hour",
  "day",
  "model",
  "provider",
  "project",
  "session",
  "iteration",
  "task",
  "user",
  "client",
  "key",
  "tag",
] as const;
export type Group = (typeof groups)[number];

const group = z.enum(groups, { error: `Group by one or two of ${groups.join(", ")}.` });

export const summaryQuery = z.strictObject({
  ...filters,
  from: timeText.optional(),
  to: timeText.optional(),
  group_by: z
    .array(group)
    .max(2, "Group by two at most.")
    .refine((given) => new Set(given).size === given.length, "Name each group once.")
    .default([]),
});
export type SumFilters = Omit<z.infer<typeof summaryQuery>, "from" | "to" | "group_by">;

const usd = z.string();
const time = z.string();
const count = z.number().int();
const tokens = z.object({
  input: count.nullable(),
  output: count.nullable(),
  cached_read: count.nullable(),
  cache_write: count.nullable(),
  reasoning: count.nullable(),
  audio: count.nullable(),
});
/** USD per million tokens. */
const prices = z.object({ input: usd, cached_read: usd, cache_write: usd, output: usd });
const state = z.enum(["open", "unknown", ...finalStates]);

const attemptRow = z.object({
  attempt: count,
  state,
  at: time,
  provider: z.string(),
  model: z.string(),
  status: count.nullable(),
  error: z.string().nullable(),
  usage: tokens,
  cost_usd: usd.nullable(),
  prices: prices.nullable(),
  first_token_ms: count.nullable(),
  duration_ms: count.nullable(),
});
export type AttemptRow = z.infer<typeof attemptRow>;

const requestRow = z.object({
  id: z.string(),
  state,
  at: time,
  endpoint: z.string(),
  requested_model: z.string(),
  model: z.string(),
  provider: z.string(),
  project_id: z.string().nullable(),
  session_id: z.string().nullable(),
  iteration_id: z.string().nullable(),
  task_id: z.string().nullable(),
  principal: z.string(),
  client_id: z.string().nullable(),
  key_id: z.string().nullable(),
  tags: z.record(z.string(), z.string()).nullable(),
  stream: z.boolean(),
  status: count.nullable(),
  delivery: z.enum(["whole", "cut", "none"]).nullable(),
  usage: tokens,
  cost_usd: usd.nullable(),
  charged_usd: usd.nullable(),
  prices: prices.nullable(),
  attempts: z.array(attemptRow),
  first_token_ms: count.nullable(),
  duration_ms: count.nullable(),
  trace_id: z.string().nullable(),
});
export type RequestRow = z.infer<typeof requestRow>;

const percentiles = z.object({ p50: count.nullable(), p95: count.nullable() });
const sums = z.object({
  cost_usd: usd,
  charged_usd: usd.describe(
    "What budgets were charged: the cost, and more for attempts and answers that nobody saw to their end.",
  ),
  unknown_usd: usd.describe(
    "Charged for calls whose end nobody knows; part of `charged_usd`, and not of `cost_usd`.",
  ),
  requests: count,
  errors: count,
  usage: z.object({
    input: count,
    output: count,
    cached_read: count,
    cache_write: count,
    reasoning: count,
    audio: count,
  }),
  latency_ms: percentiles,
  first_token_ms: percentiles,
});
export type Sums = z.infer<typeof sums>;
const groupName = z
  .string()
  .nullable()
  .optional()
  .describe("Of the group: a time, an id, a name, or null where there was none.");
const summaryRow = z.object({
  ...(Object.fromEntries(groups.map((name) => [name, groupName])) as Record<Group, typeof groupName>),
  ...sums.shape,
});
/** A group's field carries the group's name. */
export type SummaryRow = z.infer<typeof summaryRow>;

export const summaryShape = z.object({ data: z.array(summaryRow), totals: sums });
export type Summary = z.infer<typeof summaryShape>;
