import { expect, test } from "bun:test";
import fc from "fast-check";
import { hintOf, isKey, mintClientSecret, mintKey } from "./minting.ts";

test("a key is spelled with letters and digits only, and so is a client's secret", () => {
  for (let i = 0; i < 200; i++) {
    expect(mintKey()).toMatch(/^sgk_[0-9A-Za-z]{49}$/);
    expect(mintClientSecret()).toMatch(/^sgs_[0-9A-Za-z]{43}$/);
  }
});

test("no two keys are alike", () => {
  expect(new Set(Array.from({ length: 1_000 }, mintKey)).size).toBe(1_000);
});

test("a key passes its own checksum and shows its last four characters", () => {
  const key = mintKey();
  expect(isKey(key)).toBe(true);
  expect(hintOf(key)).toBe(key.slice(-4));
});

test("any single mistyped character is noticed", () => {
  const key = mintKey();
  fc.assert(
    fc.property(fc.integer({ min: 4, max: key.length - 1 }), fc.constantFrom(..."09AZaz_-"), (at, typo) => {
      fc.pre(key[at] !== typo);
      return !isKey(key.slice(0, at) + typo + key.slice(at + 1));
    }),
  );
});

test("two characters swapped, one lost, one too many or another prefix are noticed", () => {
  const key = mintKey();
  const at = [...key].findIndex((char, i) => i > 4 && char !== key[i + 1]);
  expect(isKey(key.slice(0, at) + key[at + 1] + key[at] + key.slice(at + 2))).toBe(false);
  for (const other of [key.slice(0, -1), `${key}0`, key.replace("sgk", "sgs"), `${key}\n`, ` ${key}`, ""]) {
    expect(isKey(other)).toBe(false);
  }
});
