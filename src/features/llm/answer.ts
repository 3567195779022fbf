/**
 * What the gateway adds to an answer: its own headers, and of the provider's only those on the list.
 */
import { formatUsd } from "../../platform/money.ts";
import type { Exchange, Settled } from "./exchange.ts";
import type { Target } from "./route.ts";

const returned = /^(?:content-type|retry-after|x-should-retry|openai-.+|anthropic-(?!ratelimit).+)$/;

export function answerHeaders(
  exchange: Exchange,
  target: Target,
  upstream: Response,
  forAnthropic: boolean,
): Record<string, string> {
  const headers: Record<string, string> = {
    "cache-control": "no-store",
    "x-request-id": exchange.requestId,
    "x-specgate-provider": target.provider,
    // Half a surrogate pair is valid in JSON and fatal to encodeURI.
    "x-specgate-model": encodeURI(target.model.toWellFormed()),
    "x-specgate-attempts": String(exchange.attempt),
    "x-specgate-overhead-ms": exchange.overheadMs.toFixed(2),
  };
  // Anthropic's own clients look for the request's id under this name.
  if (forAnthropic) headers["request-id"] = exchange.requestId;
  for (const [name, value] of upstream.headers) if (returned.test(name)) headers[name] = value;
  return headers;
}

export function usageHeader({ usage }: Settled): string {
  const count = (value: number | null | undefined) => value ?? 0;
  return `input=${count(usage?.input)}, output=${count(usage?.output)}, cached=${count(usage?.cached_read)}, reasoning=${count(usage?.reasoning)}`;
}

export function metaComment(exchange: Exchange, { usage, cost }: Settled): Uint8Array {
  const meta = { request_id: exchange.requestId, cost_usd: cost === null ? null : formatUsd(cost), usage };
  return new TextEncoder().encode(`: specgate ${JSON.stringify(meta)}\n\n`);
}
