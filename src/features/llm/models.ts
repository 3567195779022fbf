/**
 * What a caller may ask for: configured models, and what the price table knows of each configured provider.
 *
 * A provider's model that stands in no table is not listed but still answers by `provider/model`.
 */
import type { Rates } from "../../db/ledger.ts";
import type { GatewayConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { formatUsd } from "../../platform/money.ts";
import { demoModel, demoProvider } from "./demo.ts";
import type { Prices } from "./prices.ts";
import { getRoute, isDemo, spokenBy, type Target } from "./route.ts";

/** USD per million tokens, as decimal strings. A part without a price of its own has that of the whole. */
type RatesView = Record<"input" | "cached_read" | "cache_write" | "output", string> &
  Partial<Record<(typeof furtherRates)[number], string>>;
/** `tiers`: what holds instead for a call with more input tokens than `above`. */
type PriceView = RatesView & { tiers?: (RatesView & { above: number })[] };
export type ModelView = {
  id: string;
  object: "model";
  created: number;
  owned_by: string;
  endpoints: string[];
  prices: PriceView | null;
};

const furtherRates = ["cache_write_long", "audio_input", "audio_output"] as const;

/** Unix seconds: OpenAI's clients insist on a number here, and no table knows when a model was made. */
const created = 1_735_689_600;

export function listModels(gateway: GatewayConfig, prices: Prices): ModelView[] {
  if (isDemo(gateway)) return [getModel(gateway, prices, `${demoProvider}/${demoModel}`)];
  const names = Object.keys(gateway.models);
  for (const provider of Object.keys(gateway.providers)) {
    names.push(...prices.known(provider).map((model) => `${provider}/${model}`));
  }
  return names.map((name) => getModel(gateway, prices, name));
}

/** Throws `model_not_found`. */
export function getModel(gateway: GatewayConfig, prices: Prices, name: string): ModelView {
  const route = getRoute(gateway, prices, name);
  const target = (route.targets[0] ?? route.fallbacks[0]) as Target;
  return {
    id: name,
    object: "model",
    created,
    owned_by: target.provider,
    endpoints: spokenBy(route),
    prices: priceView(prices, target),
  };
}

function priceView(prices: Prices, { provider, model }: Target): PriceView | null {
  const price = prices.find(provider, model);
  if (price === null) return null;
  const tiers = price.tiers?.map((tier) => ({ above: tier.above, ...ratesView(tier) }));
  return { ...ratesView(price), ...(tiers === undefined || tiers.length === 0 ? {} : { tiers }) };
}

function ratesView(rates: Rates): RatesView {
  const view: RatesView = {
    input: formatUsd(rates.input),
    cached_read: formatUsd(rates.cached_read),
    cache_write: formatUsd(rates.cache_write),
    output: formatUsd(rates.output),
  };
  for (const part of furtherRates) {
    const rate = rates[part];
    if (rate !== undefined) view[part] = formatUsd(rate);
  }
  return view;
}

/** Anthropic's shape of one model, for its own clients (platform.claude.com, "Models"). */
export const anthropicModel = (model: ModelView): object => ({
  type: "model",
  id: model.id,
  display_name: model.id,
  created_at: new Date(model.created * 1000).toISOString(),
});

/** Also what a page holds unless told: a client that reads one page only should miss nothing. */
const pageMax = 1_000;

/** One page of them: `limit` (1 to 1,000), behind `after_id` or before `before_id`. */
export function anthropicList(models: readonly ModelView[], params: URLSearchParams): object {
  const limit = limitOf(params.get("limit"));
  const [after, before] = [params.get("after_id"), params.get("before_id")];
  if (after !== null && before !== null) {
    throw new Failure("invalid", "invalid_request", "Give `after_id` or `before_id`, not both.");
  }
  const from = after === null ? 0 : indexOf(models, after) + 1;
  const to = before === null ? models.length : indexOf(models, before);
  // Going back, the page is the one that ends where it was asked for.
  const page = before === null ? models.slice(from, from + limit) : models.slice(Math.max(0, to - limit), to);
  return {
    data: page.map(anthropicModel),
    has_more: before === null ? from + limit < models.length : to > limit,
    first_id: page[0]?.id ?? null,
    last_id: page.at(-1)?.id ?? null,
  };
}

function limitOf(text: string | null): number {
  if (text === null) return pageMax;
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= pageMax) return limit;
  throw new Failure("invalid", "invalid_request", `\`limit\` must be a whole number from 1 to ${pageMax}.`);
}

function indexOf(models: readonly ModelView[], id: string): number {
  const found = models.findIndex((model) => model.id === id);
  if (found >= 0) return found;
  throw new Failure("missing", "model_not_found", `There is no model \`${id.slice(0, 200)}\` to go on from.`);
}
