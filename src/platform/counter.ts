/**
 * Counts of a minute, each under a key: in Redis while it is there, where all instances add to the same count, and in
 * process otherwise. It knows no limits; what a count means is said by whoever reads it.
 */
import { RateLimiterMemory, RateLimiterRedis, type RateLimiterRes } from "rate-limiter-flexible";
import type { SharedRedis } from "./redis.ts";

export type Count = {
  readonly count: number;
  /** Until it begins anew. */
  readonly msLeft: number;
};

export type Counter = {
  add(key: string, points: number): Promise<Count>;
  /** Null where nothing was counted within the minute. */
  read(key: string): Promise<Count | null>;
};

export const windowSeconds = 60;
/** The library compares with a fixed number; ours may change while the gateway runs. */
const points = Number.MAX_SAFE_INTEGER;

export function createCounter(what: string, redis: SharedRedis | null): Counter {
  const keyPrefix = `specgate:${what}`;
  const own = new RateLimiterMemory({ keyPrefix, points, duration: windowSeconds });
  const inProcess: Counter = {
    add: async (key, more) => countOf(await own.penalty(key, more)),
    read: async (key) => countOrNull(await own.get(key)),
  };
  if (redis === null) return inProcess;
  const shared = new RateLimiterRedis({
    storeClient: redis.client,
    keyPrefix,
    points,
    duration: windowSeconds,
  });
  return {
    async add(key, more) {
      const answer = await redis.ask(() => shared.penalty(key, more));
      return answer === undefined ? inProcess.add(key, more) : countOf(answer);
    },
    async read(key) {
      const answer = await redis.ask(() => shared.get(key));
      return answer === undefined ? inProcess.read(key) : countOrNull(answer);
    },
  };
}

const countOf = (state: RateLimiterRes): Count => ({
  count: state.consumedPoints,
  msLeft: state.msBeforeNext,
});

const countOrNull = (state: RateLimiterRes | null): Count | null => (state === null ? null : countOf(state));
