/**
 * Token counts in OpenAI's names, as its own API and everyone who imitates it report them.
 *
 * Chat and completions count `prompt_tokens` and `completion_tokens`, responses `input_tokens` and `output_tokens`
 * (platform.openai.com, API reference, "usage"). In both, cached, audio and reasoning tokens are parts of the two totals.
 */
import type { Usage } from "../../db/ledger.ts";
import { isObject, list, noUsage, record, tokens } from "./wire.ts";

/** Where OpenAI puts it; else Groq's `x_groq` (console.groq.com), or Moonshot's, inside the last choice. */
export function usageOfChunk(chunk: Record<string, unknown>): Usage | null {
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
  const hidden = hiddenTokens(input, output, tokens(usage.total_tokens));
  const audioInput = tokens(into.audio_tokens);
  const audioOutput = tokens(outOf.audio_tokens);
  const isAudio = audioInput !== null || audioOutput !== null;
  return {
    ...noUsage,
    input,
    output: output === null ? null : output + hidden,
    // DeepSeek and Moonshot report their cache beside the details, not in them.
    cached_read:
      tokens(into.cached_tokens) ?? tokens(usage.prompt_cache_hit_tokens) ?? tokens(usage.cached_tokens),
    cache_write: tokens(into.cache_write_tokens),
    reasoning: tokens(outOf.reasoning_tokens) ?? (hidden > 0 ? hidden : null),
    audio: isAudio ? (audioInput ?? 0) + (audioOutput ?? 0) : null,
    ...(audioInput ? { audio_input: audioInput } : {}),
    ...(audioOutput ? { audio_output: audioOutput } : {}),
  };
}

/**
 * Gemini's compatible endpoint and xAI's leave the thoughts out of `completion_tokens` and bill them as output; only the
 * total has them (ai.google.dev, "OpenAI compatibility" and "Thinking"; docs.x.ai, "Reasoning").
 */
function hiddenTokens(input: number | null, output: number | null, total: number | null): number {
  if (input === null || output === null || total === null) return 0;
  return Math.max(0, total - input - output);
}
