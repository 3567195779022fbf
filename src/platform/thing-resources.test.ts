import { expect, test } from "bun:test";
import fc from "fast-check";
import { newId } from "./ids.ts";
import { rangeOf } from "./thing-resources.ts";

test("a range holds exactly the ids that begin as was typed", () => {
  const id = fc.stringMatching(/^[0-9a-f]{32}$/).map((digits) => `tsk_${digits}`);
  const typed = fc.oneof(
    fc.tuple(id, fc.nat(40)).map(([whole, length]) => whole.slice(0, length)),
    fc.string({ maxLength: 40 }),
    fc.string({ maxLength: 40 }).map((end) => `tsk_${end}`),
  );
  fc.assert(
    fc.property(id, typed, fc.nat(36), (other, begin, shared) => {
      for (const one of [
        other,
        newId("tsk"),
        begin.slice(0, shared) + other.slice(Math.min(begin.length, shared)),
      ]) {
        if (!/^tsk_[0-9a-f]{32}$/.test(one)) continue;
        const range = rangeOf("tsk", begin);
        const isIn = range !== null && one >= range.from && one < range.below;
        expect(isIn).toBe(one.startsWith(begin));
      }
    }),
    { numRuns: 2_000 },
  );
});
