import { afterAll, expect, test } from "bun:test";
import { createTokenCounter } from "./count.ts";

const counter = createTokenCounter();
afterAll(() => counter.close());

test("a counter that is closed answers by its guess at once, so that nobody waits for it", async () => {
  const closing = createTokenCounter();
  const counted = closing.count(["x".repeat(400)]);
  closing.close();
  expect(await counted).toEqual([100]);
});

test("no text holds up the counting of the next", async () => {
  // The vocabulary is loaded by the first question.
  expect(await counter.count(["hello world, hello!", "<|endoftext|>"])).toEqual([5, 1]);
  const startedAt = performance.now();
  const texts = ["x".repeat(60_000), "สวัสดี".repeat(10_000), " ".repeat(60_000), "漢字".repeat(30_000)];
  const [letters] = await counter.count(texts);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  // 7,500 by the vocabulary, in one piece and in thirteen seconds.
  expect(Math.abs((letters ?? 0) - 7_500)).toBeLessThan(75);
}, 30_000);
