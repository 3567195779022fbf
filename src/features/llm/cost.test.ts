import { expect, test } from "bun:test";
import fc from "fast-check";
import { type PriceSnapshot, type Rates, ratesFor, type Usage } from "../../db/ledger.ts";
import { costMax, costOf } from "./prices.ts";
import { noUsage } from "./wire.ts";

const tokens = fc.oneof(fc.nat(2_000), fc.nat(2_000_000_000));
const rate = fc.oneof(fc.nat(1_000), fc.nat(100_000_000_000), fc.nat(999_999_999_999_999));
const rates: fc.Arbitrary<Rates> = fc.record(
  {
    input: rate,
    cached_read: rate,
    cache_write: rate,
    output: rate,
    cache_write_long: rate,
    audio_input: rate,
    audio_output: rate,
  },
  { requiredKeys: ["input", "cached_read", "cache_write", "output"] },
);
const prices: fc.Arbitrary<PriceSnapshot> = fc
  .tuple(
    rates,
    fc.uniqueArray(fc.record({ above: tokens, rates }), { maxLength: 3, selector: ({ above }) => above }),
  )
  .map(([base, tiers]) =>
    tiers.length === 0
      ? base
      : {
          ...base,
          tiers: tiers
            .sort((a, b) => a.above - b.above)
            .map((tier) => ({ ...tier.rates, above: tier.above })),
        },
  );
/** Parts that fit into their whole, as a sound provider reports them. */
const usage: fc.Arbitrary<Usage> = fc
  .tuple(tokens, tokens, tokens, tokens, tokens, tokens, tokens)
  .map(([plain, cached, write, writeLong, audioIn, text, audioOut]) => ({
    ...noUsage,
    input: plain + cached + write + writeLong + audioIn,
    cached_read: cached,
    cache_write: write + writeLong,
    cache_write_long: writeLong,
    audio_input: audioIn,
    output: text + audioOut,
    audio_output: audioOut,
  }));

/** The same in arithmetic that cannot lose anything, before it is rounded. */
function exactly(used: Usage, snapshot: PriceSnapshot): bigint {
  const of = ratesFor(snapshot, used.input ?? 0);
  const big = (value: number | null | undefined) => BigInt(value ?? 0);
  const longWritten = big(used.cache_write_long);
  const plain = big(used.input) - big(used.cached_read) - big(used.cache_write) - big(used.audio_input);
  return (
    plain * BigInt(of.input) +
    big(used.audio_input) * BigInt(of.audio_input ?? of.input) +
    big(used.cached_read) * BigInt(of.cached_read) +
    (big(used.cache_write) - longWritten) * BigInt(of.cache_write) +
    longWritten * BigInt(of.cache_write_long ?? of.cache_write) +
    (big(used.output) - big(used.audio_output)) * BigInt(of.output) +
    big(used.audio_output) * BigInt(of.audio_output ?? of.output)
  );
}

const capped = (nano: bigint): number => Math.min(costMax, Number(nano));

test("a cost is exact to the last nano-dollar, rounded half up once, and never beyond the cap", () => {
  fc.assert(
    fc.property(usage, prices, (used, snapshot) => {
      const exact = (exactly(used, snapshot) + 500_000n) / 1_000_000n;
      expect(costOf(used, snapshot)).toBe(capped(exact));
    }),
    { numRuns: 5_000 },
  );
});

test("more tokens of a kind never cost less", () => {
  const growing = fc.constantFrom("plain", "cached", "written", "output") as fc.Arbitrary<
    "plain" | "cached" | "written" | "output"
  >;
  fc.assert(
    fc.property(usage, rates, growing, tokens, (used, snapshot, kind, more) => {
      const grown: Usage = { ...used };
      if (kind === "output") grown.output = (used.output ?? 0) + more;
      else grown.input = (used.input ?? 0) + more;
      if (kind === "cached") grown.cached_read = (used.cached_read ?? 0) + more;
      if (kind === "written") grown.cache_write = (used.cache_write ?? 0) + more;
      expect(costOf(grown, snapshot)).toBeGreaterThanOrEqual(costOf(used, snapshot) ?? 0);
    }),
    { numRuns: 2_000 },
  );
});

