import { expect, test } from "bun:test";
import { defaultTimeouts } from "../../platform/config.ts";
import { startRecord } from "../../testing/ledger.ts";
import { type Books, Exchange } from "./exchange.ts";
import { chatWire } from "./openai.ts";
import { Watch } from "./watch.ts";

function exchangeOver(written: Promise<void>) {
  const watch = new Watch();
  const books: Books = { start: () => ({ written, durable: written }), end: async () => {} };
  const exchange = new Exchange(
    { books, count: async (texts) => texts.map(() => 1), watch },
    {
      start: startRecord(),
      target: { provider: "p", model: "m", config: null, timeouts: defaultTimeouts },
      wire: chatWire,
      startedAt: performance.now(),
      requestText: () => "",
      caller: { isEndedBy: () => false, hasLeft: () => false, stayOpen: () => {} },
    },
  );
  return { exchange, watch };
}

test("a shutdown sees a call from the moment its START is on its way", async () => {
  const written = Promise.withResolvers<void>();
  const { exchange, watch } = exchangeOver(written.promise);
  const begun = exchange.begin();
  expect(watch.size).toBe(1);
  written.resolve();
  await begun;
  await exchange.end("answered");
  expect(watch.size).toBe(0);
});

test("a call whose START could not be written is not waited for", async () => {
  const { exchange, watch } = exchangeOver(Promise.reject(new Error("the disk is gone")));
  await expect(exchange.begin()).rejects.toThrow("the disk is gone");
  expect(watch.size).toBe(0);
});
