/** What is too large to leave whole: a page that is not read in vain, and what is cut without holding everybody up. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fit, fitList, type ToolResult } from "./bounds.ts";

describe("a page of large rows", () => {
  const rowsOf = (sizes: readonly number[]) => {
    const asked: number[] = [];
    let read = 0;
    const page = async (limit: number, cursor?: unknown) => {
      asked.push(limit);
      const from = Number(cursor ?? 0);
      const data = sizes
        .slice(from, from + limit)
        .map((size, at) => ({ id: from + at, text: "x".repeat(size) }));
      read += data.length;
      const to = from + data.length;
      return { data, next_cursor: to < sizes.length ? String(to) : null };
    };
    return { page, asked, rowsRead: () => read };
  };
  const answered = ({ structuredContent }: ToolResult) =>
    structuredContent as { data: { id: number }[]; next_cursor: string | null; truncated?: unknown };

  test("is not read further than it may leave", async () => {
    const { page, asked, rowsRead } = rowsOf(Array(200).fill(20_000));
    const { data, next_cursor, truncated } = answered(await fitList(page, 100, 1_048_576));
    expect(data.length).toBeGreaterThan(20);
    expect(next_cursor).toBe(String(data.length));
    expect(truncated).toEqual([{ path: "data", bytes: expect.any(Number) }]);
    expect(rowsRead()).toBe(data.length);
    expect(asked[0]).toBe(20);
  });

  test("is the same page, whatever its rows weigh, as far as it goes", async () => {
    const sizes = fc.array(fc.oneof(fc.nat(50), fc.nat(3_000)), { maxLength: 130 });
    await fc.assert(
      fc.asyncProperty(sizes, fc.integer({ min: 1, max: 120 }), async (weights, limit) => {
        const { page } = rowsOf(weights);
        const result = await fitList(page, limit, 60_000);
        const { data, next_cursor, truncated } = answered(result);
        expect(Buffer.byteLength(JSON.stringify(result))).toBeLessThanOrEqual(60_000);
        expect(data.map(({ id }) => id)).toEqual(Array.from({ length: data.length }, (_, at) => at));
        expect(next_cursor).toBe(data.length < weights.length ? String(data.length) : null);
        const isWhole = data.length === Math.min(limit, weights.length);
        expect(isWhole || truncated !== undefined).toBe(true);
        expect(data.length > 0 || weights.length === 0).toBe(true);
      }),
    );
  });
});

test("what has to be cut is cut quickly, and is as long as it may be", async () => {
  for (const text of ["é\n", "x ", '"\\ ', "\u0001 ", "中文 "]) {
    const from = performance.now();
    const result = await fit({ id: "i", text: text.repeat(750_000), more: "short words" }, 1_048_576, null);
    expect([text, performance.now() - from < 400]).toEqual([text, true]);
    const bytes = Buffer.byteLength(JSON.stringify(result));
    expect([text, bytes <= 1_048_576, bytes > 1_000_000]).toEqual([text, true, true]);
  }
});