test("two calls cost what one with the tokens of both would, within a rounding each", () => {
  fc.assert(
    fc.property(usage, usage, rates, (one, other, snapshot) => {
      const both = Object.fromEntries(
        Object.entries(one).map(([part, count]) => [
          part,
          count === null ? null : (count ?? 0) + Number(other[part as keyof Usage] ?? 0),
        ]),
      ) as Usage;
      const apart = BigInt(costOf(one, snapshot) ?? 0) + BigInt(costOf(other, snapshot) ?? 0);
      const together = (exactly(both, snapshot) + 500_000n) / 1_000_000n;
      fc.pre(together < BigInt(costMax));
      const difference = apart - together;
      expect(difference >= -1n && difference <= 1n).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

test("parts that do not fit into their whole never make a cost negative or count twice", () => {
  const anything = fc.record({
    input: fc.option(tokens),
    output: fc.option(tokens),
    cached_read: fc.option(tokens),
    cache_write: fc.option(tokens),
    reasoning: fc.option(tokens),
    audio: fc.option(tokens),
    cache_write_long: fc.option(tokens),
    audio_input: fc.option(tokens),
    audio_output: fc.option(tokens),
  });
  const flat: Rates = { input: 1_000_000, cached_read: 1_000_000, cache_write: 1_000_000, output: 1_000_000 };
  fc.assert(
    fc.property(anything, prices, (used, snapshot) => {
      expect(costOf(used, snapshot)).toBeGreaterThanOrEqual(0);
      const input = Math.max(used.input ?? 0, (used.cached_read ?? 0) + (used.cache_write ?? 0));
      expect(costOf(used, flat)).toBe(Math.min(costMax, input + (used.output ?? 0)));
    }),
    { numRuns: 2_000 },
  );
});

test("a tier begins with the token after its mark, for all tokens of the call", () => {
  const snapshot: PriceSnapshot = {
    ...{ input: 1_000_000, cached_read: 100_000, cache_write: 1_250_000, output: 2_000_000 },
    tiers: [
      { above: 200_000, input: 2_000_000, cached_read: 200_000, cache_write: 2_500_000, output: 3_000_000 },
    ],
  };
  const at = (input: number) => costOf({ ...noUsage, input, output: 10 }, snapshot);
  expect([at(200_000), at(200_001)]).toEqual([200_020, 400_032]);
});

test("a pass has the tier of its own input and the price of its own model", () => {
  const at = (usd: number) => ({ input: usd, cached_read: usd, cache_write: usd, output: usd });
  const prices = { ...at(1_000_000), tiers: [{ ...at(2_000_000), above: 200 }] };
  const used = (input: number, output: number) => ({ ...noUsage, input, output });
  const compaction = { usage: used(180, 10), prices };
  expect(costOf(used(280, 20), prices)).toBe(600);
  // What stands in no pass is one more.
  expect(costOf(used(280, 20), prices, [compaction])).toBe(300);
  const advice = { usage: used(50, 5), prices: at(10_000_000) };
  expect(costOf(used(330, 25), prices, [compaction, advice])).toBe(300 + 550);
  expect(costOf(used(330, 25), prices, [compaction, { ...advice, prices: null }])).toBeNull();
});

test("what nobody knows costs nothing known", () => {
  expect([
    costOf(null, { input: 1, cached_read: 1, cache_write: 1, output: 1 }),
    costOf(noUsage, null),
  ]).toEqual([null, null]);
});

test("no price and no counts make a cost that sums could not hold", () => {
  const senseless = 999_999_000_000_000;
  const rates = { input: senseless, cached_read: senseless, cache_write: senseless, output: senseless };
  const cost = costOf({ ...noUsage, input: 1_000_000_000, output: 1_000_000_000 }, rates);
  expect(cost).toBe(10_000 * 1e9);
  expect(BigInt(cost ?? 0) * 900_000n < 2n ** 63n).toBe(true);
});
