import { expect, test } from "bun:test";
import type { EndRecord } from "../../db/ledger.ts";
import { defaultTimeouts } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { openJournal } from "../../platform/journal/journal.ts";
import { silentLog } from "../../platform/log.ts";
import { testDir } from "../../testing/cluster.ts";
import { startRecord } from "../../testing/ledger.ts";
import { diskBooks } from "../usage/books.ts";
import { Account } from "./account.ts";
import { type Books, Exchange, type ExchangeCall } from "./exchange.ts";
import { Watch } from "./watch.ts";
import { chatWire } from "./wire-chat.ts";

function exchangeOver(written: Promise<void>) {
  return exchangeIn({ start: () => ({ written, durable: written }), end: async () => {} });
}

function exchangeIn(books: Books, more: Partial<ExchangeCall> = {}) {
  const watch = new Watch();
  const exchange = new Exchange(
    { books, count: async (texts) => texts.map(() => 1), watch },
    {
      start: startRecord(),
      timeouts: defaultTimeouts,
      account: new Account(performance.now(), null),
      unseen: null,
      asksApart: [],
      priceOf: () => null,
      noted: () => {},
      wire: chatWire,
      requestText: () => "",
      caller: { isEndedBy: () => false, hasLeft: () => false, stayOpen: () => {} },
      ...more,
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

test("a connection may be silent for as long as the call lasts, and not for ever behind it", async () => {
  const waits: (number | undefined)[] = [];
  const caller = {
    isEndedBy: () => false,
    hasLeft: () => false,
    stayOpen: (seconds?: number) => void waits.push(seconds),
  };
  const ended = async () => {};
  const { exchange } = exchangeIn(
    { start: () => ({ written: ended(), durable: ended() }), end: ended },
    { caller },
  );
  await exchange.begin();
  exchange.requireLive();
  exchange.departs();
  exchange.tick(performance.now());
  exchange.tick(performance.now());
  await exchange.end("answered");
  expect(waits).toEqual([undefined, 30]);
});

test("a connection stays open while another attempt goes on behind one that has ended", async () => {
  const waits: (number | undefined)[] = [];
  const stayOpen = (seconds?: number) => void waits.push(seconds);
  const caller = { isEndedBy: () => false, hasLeft: () => false, stayOpen };
  const ended = async () => {};
  const books = { start: () => ({ written: ended(), durable: ended() }), end: ended };
  const { exchange } = exchangeIn(books, { caller });
  await exchange.begin();
  exchange.requireLive();
  exchange.departs();
  exchange.tick(performance.now());
  exchange.conclude("refused", "provider_429");
  exchange.handOver();
  await Bun.sleep(5);
  expect(waits).toEqual([undefined]);
});

test("a shutdown waits for an END until it is durable, and for one that has still to be counted", async () => {
  const durable = Promise.withResolvers<void>();
  const written = Promise.resolve();
  const books: Books = { start: () => ({ written, durable: written }), end: () => durable.promise };
  const { exchange, watch } = exchangeIn(books);
  await exchange.begin();
  exchange.requireLive();
  exchange.departs();
  const left = exchange.leave();
  await Bun.sleep(5);
  expect(watch.size).toBe(1);
  // Nothing can be given up any more.
  watch.giveUp(new Failure("unavailable", "unavailable", "Closing."));
  expect(exchange.failure).toBeNull();
  durable.resolve();
  await left;
  expect(watch.size).toBe(0);
});

test("a call whose START could not be written is not waited for", async () => {
  const { exchange, watch } = exchangeOver(Promise.reject(new Error("the disk is gone")));
  await expect(exchange.begin()).rejects.toThrow("the disk is gone");
  expect(watch.size).toBe(0);
});

const most = 1_000_000_000;
const fullUsage = {
  input: most,
  output: most,
  cached_read: most,
  cache_write: most,
  reasoning: most,
  audio: most,
  cache_write_long: most,
  audio_input: most,
  audio_output: most,
};

test("the largest END there can be finds its place in the journal", async () => {
  const dir = testDir();
  const journal = await openJournal({
    dir: dir.path,
    instance: dir.instance,
    epoch: 1,
    bootId: "b",
    log: silentLog,
  });
  const ids = Array.from({ length: 100 }, (_, n) => `${n}`.padStart(128, "x"));
  const nano = 9_000_000_000_000_000;
  const { exchange } = exchangeIn(diskBooks(journal), {
    start: startRecord({ att: 999, hold: nano, periods: ["per_1"] }),
    account: new Account(performance.now() - 1e9, { nano, periods: ["per_1"] }),
    wire: { ...chatWire, usageOfBody: () => fullUsage, keptOfBody: () => ids },
  });
  await exchange.begin();
  exchange.touch();
  exchange.status = 200;
  exchange.sentStatus = 200;
  exchange.meter.seeBody({});
  expect(exchange.meter.keptIds.length).toBeGreaterThan(0);
  const settled = await exchange.end("broken", "x".repeat(64));
  expect(settled.usage).toEqual(fullUsage);
  await journal.close();
});

test("a stream that was cut counts for what was seen of it, whatever was reported in passing", async () => {
  const ends: EndRecord[] = [];
  const books: Books = {
    start: () => ({ written: Promise.resolve(), durable: Promise.resolve() }),
    end: async (record) => void ends.push(record),
  };
  const early = { ...fullUsage, input: 25, output: 1 };
  const look = () => ({ usage: early, usageOnly: false, terminal: null });
  for (const [final, output] of [
    [false, 7],
    [true, 1],
  ] as const) {
    const { exchange } = exchangeIn(books, { wire: { ...chatWire, look: () => ({ ...look(), final }) } });
    const counted = exchange as unknown as { meter: { written: () => object } };
    await exchange.begin();
    exchange.requireLive();
    exchange.departs();
    exchange.meter.see(Buffer.from("data: {}\n\n"));
    counted.meter.written = () => ({ text: "", foldedTokens: 6 });
    await exchange.leave();
    expect(ends.at(-1)?.usage).toMatchObject({ input: 25, output });
  }
});

test("under a hard budget whoever breaks a call off pays for what nobody saw, and nobody else does", async () => {
  const revoked = new Failure("unauthenticated", "unauthenticated", "Revoked.");
  const late = new Failure("upstream_timeout", "provider_timeout", "Late.");
  const nano = 1_000_000;
  // Ten tokens in and ten out, a thousand nano-USD each.
  const cost = 20_000;
  const seen = 22_000;
  const cases: [string, { stream: boolean; hides: boolean }, (exchange: Exchange) => unknown, number][] = [
    ["a stream that was left", { stream: true, hides: false }, (it) => it.leave(), seen],
    ["a whole answer that was left", { stream: false, hides: false }, (it) => it.leave(), nano],
    ["hidden thoughts that were left", { stream: true, hides: true }, (it) => it.leave(), nano],
    ["a revoked credential", { stream: true, hides: true }, (it) => it.giveUp(revoked), nano],
    ["a provider that stalls while it thinks", { stream: true, hides: true }, (it) => it.giveUp(late), nano],
    ["a provider that stalls in plain sight", { stream: true, hides: false }, (it) => it.giveUp(late), seen],
    ["a provider that breaks off", { stream: true, hides: true }, () => {}, cost],
    [
      "a caller who does not read",
      { stream: true, hides: true },
      (it) => {
        it.reading = false;
        it.giveUp(late);
      },
      nano,
    ],
  ];
  for (const [name, { stream, hides }, happen, charged] of cases) {
    const ends: EndRecord[] = [];
    const books: Books = {
      start: () => ({ written: Promise.resolve(), durable: Promise.resolve() }),
      end: async (record) => void ends.push(record),
    };
    const prices = {
      input: 1_000_000_000,
      cached_read: 1_000_000_000,
      cache_write: 1_000_000_000,
      output: 1_000_000_000,
    };
    const { exchange } = exchangeIn(books, {
      start: startRecord({ stream, hold: nano, periods: ["per_1"], prices }),
      account: new Account(performance.now(), { nano, periods: ["per_1"] }),
      unseen: { output: hides, input: false, lookUps: false },
      wire: {
        ...chatWire,
        look: () => ({
          usage: { ...fullUsage, ...noParts, input: 10, output: 10 },
          usageOnly: false,
          terminal: null,
        }),
      },
    });
    await exchange.begin();
    exchange.requireLive();
    exchange.departs();
    exchange.meter.see(Buffer.from("data: {}\n\n"));
    await happen(exchange);
    await exchange.end("broken");
    expect([name, ends[0]?.close]).toMatchObject([name, { state: "estimated", cost, charged }]);
  }
});

test("whoever leaves before a connection stands has asked nobody, and pays nothing", async () => {
  const ends: EndRecord[] = [];
  const { exchange } = exchangeIn({
    start: () => ({ written: Promise.resolve(), durable: Promise.resolve() }),
    end: async (record) => void ends.push(record),
  });
  await exchange.begin();
  exchange.requireLive();
  await exchange.leave();
  expect([ends, exchange.abort.signal.aborted, exchange.wasAsked]).toEqual([[], true, false]);
  await exchange.end("refused", "caller_left");
  expect(ends).toMatchObject([{ state: "failed", cost: 0, error: "caller_left" }]);
});

const noParts = {
  cached_read: 0,
  cache_write: 0,
  reasoning: 0,
  audio: 0,
  cache_write_long: 0,
  audio_input: 0,
  audio_output: 0,
};
