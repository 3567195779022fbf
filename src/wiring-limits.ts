/**
 * What callers may ask for in a minute and hold open at once, and what a token costs.
 */
import type { Changes } from "./db/changes.ts";
import type { Database } from "./db/database.ts";
import { createPrices, type Prices } from "./features/llm/prices.ts";
import { Streams } from "./features/llm/streams.ts";
import { Overrides } from "./features/prices/overrides.ts";
import { PriceBook } from "./features/prices/prices.ts";
import type { Clock } from "./platform/clock.ts";
import type { Config, GatewayConfig } from "./platform/config.ts";
import { createLimits, type LimitNumbers, type Limits } from "./platform/limits.ts";
import type { Log } from "./platform/log.ts";
import type { Cursors } from "./platform/page.ts";
import { openRedis, type SharedRedis } from "./platform/redis.ts";

export type Throttle = {
  readonly numbers: () => LimitNumbers;
  readonly limits: Limits;
  readonly streams: Streams;
  /** Null: this instance counts for itself. */
  readonly redis: SharedRedis | null;
  warnings(): string[];
  close(): void;
};

/** Waits a second for Redis at most; without it each instance counts for itself. */
export async function wireLimits(input: {
  config: Config;
  gateway: () => GatewayConfig;
  log: Log;
}): Promise<Throttle> {
  const { config, gateway, log } = input;
  const redis = config.redisUrl === null ? null : await openRedis(config.redisUrl, log);
  const numbers = () => limitNumbersOf(gateway());
  const streams = new Streams(() => gateway().limits.llm, redis);
  return {
    numbers,
    limits: createLimits(numbers, redis),
    streams,
    redis,
    warnings: () => redis?.warnings() ?? [],
    close() {
      streams.close();
      redis?.close();
    },
  };
}

export type Pricing = { readonly prices: Prices; readonly priceBook: PriceBook; close(): Promise<void> };

/** Resolves when the overrides are known: no call is priced without them. */
export async function wirePrices(
  input: { gateway: () => GatewayConfig; database: Database; clock: Clock; log: Log },
  { changes, cursors }: { changes: Changes; cursors: Cursors },
): Promise<Pricing> {
  const { gateway, database, clock, log } = input;
  const overrides = new Overrides({ database, log });
  await overrides.start();
  const prices = createPrices({ gateway, clock, overrides });
  const file = () => gateway().prices;
  const shared = { db: database.db, changes, cursors, clock, overrides };
  return {
    prices,
    priceBook: new PriceBook({ ...shared, explain: prices.explain, file }),
    close: () => overrides.stop(),
  };
}

function limitNumbersOf({ limits }: GatewayConfig): LimitNumbers {
  return {
    requests: {
      llm: limits.llm.requestsPerMinute,
      mcp: limits.mcp.requestsPerMinute,
      control: limits.control.requestsPerMinute,
    },
    llmTokens: limits.llm.tokensPerMinute,
    projectRequests: limits.llm.projectRequestsPerMinute,
    projectTokens: limits.llm.projectTokensPerMinute,
  };
}
