/**
 * What no answer tells in time: how much a model can write at most, and whether it thinks out of sight.
 *
 * Both are asked only under a hard budget, and both err on the dear side: a limit that is too high holds more money for
 * a moment, one that is too low lets a call spend what nobody set aside; a model taken for one that hides its thoughts
 * is charged its hold when a stream is aborted, one taken for open could think for free.
 */
import type { LlmRequest } from "./request.ts";

/** Where nothing is known: no model that is not in the list writes more than this in one answer. */
const unknownMax = 128_000;

/**
 * Families by the beginning of their names, the more exact before the less (platform.openai.com, "Models";
 * platform.claude.com, "Models overview"; ai.google.dev, "Gemini models"; api-docs.deepseek.com, "Models & pricing").
 */
const outputMax: readonly (readonly [RegExp, number])[] = [
  [/^gpt-3\.5/, 16_384],
  [/^gpt-4o/, 16_384],
  [/^chatgpt-4o/, 16_384],
  [/^gpt-4\.1/, 32_768],
  [/^gpt-4\.5/, 16_384],
  [/^gpt-4-32k/, 32_768],
  [/^gpt-4/, 8_192],
  [/^gpt-(?:[5-9]|\d\d)/, 128_000],
  [/^gpt-oss/, 131_072],
  [/^o1-(?:mini|preview)/, 65_536],
  [/^o\d/, 100_000],
  [/^(?:text-|davinci|babbage)/, 16_384],
  [/^claude-3-(?:opus|sonnet|haiku)/, 4_096],
  [/^claude-3-5/, 8_192],
  [/^claude-3-7/, 128_000],
  [/^claude-(?:opus-4|opus-4-1)(?:-20\d{6})?$/, 32_000],
  [/^claude-(?:sonnet|opus|haiku)-4(?:-[0-5])?(?:-20\d{6})?$/, 64_000],
  [/^claude-/, 128_000],
  [/^gemini-(?:1|2\.0)/, 8_192],
  [/^gemini-/, 65_536],
  [/^deepseek/, 393_216],
];

/** Output tokens of one answer whose caller set no limit. `contextTokens` is the model's context, where it is known. */
export function outputTokensMaxOf(model: string, contextTokens: number | null): number {
  const name = plainName(model);
  const listed = outputMax.find(([family]) => family.test(name));
  return listed?.[1] ?? Math.min(contextTokens ?? unknownMax, unknownMax);
}

/** Claude's fifth generation thinks unless told not to, and shows a summary or nothing. */
const hides = [
  /^(?:o\d|gpt-(?:[5-9]|\d\d)|codex|computer-use)/,
  /^gemini-(?:2\.5|[3-9]|\d\d|flash|pro)/,
  /^claude-(?:[a-z]+-(?:[5-9]|\d\d)(?!\d)|fable|mythos)/,
  /^grok-(?:[3-9]|\d\d|code)/,
  /^sonar-(?:deep-research|reasoning)/,
  // OpenRouter's own choice may fall on any of them.
  /^auto$/,
];

/** True when the model may be billed for thoughts that its stream does not show, or shows only in summary. */
export const hidesReasoning = (model: string, request: LlmRequest): boolean =>
  request.asksReasoning || hides.some((family) => family.test(plainName(model)));

/** `anthropic/claude-…`, `models/gemini-…`, `us.anthropic.claude-…`, `ft:gpt-4o:…`: the family's own name. */
function plainName(model: string): string {
  const name = model.toLowerCase().replace(/^ft:/, "");
  const last = name.slice(name.lastIndexOf("/") + 1);
  return last.replace(/^(?:[a-z]+\.)*(?=anthropic\.|openai\.)(?:anthropic|openai)\./, "");
}
