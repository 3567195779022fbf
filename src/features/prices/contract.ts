/**
 * Prices on the wire: what an administrator sets, and what is in force.
 */
import { z } from "zod";
import { priceName } from "../../platform/config-file.ts";
import { parseUsd } from "../../platform/money.ts";
import { pageQuery } from "../../platform/page.ts";
import { line } from "../../platform/text-form.ts";

/** USD per million tokens, to nano-USD. */
const rate = z
  .string({ error: 'Give USD per million tokens as a decimal string, such as "0.15".' })
  .transform((text, context) => {
    const nano = parseUsd(text);
    if (nano !== null && nano < rateMax) return nano;
    context.addIssue({
      code: "custom",
      message:
        'Give USD per million tokens from "0" to "999999", with at most nine decimals, such as "0.15".',
    });
    return z.NEVER;
  });
const rateMax = 1_000_000_000_000_000;

export const priceForm = z
  .strictObject({
    model: line(400).regex(
      priceName,
      "Give provider/model, with * at the end of either part where many are meant.",
    ),
    input: rate.optional(),
    cached_read: rate.optional(),
    cache_write: rate.optional(),
    output: rate.optional(),
    prices: z.null({ error: "Only null: it ends what was set before." }).optional(),
    effective_from: z.iso
      .datetime({ offset: true, error: "Give a time as RFC 3339, such as 2026-05-01T00:00:00Z." })
      .transform((time) => new Date(time))
      .optional(),
  })
  .superRefine((asked, { addIssue }) => {
    const { input, cached_read, cache_write, output } = asked;
    const rated = [input, cached_read, cache_write, output].some((one) => one !== undefined);
    if (asked.prices === null && rated)
      addIssue({ code: "custom", path: ["prices"], message: "Give rates, or prices: null, and not both." });
    if (asked.prices === undefined && input === undefined)
      addIssue({
        code: "custom",
        path: ["input"],
        message: "Give USD per million input tokens; the other rates are the same unless they are given.",
      });
  });
export type PriceAsked = z.infer<typeof priceForm>;

export const pricesQuery = z.strictObject({
  ...pageQuery,
  /** `provider/model`: what is in force for it. */
  model: z
    .string()
    .max(400)
    .regex(/^[^\s/]+\/\S+$/, "Give one model, as provider/model.")
    .optional(),
});
export type PricesQuery = z.infer<typeof pricesQuery>;

/** USD per million tokens. */
export type RatesView = {
  input: string;
  cached_read: string;
  cache_write: string;
  output: string;
  cache_write_long?: string;
  audio_input?: string;
  audio_output?: string;
};

export type OverrideView = {
  model: string;
  /** Null: from then on the file's or the table's price holds again. */
  prices: RatesView | null;
  effective_from: string;
  /** `over`: another one has taken its place. */
  status: "scheduled" | "in_force" | "over";
  created_by: string;
  created_at: string;
};

export type InForceView = {
  model: string;
  source: "override" | "file" | "table" | "demo" | null;
  /** The name it was set under, where it was set. */
  pattern: string | null;
  /** Calls with more than `above` input tokens have the rates of that tier. */
  prices: (RatesView & { tiers?: (RatesView & { above: number })[] }) | null;
  /** Since when, where that is known. */
  since: string | null;
  context_tokens: number | null;
};

export type PricesView = {
  /** What was ever set here, the latest first. */
  data: OverrideView[];
  next_cursor: string | null;
  /** What specgate.yaml says. */
  file: Record<string, RatesView>;
  /** Only when asked for one. */
  model?: InForceView;
};
