import { expect, test } from "bun:test";
import fc from "fast-check";
import type { PriceSnapshot, Usage } from "../../db/ledger.ts";
import { costOf, type Prices } from "./prices.ts";
import { parseRequest } from "./request.ts";
import type { Route, Target } from "./route.ts";
import { worstCase } from "./worst-case.ts";

const target = (model: string): Target => ({ provider: "p", model, config: null, weight: 1 });
const pricesOf = (known: Record<string, PriceSnapshot>): Prices => ({
  find: (_, model) => known[model] ?? null,
  claims: () => false,
  known: () => [],
  contextTokens: () => null,
  explain: () => {
    throw new Error("nobody asks");
  },
});
const routeOf = (targets: string[], fallbacks: string[] = []): Route => ({
  targets: targets.map(target),
  fallbacks: fallbacks.map(target),
  retries: 0,
  timeouts: { connectMs: 1, firstTokenMs: 1, firstByteTotalMs: 1, idleMs: 1, totalMs: 1 },
});
const asked = (more: object = {}) =>
  parseRequest(
    "chat/completions",
    Buffer.from(JSON.stringify({ model: "m", messages: [], max_tokens: 100, ...more })),
  );

const rate = fc.integer({ min: 0, max: 200_000_000_000 });
const rates = fc.record({
  input: rate,
  cached_read: rate,
  cache_write: rate,
  output: rate,
  cache_write_long: rate,
  audio_input: rate,
  audio_output: rate,
});
const snapshot: fc.Arbitrary<PriceSnapshot> = fc
  .tuple(rates, fc.array(fc.tuple(rates, fc.integer({ min: 1, max: 2_000 })), { maxLength: 3 }))
  .map(([base, tiers]) => ({
    ...base,
    tiers: tiers.map(([tier, above]) => ({ ...tier, above })).sort((a, b) => a.above - b.above),
  }));

test("no usage within the bounds costs more than the worst case", () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(
      snapshot,
      fc.integer({ min: 1, max: 5 }),
      share,
      share,
      share,
      share,
      share,
      (price, n, ...parts) => {
        const request = asked({ n });
        const bounded = worstCase(request, routeOf(["m"]), pricesOf({ m: price }));
        const [all, read, write, long, out] = parts;
        const input = Math.floor(request.inputTokensMax * all);
        const cached_read = Math.floor(input * read);
        const cache_write = Math.floor((input - cached_read) * write);
        const output = Math.floor(100 * n * out);
        const usage: Usage = {
          input,
          output,
          cached_read,
          cache_write,
          reasoning: null,
          audio: null,
          cache_write_long: Math.floor(cache_write * long),
          audio_input: 0,
          audio_output: Math.floor(output * long),
        };
        expect(costOf(usage, price) ?? 0).toBeLessThanOrEqual(bounded?.nano ?? -1);
      },
    ),
    { numRuns: 2_000 },
  );
});

test("the dearest candidate counts, and whoever has no price is left out", () => {
  const flat = (input: number): PriceSnapshot => ({ input, cached_read: 0, cache_write: 0, output: 0 });
  const known = pricesOf({ cheap: flat(1_000_000), dear: flat(5_000_000) });
  const request = asked();
  const bounded = worstCase(request, routeOf(["cheap", "unknown"], ["dear"]), known);
  expect(bounded?.nano).toBe(request.inputTokensMax * 5);
  expect(bounded?.route.targets.map(({ model }) => model)).toEqual(["cheap"]);
  expect(bounded?.route.fallbacks.map(({ model }) => model)).toEqual(["dear"]);
  expect(worstCase(request, routeOf(["unknown"]), known)).toBeNull();
});

test("a price that no double holds is still an amount that can be added", () => {
  const absurd = { input: 1e15, cached_read: 1e15, cache_write: 1e15, output: 1e15 };
  const bounded = worstCase(asked({ n: 1_000 }), routeOf(["m"]), pricesOf({ m: absurd }));
  expect(Number.isSafeInteger((bounded?.nano ?? Number.NaN) * 16)).toBe(true);
});
