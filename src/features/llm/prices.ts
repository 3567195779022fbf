/**
 * What a token costs: the operator's own prices first, then the library's table; null when neither knows.
 *
 * The library needs 13 µs a look-up, so each provider and model is resolved once and kept. Prices are nano-USD per
 * million tokens, costs are nano-USD, all integers: no float ever holds an amount.
 */
import { calcPrice, findProvider, type Provider, type TieredPrices } from "@pydantic/genai-prices";
import type { PriceSnapshot, Usage } from "../../db/ledger.ts";
import type { GatewayConfig, PriceConfig } from "../../platform/config.ts";
import type { NanoUsd } from "../../platform/money.ts";
import { demoProvider } from "./demo.ts";

export type Prices = {
  /** Unit prices of a model at a provider, or null when nobody knows them. */
  find(provider: string, model: string): PriceSnapshot | null;
  /** True when the library's table has this model at this provider, or the operator priced it by its full name. */
  claims(provider: string, model: string): boolean;
  /** The models of a configured provider that the library's table knows. */
  known(provider: string): string[];
};

type Entry = { price: PriceSnapshot | null; claimed: boolean };

export function createPrices(gateway: () => GatewayConfig): Prices {
  const cache = new Map<string, Entry>();
  let cachedFor: GatewayConfig | null = null;
  const entryOf = (provider: string, model: string): Entry => {
    const config = gateway();
    if (config !== cachedFor || cache.size > 10_000) cache.clear();
    cachedFor = config;
    const name = `${provider}/${model}`;
    const cached = cache.get(name);
    if (cached !== undefined) return cached;
    const listed = tablePrice(config, provider, model);
    const claimed = listed !== null || Object.hasOwn(config.prices, name);
    const entry = { price: override(config.prices, name) ?? listed, claimed };
    cache.set(name, entry);
    return entry;
  };
  return {
    find: (provider, model) => entryOf(provider, model).price,
    claims: (provider, model) => entryOf(provider, model).claimed,
    known: (provider) => tableOf(gateway(), provider)?.models.map((model) => model.id) ?? [],
  };
}

/** Nano-USD, rounded half up; null when the price or the counts are not known. */
export function costOf(usage: Usage | null, prices: PriceSnapshot | null): NanoUsd | null {
  if (usage === null || prices === null) return null;
  const cached = usage.cached_read ?? 0;
  const written = usage.cache_write ?? 0;
  const plain = Math.max(0, (usage.input ?? 0) - cached - written);
  const output = usage.output ?? 0;
  const { input, cached_read, cache_write } = prices;
  const total = plain * input + cached * cached_read + written * cache_write + output * prices.output;
  // Below 2^53 each of these sums is exact; a long context at a high price passes it before it is divided.
  if (total < Number.MAX_SAFE_INTEGER - 500_000) return Math.floor((total + 500_000) / 1_000_000);
  const exact =
    BigInt(plain) * BigInt(input) +
    BigInt(cached) * BigInt(cached_read) +
    BigInt(written) * BigInt(cache_write) +
    BigInt(output) * BigInt(prices.output);
  return Number((exact + 500_000n) / 1_000_000n);
}

/** The most exact pattern wins: a full name, then the longest prefix before a `*`. */
function override(prices: Record<string, PriceConfig>, name: string): PriceSnapshot | null {
  const patterns = Object.keys(prices).filter((pattern) =>
    pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : pattern === name,
  );
  const best = patterns.sort((a, b) => b.length - a.length)[0];
  const price = best === undefined ? undefined : prices[best];
  if (price === undefined) return null;
  return {
    input: price.inputNanoPerMtok,
    cached_read: price.cachedReadNanoPerMtok,
    cache_write: price.cacheWriteNanoPerMtok,
    output: price.outputNanoPerMtok,
  };
}

function tablePrice(config: GatewayConfig, provider: string, model: string): PriceSnapshot | null {
  if (provider === demoProvider && config.providers[provider] === undefined) {
    return { input: 0, cached_read: 0, cache_write: 0, output: 0 };
  }
  const table = tableOf(config, provider);
  const price =
    table && calcPrice({ input_tokens: 1, output_tokens: 1 }, model, { provider: table })?.model_price;
  const input = perMtok(price?.input_mtok);
  if (!price || input === null) return null;
  return {
    input,
    cached_read: perMtok(price.cache_read_mtok) ?? input,
    cache_write: perMtok(price.cache_write_mtok) ?? input,
    output: perMtok(price.output_mtok) ?? input,
  };
}

/** A provider is known by the address it is called at; behind a proxy of one's own, by the name it was given. */
function tableOf(config: GatewayConfig, provider: string): Provider | undefined {
  const configured = config.providers[provider];
  if (configured === undefined) return undefined;
  return (
    findProvider({ providerApiUrl: configured.baseUrl }) ?? findProvider({ providerId: tableName(provider) })
  );
}

/** The table's own id where it differs from the name that the environment variables give. */
const tableName = (provider: string): string => (provider === "gemini" ? "google" : provider);

const perMtok = (price: number | TieredPrices | undefined): number | null => {
  const usd = typeof price === "object" ? price.base : price;
  return usd === undefined ? null : Math.round(usd * 1e9);
};
