import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatUsd } from "./money.ts";

test("an amount is written exactly, with at least two decimals", () => {
  const rows: [number | bigint, string][] = [
    [0, "0.00"],
    [1, "0.000000001"],
    [125_000, "0.000125"],
    [1_500_000_000, "1.50"],
    [-10_000_000, "-0.01"],
    [12_345_678_901_234_567n, "12345678.901234567"],
  ];
  for (const [nano, text] of rows) expect(formatUsd(nano)).toBe(text);
});

test("no amount is lost in writing it", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }), (nano) => {
      const [whole = "", fraction = ""] = formatUsd(nano).replace("-", "").split(".");
      const read = BigInt(whole) * 10n ** 9n + BigInt(fraction.padEnd(9, "0"));
      expect(formatUsd(nano).startsWith("-") ? -read : read).toBe(nano);
    }),
  );
});
