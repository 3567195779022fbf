import { expect, test } from "bun:test";
import fc from "fast-check";
import { hasLongMarkRun, nfkc } from "./nfkc.ts";

const piece = fc.oneof(
  fc.constantFrom("a", "\u0301", "\u0316", "\u0344", "\uff9e", "\uff76", "\u034f", "\u0e33", "İ", "ﬃ"),
  fc.constantFrom("\u0301\u0316", "\uff9e\u0301", "\u0e4d").map((marks) => marks.repeat(20)),
  fc.string({ unit: "binary", maxLength: 3 }),
);
const texts = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));

test("what people write is normalized as Unicode says, and what was normalized stays as it is", () => {
  fc.assert(
    fc.property(texts, (text) => {
      const once = nfkc(text);
      expect(nfkc(once)).toBe(once);
      if (!hasLongMarkRun(text)) expect(once).toBe(text.normalize("NFKC"));
    }),
    { numRuns: 5_000 },
  );
  expect(nfkc(`\uff41${"\u0301".repeat(30)}`)).toBe(`á${"\u0301".repeat(29)}`);
  expect(nfkc(`\uff41${"\u0301\u0316".repeat(16)}\uff42`)).toBe(`a${"\u0301\u0316".repeat(16)}b`);
});

test("texts that differ only in a long row of marks stay two", () => {
  const rows = [30, 31, 32, 33].map((count) => `a${"\u0301".repeat(count)}`);
  expect(new Set(rows.map(nfkc)).size).toBe(rows.length);
});

test("a megabyte of marks takes no time, whatever they are", () => {
  for (const unit of ["\u0301\u0316", "\uff9e\u0301", "\u0301\uff9f\u0316", "\u0344\u0323", "\u0f73\u0301"]) {
    for (const text of [`a${unit.repeat(400_000 / unit.length)}`, `a${unit.repeat(10)}`.repeat(20_000)]) {
      const from = performance.now();
      nfkc(text);
      expect(performance.now() - from).toBeLessThan(1_000);
    }
  }
});
