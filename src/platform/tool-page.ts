/**
 * Pages of a list as a tool takes and answers them: the same cursors as over HTTP, a smaller page unless asked for more,
 * because a model reads every row.
 */
import { z } from "zod";

const pageLimitMax = 200;
const pageLimitDefault = 20;

/** What every listing tool takes beside its own filters. */
export const toolPage = {
  limit: z
    .int()
    .min(1)
    .max(pageLimitMax)
    .default(pageLimitDefault)
    .describe(`How many rows at most; ${pageLimitDefault} unless told, ${pageLimitMax} at most.`),
  cursor: z
    .string()
    .max(1_024)
    .optional()
    .describe("`next_cursor` of the page before; leave it out to begin."),
};

/** What it answers. */
export const toolPageOf = <Row extends z.ZodType>(row: Row) =>
  z.object({
    data: z.array(row),
    next_cursor: z
      .string()
      .nullable()
      .describe("Hand it back as `cursor` for the next page; null on the last."),
  });
