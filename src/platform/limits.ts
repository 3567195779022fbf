/**
 * How much one credential may ask for in a minute. In process; shared limits across instances come with REDIS_URL.
 *
 * Only the counting is the library's; which number applies, and what a refused caller is told, stands here.
 */
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import { Failure } from "./failure.ts";
import type { Plane, Principal } from "./principal.ts";

/** `null` is no limit. */
export type RequestLimits = Record<Plane, number | null>;
export type LimitNumbers = { requests: RequestLimits; llmTokens: number | null };

export type RateHeaders = Readonly<Record<string, string>>;

export type Limits = {
  /** Counts one request, or throws 429 `rate_limit_exceeded`. Returns the headers that tell the caller what is left. */
  admit(plane: Plane, principal: Principal): RateHeaders | Promise<RateHeaders>;
  /** Counts tokens that a call has used. The call that passes the limit is served; the next one waits. */
  spend(credentialId: string, tokens: number): void;
};

const windowSeconds = 60;
const noHeaders: RateHeaders = {};

export function createLimits(perMinute: () => LimitNumbers): Limits {
  const limiters = new Map<string, RateLimiterMemory>();
  const limiterOf = (what: string, points: number): RateLimiterMemory => {
    const keyPrefix = `${what}:${points}`;
    const found =
      limiters.get(keyPrefix) ?? new RateLimiterMemory({ keyPrefix, points, duration: windowSeconds });
    limiters.set(keyPrefix, found);
    return found;
  };
  const refuseSpent = async (credentialId: string) => {
    const { llmTokens } = perMinute();
    if (llmTokens === null) return;
    const spent = await limiterOf("tokens", llmTokens).get(credentialId);
    if (spent !== null && spent.consumedPoints >= llmTokens) throw tooManyTokens(llmTokens, spent);
  };
  const admitCounted = async (plane: Plane, principal: Principal): Promise<RateHeaders> => {
    if (plane === "llm") await refuseSpent(principal.credentialId);
    const points = perMinute().requests[plane];
    if (points === null) return noHeaders;
    try {
      return headersOf(plane, points, await limiterOf(plane, points).consume(principal.credentialId));
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      throw tooMany(plane, points, refused);
    }
  };
  return {
    admit(plane, principal) {
      const { requests, llmTokens } = perMinute();
      // Most calls of an unlimited plane never wait for anything here.
      if (requests[plane] === null && (plane !== "llm" || llmTokens === null)) return noHeaders;
      return admitCounted(plane, principal);
    },
    spend(credentialId, tokens) {
      const { llmTokens } = perMinute();
      if (llmTokens !== null) void limiterOf("tokens", llmTokens).penalty(credentialId, tokens);
    },
  };
}

/** The IETF draft's `RateLimit` fields, and on the LLM plane OpenAI's own names, which its SDKs read. */
function headersOf(plane: Plane, points: number, state: RateLimiterRes): Record<string, string> {
  const seconds = Math.ceil(state.msBeforeNext / 1000);
  const headers: Record<string, string> = {
    ratelimit: `"requests";r=${state.remainingPoints};t=${seconds}`,
    "ratelimit-policy": `"requests";q=${points};w=60`,
  };
  if (plane !== "llm") return headers;
  headers["x-ratelimit-limit-requests"] = String(points);
  headers["x-ratelimit-remaining-requests"] = String(state.remainingPoints);
  headers["x-ratelimit-reset-requests"] = `${seconds}s`;
  return headers;
}

function tooMany(plane: Plane, points: number, state: RateLimiterRes): Failure {
  const seconds = Math.max(1, Math.ceil(state.msBeforeNext / 1000));
  return new Failure(
    "rate",
    "rate_limit_exceeded",
    `This credential may send ${points} requests a minute here. Try again in ${seconds} s.`,
    { retryAfterSeconds: seconds, headers: headersOf(plane, points, state) },
  );
}

function tooManyTokens(limit: number, state: RateLimiterRes): Failure {
  const seconds = Math.max(1, Math.ceil(state.msBeforeNext / 1000));
  return new Failure(
    "rate",
    "tokens_per_minute",
    `This credential may use ${limit} tokens a minute. Try again in ${seconds} s.`,
    { retryAfterSeconds: seconds, headers: { "x-ratelimit-limit-tokens": String(limit) } },
  );
}
