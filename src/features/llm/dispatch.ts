/**
 * One request to one provider: where it goes, with which of the caller's headers, under whose key. Each kind of provider
 * says its own address and credential; everything else is the same for all.
 *
 * The body is not this file's business; it travels as it is given. Redirects are never followed: they would carry the
 * key to wherever they point.
 */
import type { LlmEndpoint, ProviderConfig, ProviderKind } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { FetchRules, GuardedFetch } from "../../platform/guarded-fetch.ts";
import { anthropic } from "./anthropic.ts";
import { openai } from "./openai.ts";

/** What differs between the kinds of providers. */
export type ProviderDialect = {
  url(baseUrl: string, endpoint: LlmEndpoint): string;
  /** Adds the provider's key, and what its API insists on. */
  sign(headers: ProviderHeaders, key: string | null, endpoint: LlmEndpoint): void;
};

type ProviderHeaders = Record<Lowercase<string>, string>;

export type ProviderCall = {
  readonly endpoint: LlmEndpoint;
  /** The caller's query string, with its `?`, or empty. */
  readonly search: string;
  /** The caller's. */
  readonly headers: Headers;
  readonly traceparent: string | null;
  readonly body: Uint8Array<ArrayBuffer>;
  readonly signal: AbortSignal;
  /** Told when a connection may be sent something. */
  readonly departs: () => void;
};

const dialects: Record<ProviderKind, ProviderDialect> = { openai, anthropic };

/** Of the caller's headers these reach the provider, and no other. */
const forwarded = [
  "accept",
  "content-type",
  "anthropic-version",
  "anthropic-beta",
  "openai-beta",
  "idempotency-key",
] as const;

/** Rejects as the fetch does; `asSocketError` tells whether anything was sent. */
export function dispatch(
  fetch: GuardedFetch,
  provider: ProviderConfig,
  call: ProviderCall,
): Promise<Response> {
  const dialect = dialects[provider.kind];
  const headers: ProviderHeaders = {};
  for (const name of forwarded) {
    const value = call.headers.get(name);
    if (value !== null) headers[name] = value;
  }
  if (call.traceparent !== null) headers.traceparent = call.traceparent;
  dialect.sign(headers, provider.apiKey?.reveal() ?? null, call.endpoint);
  const { body, signal, departs } = call;
  return fetch(
    `${dialect.url(provider.baseUrl, call.endpoint)}${call.search}`,
    { method: "POST", headers, body, signal },
    { ...(provider.allowPrivateNetwork ? privateRules : operatorRules), departs },
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
