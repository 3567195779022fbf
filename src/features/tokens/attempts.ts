/**
 * How often a caller may fail to prove itself. Only failures count, so a client that works is never slowed by its own
 * zeal; what is counted ends by itself a minute later, so nobody is locked out for good.
 */
import { RateLimiterMemory } from "rate-limiter-flexible";
import { Failure } from "../../platform/failure.ts";

const windowSeconds = 60;
const failuresMax = { client: 10, address: 120 } as const;

export type Attempts = {
  /** Throws 429 when this client at this address, or this address alone, failed too often. */
  check(clientId: string, ip: string): Promise<void>;
  failed(clientId: string, ip: string): Promise<void>;
};

export function createAttempts(): Attempts {
  const limiterOf = (keyPrefix: string, points: number) =>
    new RateLimiterMemory({ keyPrefix, points, duration: windowSeconds });
  const client = limiterOf("client", failuresMax.client);
  const address = limiterOf("address", failuresMax.address);
  const both = (clientId: string, ip: string) =>
    [
      { limiter: client, key: `${clientId.slice(0, 64)} ${ip}` },
      { limiter: address, key: ip },
    ] as const;
  return {
    async check(clientId, ip) {
      for (const { limiter, key } of both(clientId, ip)) {
        const state = await limiter.get(key);
        if (state !== null && state.consumedPoints >= limiter.points) throw tooMany(state.msBeforeNext);
      }
    },
    async failed(clientId, ip) {
      for (const { limiter, key } of both(clientId, ip)) await limiter.penalty(key);
    },
  };
}

function tooMany(ms: number): Failure {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  return new Failure(
    "rate",
    "temporarily_unavailable",
    `Too many failed attempts. Try again in ${seconds} s with the right secret.`,
    { retryAfterSeconds: seconds, headers: { pragma: "no-cache" } },
  );
}
