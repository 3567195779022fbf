/** The two headers that are easy to get wrong, against anything that a caller may call a file or ask for. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { attachmentOf } from "../../platform/content-disposition.ts";
import { rangeOf } from "./blob-download.ts";

test("a name of any letters is one header of one line, and comes back as it was", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" })), (name) => {
      const header = attachmentOf(name);
      expect(header).toMatch(/^attachment; filename="[\w .-]*"; filename\*=UTF-8''[\w.!~%-]*$/);
      expect(new Headers({ "content-disposition": header }).get("content-disposition")).toBe(header);
      expect(decodeURIComponent(header.split("''")[1] ?? "")).toBe(name.toWellFormed());
    }),
    { numRuns: 2_000 },
  );
});

test.each([
  ["plan.pdf", "plan.pdf"],
  ["a\r\nset-cookie: x=y", "a__set-cookie_ x_y"],
  ['"; filename=evil.exe', "__ filename_evil.exe"],
  ["..\\..\\x%2Fy", ".._.._x_2Fy"],
  ["รายงาน.pdf", "______.pdf"],
])("the name %p is %p to clients of old", (name, ascii) => {
  expect(attachmentOf(name)).toStartWith(`attachment; filename="${ascii}"; `);
});

test("a range lies in the file, or is none, or cannot be", () => {
  const digits = fc.oneof(
    fc.constant(""),
    fc.bigInt({ min: 0n, max: 10n ** 30n }).map(String),
    fc.nat(20).map(String),
  );
  fc.assert(
    fc.property(digits, digits, fc.integer({ min: 1, max: 20 }), (first, last, size) => {
      try {
        const range = rangeOf(`bytes=${first}-${last}`, size);
        if (range === null) return;
        expect(range.from).toBeGreaterThanOrEqual(0);
        expect(range.from).toBeLessThan(range.to);
        expect(range.to).toBeLessThanOrEqual(size);
      } catch (failure) {
        expect(failure).toMatchObject({ code: "range_not_satisfiable", status: 416 });
        expect(first === "" ? Number(last) === 0 : Number(first) >= size).toBe(true);
      }
    }),
  );
});
