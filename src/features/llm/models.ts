/**
 * What a caller may ask for: configured models, and what the price table knows of each configured provider.
 *
 * A provider's model that stands in no table is not listed but still answers by `provider/model`.
 */
import type { GatewayConfig } from "../../platform/config.ts";
import { formatUsd } from "../../platform/money.ts";
import { demoModel, demoProvider } from "./demo.ts";
import type { Prices } from "./prices.ts";
import { findTarget, isDemo, type Target } from "./route.ts";

/** USD per million tokens, as decimal strings. */
type PriceView = Record<"input" | "cached_read" | "cache_write" | "output", string>;
export type ModelView = {
  id: string;
  object: "model";
  created: number;
  owned_by: string;
  endpoints: string[];
  prices: PriceView | null;
};

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
  const target = findTarget(gateway, prices, name);
  return {
    id: name,
    object: "model",
    created,
    owned_by: target.provider,
    endpoints: ["chat/completions"],
    prices: priceView(prices, target),
  };
}

function priceView(prices: Prices, { provider, model }: Target): PriceView | null {
  const price = prices.find(provider, model);
  if (price === null) return null;
  return {
    input: formatUsd(price.input),
    cached_read: formatUsd(price.cached_read),
    cache_write: formatUsd(price.cache_write),
    output: formatUsd(price.output),
  };
}

/** Anthropic's shape of one model, for its own clients. */
export const anthropicModel = (model: ModelView): object => ({
  type: "model",
  id: model.id,
  display_name: model.id,
  created_at: new Date(model.created * 1000).toISOString(),
});
