import { expect, test } from "bun:test";
import fc from "fast-check";
import { levelOf, piecesOf } from "./spans.ts";

const hourMs = 3_600_000;
const hour = fc
  .integer({ min: 0, max: 24 * 120 })
  .map((hours) => new Date(Date.UTC(2026, 0, 1) + hours * hourMs));
const moment = fc
  .tuple(hour, fc.integer({ min: 0, max: hourMs - 1 }))
  .map(([at, more]) => new Date(at.getTime() + more));
const day = hour.map((at) => new Date(Math.floor(at.getTime() / (24 * hourMs)) * 24 * hourMs));

test("the pieces of a span are its whole hours, each once, in the order of time", () => {
  const grain = fc.constantFrom("hour" as const, "day" as const, "month" as const);
  const end = fc.option(moment, { nil: undefined });
  fc.assert(
    fc.property(end, end, grain, fc.option(day), (from, to, finest, folded) => {
      const pieces = piecesOf({ from, to }, finest, folded);
      if (from !== undefined && to !== undefined && from >= to) return;
      const first = from === undefined ? null : Math.floor(from.getTime() / hourMs) * hourMs;
      const last = to === undefined ? null : Math.ceil(to.getTime() / hourMs) * hourMs;
      expect(pieces.at(0)?.from?.getTime() ?? null).toBe(first);
      expect(pieces.at(-1)?.to?.getTime() ?? null).toBe(last);
      for (const [at, piece] of pieces.entries()) {
        expect(pieces[at + 1]?.from?.getTime() ?? null).toBe(
          at + 1 < pieces.length ? (piece.to?.getTime() ?? -1) : null,
        );
        if (piece.from !== null && piece.to !== null) expect(piece.from < piece.to).toBe(true);
        if (piece.grain === "hour") continue;
        expect(finest).not.toBe("hour");
        if (finest === "day") expect(piece.grain).toBe("day");
        for (const edge of [piece.from, piece.to].filter((one) => one !== null)) {
          expect(edge.getTime() % (24 * hourMs)).toBe(0);
          if (piece.grain === "month") expect(edge.getUTCDate()).toBe(1);
        }
        expect(folded !== null && piece.to !== null && piece.to <= folded).toBe(true);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("a long span is a few months and the days and hours at its ends", () => {
  const span = { from: new Date("2026-01-30T22:10:00Z"), to: new Date("2026-04-02T05:00:00Z") };
  const told = piecesOf(span, "month", new Date("2026-04-02")).map(
    ({ grain, from, to }) => `${grain} ${from?.toISOString().slice(5, 13)} ${to?.toISOString().slice(5, 13)}`,
  );
  expect(told).toEqual([
    "hour 01-30T22 01-31T00",
    "day 01-31T00 02-01T00",
    "month 02-01T00 04-01T00",
    "day 04-01T00 04-02T00",
    "hour 04-02T00 04-02T05",
  ]);
  expect(piecesOf({ from: undefined, to: undefined }, "month", null)).toEqual([
    { grain: "hour", from: null, to: null },
  ]);
  expect(piecesOf({ from: new Date("0001-01-01"), to: new Date("0001-01-02") }, "month", null)).toHaveLength(
    1,
  );
});

test("a question is answered by the level with the fewest dimensions that has all it names", () => {
  expect(levelOf([])).toBe("totals");
  expect(levelOf(["model", "provider"])).toBe("models");
  expect(levelOf(["project", "model"])).toBe("projects");
  expect(levelOf(["client"])).toBe("callers");
  for (const one of ["session", "iteration", "task", "key"] as const)
    expect(levelOf(["project", one])).toBe("all");
});
