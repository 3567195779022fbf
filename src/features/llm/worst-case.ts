/**
 * What a call can come to at most, before it is sent: the money that a hard budget must have left for it.
 *
 * Every figure is the dearest that the call can reach: all of its input at the dearest input rate (nobody knows yet what
 * is cached, or written to a cache), all of its answers as long as they may be, at the dearest candidate. A candidate
 * whose price nobody knows has no worst case, and is left out.
 */
import type { PriceSnapshot, Rates } from "../../db/ledger.ts";
import type { NanoUsd } from "../../platform/money.ts";
import { outputTokensMaxOf } from "./model-facts.ts";
import type { Prices } from "./prices.ts";
import type { LlmRequest } from "./request.ts";
import type { Route, Target } from "./route.ts";

export type Bounded = { readonly route: Route; readonly nano: NanoUsd };

/** The route without those of unknown price, and the worst case of one attempt; null when nobody is left. */
export function worstCase(asked: LlmRequest, route: Route, prices: Prices): Bounded | null {
  // Looked for in the body when it is asked for.
  const { inputTokensMax } = asked;
  let nano = 0;
  const bounded = ({ provider, model }: Target): boolean => {
    const price = prices.find(provider, model);
    if (price === null) return false;
    const context = prices.contextTokens(provider, model);
    // What pictures and documents are allowed for ends at the model's context; text does not, lest the table be old.
    const input = Math.min(inputTokensMax, Math.max(context ?? inputTokensMax, asked.bytes.length));
    nano = Math.max(nano, attemptMax(price, input, outputMaxOf(asked, model, context)));
    return true;
  };
  const targets = route.targets.filter(bounded);
  const fallbacks = route.fallbacks.filter(bounded);
  return targets.length + fallbacks.length === 0 ? null : { route: { ...route, targets, fallbacks }, nano };
}

/** Tokens of all answers together. */
function outputMaxOf(asked: LlmRequest, model: string, contextTokens: number | null): number {
  if (asked.endpoint === "embeddings") return 0;
  return (asked.outputTokensMax ?? outputTokensMaxOf(model, contextTokens)) * asked.answers;
}

function attemptMax(price: PriceSnapshot, inputTokens: number, outputTokens: number): NanoUsd {
  const reachable: Rates[] = [price, ...(price.tiers ?? []).filter(({ above }) => inputTokens > above)];
  const input = Math.max(...reachable.flatMap(inputRates));
  const output = Math.max(...reachable.flatMap((rates) => [rates.output, rates.audio_output ?? 0]));
  // Per million tokens, and rounded up: in integers, because these products leave what a double can hold.
  const exact = BigInt(inputTokens) * BigInt(input) + BigInt(outputTokens) * BigInt(output);
  const nano = (exact + 999_999n) / 1_000_000n;
  return nano > nanoMax ? Number(nanoMax) : Number(nano);
}

const inputRates = (rates: Rates): number[] => [
  rates.input,
  rates.cached_read,
  rates.cache_write,
  rates.cache_write_long ?? 0,
  rates.audio_input ?? 0,
];

/** More than any budget holds, and a number that several of can still be added up. */
const nanoMax = BigInt(Number.MAX_SAFE_INTEGER) / 64n;
