/**
 * Token counts in OpenAI's names, as its own API and everyone who imitates it report them.
 *
 * Chat and completions count `prompt_tokens` and `completion_tokens`, responses `input_tokens` and `output_tokens`
 * (platform.openai.com, API reference, "usage"). In both, cached, audio and reasoning tokens are parts of the two totals.
 */
import type { Usage } from "../../db/ledger.ts";
import { isObject, list, noUsage, type Report, record, tokens } from "./wire.ts";

/** A provider tells which tier it took, also where the caller left that to it or to the project's settings. */
export function usageOfChunk(chunk: Record<string, unknown>): Report | null {
  const usage = usageIn(chunk);
  const service_tier = tiers.get(chunk.service_tier);
  return usage === null || service_tier === undefined ? usage : { ...usage, pricedApart: { service_tier } };
}

/** Whether a tier has another price than the model's own: a cheaper one counts as that, and `scale` is paid beforehand. */
const tiers: ReadonlyMap<unknown, boolean> = new Map([
  ["priority", true],
  ...["default", "standard", "on_demand", "flex", "batch", "scale"].map((tier) => [tier, false] as const),
]);

/** Where OpenAI puts it; else Groq's `x_groq` (console.groq.com), or Moonshot's, inside the last choice. */
function usageIn(chunk: Record<string, unknown>): Usage | null {
  if (isObject(chunk.usage)) return usageOf(record(chunk.usage));
  const groq = record(chunk.x_groq).usage;
  if (isObject(groq)) return usageOf(record(groq));
  const ofChoice = list(chunk.choices).map((choice) => record(choice).usage);
  const last = ofChoice.findLast(isObject);
  return last === undefined ? null : usageOf(record(last));
}

/** Null when it counts neither what went in nor what came out. */
function usageOf(usage: Record<string, unknown>): Usage | null {
  const into = record(usage.prompt_tokens_details ?? usage.input_tokens_details);
  const outOf = record(usage.completion_tokens_details ?? usage.output_tokens_details);
  const input = tokens(usage.prompt_tokens) ?? tokens(usage.input_tokens);
  const output = tokens(usage.completion_tokens) ?? tokens(usage.output_tokens);
  if (input === null && output === null) return null;
  const apart = besides(usage);
  const hidden = apart.output + hiddenTokens(input, output, tokens(usage.total_tokens));
  const audioInput = tokens(into.audio_tokens);
  const audioOutput = tokens(outOf.audio_tokens);
  const isAudio = audioInput !== null || audioOutput !== null;
  return {
    ...noUsage,
    input: input === null ? null : input + apart.input,
    output: output === null ? null : output + hidden,
    // DeepSeek and Moonshot report their cache beside the details, not in them; LiteLLM writes to a cache likewise.
    cached_read:
      tokens(into.cached_tokens) ?? tokens(usage.prompt_cache_hit_tokens) ?? tokens(usage.cached_tokens),
    cache_write:
      tokens(into.cache_write_tokens) ??
      tokens(into.cache_creation_input_tokens) ??
      tokens(usage.cache_creation_input_tokens),
    reasoning: tokens(outOf.reasoning_tokens) ?? (hidden > 0 ? hidden : null),
    audio: isAudio ? (audioInput ?? 0) + (audioOutput ?? 0) : null,
    ...(audioInput ? { audio_input: audioInput } : {}),
    ...(audioOutput ? { audio_output: audioOutput } : {}),
  };
}

/**
 * Perplexity's deep research bills sources that it read and its thoughts beside both totals (docs.perplexity.ai, "Sonar
 * deep research"). Elsewhere a `reasoning_tokens` in this place is a part of the output.
 */
function besides(usage: Record<string, unknown>): { input: number; output: number } {
  const cited = tokens(usage.citation_tokens);
  if (cited === null) return { input: 0, output: 0 };
  return { input: cited, output: tokens(usage.reasoning_tokens) ?? 0 };
}

/**
 * Gemini's compatible endpoint and xAI's leave the thoughts out of `completion_tokens` and bill them as output; only the
 * total has them (ai.google.dev, "OpenAI compatibility" and "Thinking"; docs.x.ai, "Reasoning"). A total that has nothing
 * to do with its parts says nothing.
 */
function hiddenTokens(input: number | null, output: number | null, total: number | null): number {
  if (input === null || output === null || total === null) return 0;
  const hidden = Math.max(0, total - input - output);
  return hidden <= thoughtsMax + 10 * (input + output) ? hidden : 0;
}

/** As much as a model thinks about a short question. */
const thoughtsMax = 100_000;
