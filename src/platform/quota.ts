/** How often an address may do what costs a stranger nothing and the gateway a row. In process. */
import { RateLimiterMemory } from "rate-limiter-flexible";
import { Failure } from "./failure.ts";
import { networkOf } from "./proxies.ts";

export type Quota = {
  /** Throws 429 `rate_limit_exceeded` with `advice` when this address has had its share. */
  spend(ip: string | null): Promise<void>;
};

export function createQuota(limit: { points: number; seconds: number; advice: string }): Quota {
  const limiter = new RateLimiterMemory({ points: limit.points, duration: limit.seconds });
  return {
    async spend(ip) {
      const key = networkOf(ip ?? "unknown");
      const state = await limiter.get(key);
      if (state !== null && state.consumedPoints >= limit.points) {
        const retryAfterSeconds = Math.max(1, Math.ceil(state.msBeforeNext / 1000));
        throw new Failure("rate", "rate_limit_exceeded", limit.advice, { retryAfterSeconds });
      }
      await limiter.penalty(key);
    },
  };
}
