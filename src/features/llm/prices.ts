/**
 * What a token costs now: what an administrator set, then the file, then the library's table; null when none knows.
 *
 * Of several patterns for one model the most exact holds. The library needs 13 µs a look-up, so each provider and model
 * is resolved once and kept, for as long as nothing of the three can have changed. Prices are nano-USD per million tokens
 * and costs nano-USD, all integers: no float ever holds an amount.
 */
import { type PriceSnapshot, type Rates, ratesFor, type Usage } from "../../db/ledger.ts";
import type { Clock } from "../../platform/clock.ts";
import type { GatewayConfig, PriceConfig } from "../../platform/config.ts";
import type { NanoUsd } from "../../platform/money.ts";
import { demoProvider } from "./demo.ts";
import { bestPattern } from "./price-pattern.ts";
import { findListed, type ListedModel, listedModels } from "./price-table.ts";
import { modelNameMax } from "./route.ts";

export type Prices = {
  /** Unit prices of a model at a provider, or null when nobody knows them. */
  find(provider: string, model: string): PriceSnapshot | null;
  /** True when the library's table has this model at this provider, or the operator priced it by its full name. */
  claims(provider: string, model: string): boolean;
  /** The models of a configured provider that the library's table knows. */
  known(provider: string): string[];
  /** How much it can read and write in one call, where the library's table says so. */
  contextTokens(provider: string, model: string): number | null;
  /** What holds for a model now, and why. */
  explain(provider: string, model: string): PriceInForce;
};

export type PriceInForce = {
  source: "override" | "file" | "table" | "demo" | null;
  /** As it was written, for the first two. */
  pattern: string | null;
  prices: PriceSnapshot | null;
  /** Milliseconds since the epoch; null for what nobody dated. */
  sinceMs: number | null;
  contextTokens: number | null;
};

/** What administrators have set, by `provider/model` with `*` at the end of either part. */
export type PriceOverrides = {
  /** What is in force at a moment: the same object until something else is. */
  at(nowMs: number): ReadonlyMap<string, { prices: PriceSnapshot; sinceMs: number }>;
};

export const noOverrides: PriceOverrides = { at: () => none };
const none: Overrides = new Map();

export type PricesNeeds = {
  gateway: () => GatewayConfig;
  clock: Pick<Clock, "now">;
  overrides: PriceOverrides;
};

type Entry = PriceInForce & { claimed: boolean; untilMs: number };
const unknown: Entry = {
  source: null,
  pattern: null,
  prices: null,
  sinceMs: null,
  contextTokens: null,
  claimed: false,
  untilMs: 0,
};
type Overrides = ReturnType<PriceOverrides["at"]>;

/** Prices that begin at a time are looked up again as each second begins. */
const changingMs = 1_000;
/** Names are the callers': with the longest of them these are 10 MB. */
const keptMax = 10_000;

export function createPrices({ gateway, clock, overrides }: PricesNeeds): Prices {
  const cache = new Map<string, Entry>();
  let cachedFor: { config: GatewayConfig; set: Overrides } | null = null;
  const entryOf = (provider: string, model: string): Entry => {
    if (model.length > modelNameMax) return unknown;
    const nowMs = clock.now();
    const config = gateway();
    const set = overrides.at(nowMs);
    if (cachedFor?.config !== config || cachedFor.set !== set || cache.size > keptMax) {
      cache.clear();
      cachedFor = { config, set };
    }
    const name = `${provider}/${model}`;
    const cached = cache.get(name);
    if (cached !== undefined && nowMs < cached.untilMs) return cached;
    const listed = findListed(config, provider, model, nowMs);
    const entry: Entry = {
      ...inForce(config, set, name, listed),
      contextTokens: listed?.contextTokens ?? null,
      claimed: listed?.prices != null || Object.hasOwn(config.prices, name) || set.has(name),
      untilMs: listed?.changes ? nowMs - (nowMs % changingMs) + changingMs : Number.POSITIVE_INFINITY,
    };
    cache.set(name, entry);
    return entry;
  };
  return {
    find: (provider, model) => entryOf(provider, model).prices,
    claims: (provider, model) => entryOf(provider, model).claimed,
    known: (provider) => listedModels(gateway(), provider),
    contextTokens: (provider, model) => entryOf(provider, model).contextTokens,
    explain(provider, model) {
      const { source, pattern, prices, sinceMs, contextTokens } = entryOf(provider, model);
      return { source, pattern, prices, sinceMs, contextTokens };
    },
  };
}

/**
 * 10,000 USD, far more than any call can come to at a price that is asked for anywhere. A price and counts without sense
 * are charged no more, so that sums stay numbers: it takes 900,000 such calls to pass what the database can add up.
 */
export const costMax: NanoUsd = 10_000_000_000_000;

/** Tokens, and what they cost: null when nobody knows. */
export type Priced = { readonly usage: Usage; readonly prices: PriceSnapshot | null };

/**
 * Nano-USD, rounded half up once, `costMax` at most; null when a price or the counts are not known. `passes` are parts of
 * the usage that are billed each for itself, in a tier of its own.
 */
export function costOf(
  usage: Usage | null,
  prices: PriceSnapshot | null,
  passes: readonly Priced[] = [],
): NanoUsd | null {
  if (usage === null) return null;
  let cost = 0;
  for (const part of [...passes, { usage: without(usage, passes), prices }]) {
    if (part.prices === null) return null;
    cost += exactly(part.usage, part.prices);
  }
  return Math.min(costMax, cost);
}

