/**
 * What the library's table says: prices at a moment, and how much a model can read.
 *
 * Some prices begin on a day or hold for hours of each day, some grow with the input: more than `start` tokens of it put
 * all tokens of the call into that tier, as the library counts too.
 */
import { calcPrice, findProvider, type ModelPrice, type Provider } from "@pydantic/genai-prices";
import type { PriceSnapshot, Rates } from "../../db/ledger.ts";
import type { GatewayConfig } from "../../platform/config.ts";

export type ListedModel = {
  /** Null where the table has no price per token. */
  readonly prices: PriceSnapshot | null;
  readonly contextTokens: number | null;
  /** When these prices began, where the table says so. */
  readonly sinceMs: number | null;
  /** Whether they may be others at another time. */
  readonly changes: boolean;
};

/** Null for a model that is not in the table. */
export function findListed(
  config: GatewayConfig,
  provider: string,
  model: string,
  nowMs: number,
): ListedModel | null {
  const table = tableOf(config, provider);
  if (table === undefined) return null;
  const timestamp = new Date(nowMs);
  const found = calcPrice({ input_tokens: 1, output_tokens: 1 }, model, { provider: table, timestamp });
  if (found === null) return null;
  const { prices, context_window } = found.model;
  const chosen = Array.isArray(prices) ? prices.find((one) => one.prices === found.model_price) : undefined;
  const begins = chosen?.constraint?.type === "start_date" ? chosen.constraint.start_date : undefined;
  return {
    prices: snapshotOf(found.model_price),
    contextTokens: context_window ?? null,
    sinceMs: begins === undefined ? null : Date.parse(begins),
    changes: Array.isArray(prices),
  };
}

export const listedModels = (config: GatewayConfig, provider: string): string[] =>
  tableOf(config, provider)?.models.map((model) => model.id) ?? [];

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

const keys = [
  "input_mtok",
  "cache_read_mtok",
  "cache_write_mtok",
  "cache_write_1h_mtok",
  "input_audio_mtok",
  "output_mtok",
  "output_audio_mtok",
] as const;

function snapshotOf(price: ModelPrice): PriceSnapshot | null {
  const base = ratesAt(price, 0);
  if (base === null) return null;
  const starts = keys.flatMap((key) => {
    const part = price[key];
    return typeof part === "object" ? part.tiers.map(({ start }) => start) : [];
  });
  const tiers = [...new Set(starts)]
    .sort((a, b) => a - b)
    .map((above) => ({ ...(ratesAt(price, above + 1) ?? base), above }));
  return tiers.length === 0 ? base : { ...base, tiers };
}

/** A part without a rate of its own has that of the whole. Null without a rate for input. */
function ratesAt(price: ModelPrice, inputTokens: number): Rates | null {
  const rate = (key: (typeof keys)[number]): number | undefined => {
    const part = price[key];
    if (typeof part !== "object") return part === undefined ? undefined : nanoOf(part);
    const reached = part.tiers.filter(({ start }) => inputTokens > start).sort((a, b) => b.start - a.start);
    return nanoOf(reached[0]?.price ?? part.base);
  };
  const input = rate("input_mtok");
  if (input === undefined) return null;
  const [writeLong, audioIn, audioOut] = [
    rate("cache_write_1h_mtok"),
    rate("input_audio_mtok"),
    rate("output_audio_mtok"),
  ];
  return {
    input,
    cached_read: rate("cache_read_mtok") ?? input,
    cache_write: rate("cache_write_mtok") ?? input,
    output: rate("output_mtok") ?? input,
    ...(writeLong === undefined ? {} : { cache_write_long: writeLong }),
    ...(audioIn === undefined ? {} : { audio_input: audioIn }),
    ...(audioOut === undefined ? {} : { audio_output: audioOut }),
  };
}

/** The table has USD per million tokens; no price in it has more than nine decimals. */
const nanoOf = (usd: number): number => Math.round(usd * 1e9);
