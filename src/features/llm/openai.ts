/**
 * Providers that speak OpenAI's API: where a chat completion goes, with which headers, and how its answer is read.
 *
 * The body is not this file's business; it travels as the caller sent it.
 */
import type { Usage } from "../../db/ledger.ts";
import type { ProviderConfig } from "../../platform/config.ts";
import { openaiBody } from "../../platform/dialects.ts";
import { Failure } from "../../platform/failure.ts";
import type { FetchRules, GuardedFetch } from "../../platform/guarded-fetch.ts";
import { eventPayload } from "./sse.ts";
import { list, noUsage, record, type Sight, tokens, type Wire } from "./wire.ts";

/** Of the caller's headers these reach the provider, and no other. */
const forwarded = [
  "accept",
  "content-type",
  "anthropic-version",
  "anthropic-beta",
  "openai-beta",
  "idempotency-key",
] as const;

/** One request to the provider. Redirects are not followed: they would carry the key to wherever they point. */
export function dispatchOpenai(
  fetch: GuardedFetch,
  provider: ProviderConfig,
  call: {
    path: string;
    search: string;
    headers: Headers;
    traceparent: string | null;
    body: Uint8Array<ArrayBuffer>;
    signal: AbortSignal;
  },
): Promise<Response> {
  const headers: Record<Lowercase<string>, string> = {};
  for (const name of forwarded) {
    const value = call.headers.get(name);
    if (value !== null) headers[name] = value;
  }
  if (call.traceparent !== null) headers.traceparent = call.traceparent;
  if (provider.apiKey !== null) headers.authorization = `Bearer ${provider.apiKey.reveal()}`;
  const { body, signal } = call;
  return fetch(
    `${provider.baseUrl}${call.path}${call.search}`,
    { method: "POST", headers, body, signal },
    provider.allowPrivateNetwork ? privateRules : operatorRules,
  );
}

/** The call's own clock and meter bound the answer. */
const operatorRules: FetchRules = { reach: "operator", bytesMax: null, timeoutMs: null };
const privateRules: FetchRules = { ...operatorRules, reach: "private" };

/** The books tell by the socket's own error whether anything was sent. To an address refused or unknown nothing was. */
export function asSocketError(error: unknown): unknown {
  if (!(error instanceof Failure)) return error;
  if (error.code === "url_unreachable") return error.cause;
  if (error.code !== "url_not_allowed" && error.code !== "url_unresolved") return error;
  return Object.assign(new Error(error.message, { cause: error }), { code: "ENOTFOUND" });
}

const encoder = new TextEncoder();
const markers = ['"usage"', "[DONE]", '"error"'].map((text) => Buffer.from(text));
const nothing: Sight = { usage: null, usageOnly: false, terminal: null };

export const chatWire: Wire = {
  markers,
  look(event) {
    const payload = eventPayload(event);
    if (payload === null) return nothing;
    if (payload.trim() === "[DONE]") return { usage: null, usageOnly: false, terminal: "done" };
    const chunk = record(parse(payload));
    const usage = usageOfChunk(chunk);
    const terminal = chunk.error === undefined || chunk.error === null ? null : "error";
    const usageOnly = Array.isArray(chunk.choices) && chunk.choices.length === 0 && isObject(chunk.usage);
    return { usage, usageOnly, terminal };
  },
  textOf: (event) =>
    list(record(parse(eventPayload(event) ?? "")).choices)
      .map(deltaText)
      .join(""),
  usageOfBody: (body) => usageOfChunk(record(body)),
  textOfBody: (body) => list(record(body).choices).map(messageText).join(""),
  keptOfBody: () => [],
  textOfRequest: (body) => list(record(body).messages).map(contentText).join("\n"),
  errorEvent: (failure) => encoder.encode(`data: ${JSON.stringify(openaiBody(failure))}\n\n`),
};

/** OpenAI's own place for usage, and Groq's. */
function usageOfChunk(chunk: Record<string, unknown>): Usage | null {
  const found = isObject(chunk.usage) ? chunk.usage : record(chunk.x_groq).usage;
  return isObject(found) ? usageOf(record(found)) : null;
}

function usageOf(usage: Record<string, unknown>): Usage | null {
  const prompt = record(usage.prompt_tokens_details);
  const completion = record(usage.completion_tokens_details);
  const audio = [tokens(prompt.audio_tokens), tokens(completion.audio_tokens)].filter(
    (count) => count !== null,
  );
  const read: Usage = {
    ...noUsage,
    input: tokens(usage.prompt_tokens),
    output: tokens(usage.completion_tokens),
    // DeepSeek reports its cache beside the details, not in them.
    cached_read: tokens(prompt.cached_tokens) ?? tokens(usage.prompt_cache_hit_tokens),
    cache_write: tokens(prompt.cache_write_tokens),
    reasoning: tokens(completion.reasoning_tokens),
    audio: audio.length === 0 ? null : audio.reduce((sum, count) => sum + count, 0),
  };
  return read.input === null && read.output === null ? null : read;
}

/** Everything a model wrote that a provider bills: text, reasoning, refusals, tool calls. */
function deltaText(choice: unknown): string {
  const delta = record(record(choice).delta);
  return writtenText(delta);
}

const messageText = (choice: unknown): string => writtenText(record(record(choice).message));

function writtenText(message: Record<string, unknown>): string {
  const calls = list(message.tool_calls).map((call) => {
    const made = record(record(call).function);
    return `${text(made.name)}${text(made.arguments)}`;
  });
  const thought = text(message.reasoning_content) || text(message.reasoning);
  return `${thought}${text(message.content)}${text(message.refusal)}${calls.join("")}`;
}

function contentText(message: unknown): string {
  const { content } = record(message);
  if (typeof content === "string") return content;
  return list(content)
    .map((part) => text(record(part).text))
    .join("\n");
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Providers send what they like; what is not JSON says nothing about usage. */
function parse(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return null;
  }
}