function without(usage: Usage, passes: readonly Priced[]): Usage {
  if (passes.length === 0) return usage;
  const counts = Object.entries(usage).map(([name, count]) => {
    const taken = passes.reduce((sum, pass) => sum + (pass.usage[name as keyof Usage] ?? 0), 0);
    return [name, count === null ? null : Math.max(0, count - taken)];
  });
  return Object.fromEntries(counts) as Usage;
}

function exactly(usage: Usage, prices: PriceSnapshot): NanoUsd {
  const rates = ratesFor(prices, usage.input ?? 0);
  const output = usage.output ?? 0;
  const cached = usage.cached_read ?? 0;
  const written = usage.cache_write ?? 0;
  const writtenLong = Math.min(usage.cache_write_long ?? 0, written);
  // Parts come from the provider as they are: together they never count for more than the whole has left.
  const rest = Math.max(0, (usage.input ?? 0) - cached - written);
  const audioIn = Math.min(usage.audio_input ?? 0, rest);
  const audioOut = Math.min(usage.audio_output ?? 0, output);
  const { input, cached_read, cache_write } = rates;
  const { cache_write_long = cache_write, audio_input = input, audio_output = rates.output } = rates;
  const total =
    (rest - audioIn) * input +
    audioIn * audio_input +
    cached * cached_read +
    (written - writtenLong) * cache_write +
    writtenLong * cache_write_long +
    (output - audioOut) * rates.output +
    audioOut * audio_output;
  // Each of these is exact below 2^53, and none of them is larger than their sum.
  if (total < Number.MAX_SAFE_INTEGER - half) return (total + half - ((total + half) % million)) / million;
  return exactCost([
    [rest - audioIn, input],
    [audioIn, audio_input],
    [cached, cached_read],
    [written - writtenLong, cache_write],
    [writtenLong, cache_write_long],
    [output - audioOut, rates.output],
    [audioOut, audio_output],
  ]);
}

const million = 1_000_000;
const half = million / 2;

/** A long context at a high price passes 2^53 before it is divided. */
function exactCost(parts: readonly (readonly [tokens: number, rate: number])[]): NanoUsd {
  const total = parts.reduce((sum, [tokens, rate]) => sum + BigInt(tokens) * BigInt(rate), 0n);
  return Number((total + BigInt(half)) / BigInt(million));
}

function inForce(
  config: GatewayConfig,
  set: Overrides,
  name: string,
  listed: ListedModel | null,
): Omit<PriceInForce, "contextTokens"> {
  const overridden = bestPattern(set.keys(), name);
  const override = overridden === undefined ? undefined : set.get(overridden);
  if (overridden !== undefined && override !== undefined)
    return {
      source: "override",
      pattern: overridden,
      ...override,
      prices: completed(override.prices, listed),
    };
  const written = bestPattern(Object.keys(config.prices), name);
  const price = written === undefined ? undefined : config.prices[written];
  if (written !== undefined && price !== undefined)
    return {
      source: "file",
      pattern: written,
      prices: completed(snapshotOf(price), listed),
      sinceMs: null,
    };
  if (name.startsWith(`${demoProvider}/`) && config.providers[demoProvider] === undefined)
    return { source: "demo", pattern: null, prices: free, sinceMs: null };
  if (listed === null || listed.prices === null)
    return { source: null, pattern: null, prices: null, sinceMs: null };
  return { source: "table", pattern: null, prices: listed.prices, sinceMs: listed.sinceMs };
}

const free: PriceSnapshot = { input: 0, cached_read: 0, cache_write: 0, output: 0 };

const snapshotOf = (price: PriceConfig): PriceSnapshot => ({
  input: price.inputNanoPerMtok,
  cached_read: price.cachedReadNanoPerMtok,
  cache_write: price.cacheWriteNanoPerMtok,
  output: price.outputNanoPerMtok,
});

/**
 * With what only the table can say: a cache kept for an hour, audio, tiers. They keep their proportion to the rates that
 * were set, so that whoever writes down the table's own prices changes nothing.
 */
function completed(set: PriceSnapshot, listed: ListedModel | null): PriceSnapshot {
  const table = listed?.prices ?? null;
  if (table === null) return set;
  const scaled = (rates: Rates): Rates => {
    const grown = (part: keyof Rates, whole: "input" | "cached_read" | "cache_write" | "output") =>
      Math.round(set[whole] * (table[whole] === 0 ? 1 : (rates[part] ?? 0) / table[whole]));
    return {
      input: grown("input", "input"),
      cached_read: grown("cached_read", "cached_read"),
      cache_write: grown("cache_write", "cache_write"),
      output: grown("output", "output"),
      ...(rates.cache_write_long === undefined
        ? {}
        : { cache_write_long: grown("cache_write_long", "input") }),
      ...(rates.audio_input === undefined ? {} : { audio_input: grown("audio_input", "input") }),
      ...(rates.audio_output === undefined ? {} : { audio_output: grown("audio_output", "output") }),
    };
  };
  const tiers = table.tiers?.map((tier) => ({ ...scaled(tier), above: tier.above }));
  return { ...scaled(table), ...(tiers === undefined ? {} : { tiers }) };
}
