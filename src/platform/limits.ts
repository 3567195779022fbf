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

export type Limits = {
  /** Counts one request, or throws 429 `rate_limit_exceeded`. Returns the headers that tell the caller what is left. */
  admit(plane: Plane, principal: Principal): Promise<Record<string, string>>;
};

export function createLimits(perMinute: () => RequestLimits): Limits {
  const limiters = new Map<string, RateLimiterMemory>();
  const limiterOf = (plane: Plane, points: number): RateLimiterMemory => {
    const name = `${plane}:${points}`;
    const found = limiters.get(name) ?? new RateLimiterMemory({ keyPrefix: name, points, duration: 60 });
    limiters.set(name, found);
    return found;
  };
  return {
    async admit(plane, principal) {
      const points = perMinute()[plane];
      if (points === null) return {};
      try {
        return headersOf(plane, points, await limiterOf(plane, points).consume(principal.credentialId));
      } catch (refused) {
        if (!(refused instanceof RateLimiterRes)) throw refused;
        throw tooMany(plane, points, refused);
      }
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
