/**
 * How often a caller may fail to prove itself. Only failures count, so whoever works is never slowed by its own zeal;
 * what is counted ends by itself a minute later, so nobody is locked out for good. In process.
 */
import { RateLimiterMemory } from "rate-limiter-flexible";
import { Failure } from "./failure.ts";
import { networkOf } from "./proxies.ts";

const windowSeconds = 60;
const failuresMax = { account: 10, address: 120 } as const;

export type Attempts = {
  /** Throws 429 when this account (a client, a person; null for none) at this address, or this address alone, failed too often. */
  check(account: string | null, ip: string): Promise<void>;
  failed(account: string | null, ip: string): Promise<void>;
};

export function createAttempts(): Attempts {
  const limiterOf = (keyPrefix: string, points: number) =>
    new RateLimiterMemory({ keyPrefix, points, duration: windowSeconds });
  const byAccount = limiterOf("account", failuresMax.account);
  const byAddress = limiterOf("address", failuresMax.address);
  const counted = (account: string | null, ip: string) => [
    ...(account === null ? [] : [{ limiter: byAccount, key: `${account.slice(0, 254)} ${networkOf(ip)}` }]),
    { limiter: byAddress, key: networkOf(ip) },
  ];
  return {
    async check(account, ip) {
      for (const { limiter, key } of counted(account, ip)) {
        const state = await limiter.get(key);
        if (state !== null && state.consumedPoints >= limiter.points) throw tooMany(state.msBeforeNext);
      }
    },
    async failed(account, ip) {
      for (const { limiter, key } of counted(account, ip)) await limiter.penalty(key);
    },
  };
}

function tooMany(ms: number): Failure {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  return new Failure(
    "rate",
    "too_many_attempts",
    `Too many failed attempts. Try again in ${seconds} s with the right secret.`,
    { retryAfterSeconds: seconds, headers: { pragma: "no-cache" } },
  );
}
