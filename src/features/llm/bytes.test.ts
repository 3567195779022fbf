/**
 * What leaves the relay is what the provider sent, however the network cut it.
 */
import { expect, test } from "bun:test";
import type { Usage } from "../../db/ledger.ts";
import { defaultTimeouts } from "../../platform/config.ts";
import { startRecord } from "../../testing/ledger.ts";
import { named, type Recorded } from "../../testing/recorded.ts";
import { recordedChats } from "../../testing/recorded-chat.ts";
import { recordedOpenai } from "../../testing/recorded-openai.ts";
import { recordedResponses } from "../../testing/recorded-responses.ts";
import { Account } from "./account.ts";
import { Exchange } from "./exchange.ts";
import { relayStream } from "./relay.ts";
import { Watch } from "./watch.ts";
import { wireOf } from "./wires.ts";

const streams = [...recordedOpenai, ...recordedChats, ...recordedResponses].filter((one) => one.streams);
const start = startRecord();
const nothing = () => {};
const caller = { isEndedBy: () => false, hasLeft: () => false, stayOpen: nothing };
const needs = {
  books: { start: () => ({ written: Promise.resolve(), durable: Promise.resolve() }), end: async () => {} },
  count: async (texts: string[]) => texts.map(() => 1),
  watch: new Watch(),
};

/** What the real relay makes of a provider's stream that comes in these pieces. */
async function relayed(
  recorded: Pick<Recorded, "endpoint">,
  pieces: Uint8Array[],
  hideUsage: boolean,
  noted: (usage: Usage) => void = nothing,
): Promise<Buffer> {
  const wire = wireOf(recorded.endpoint);
  const exchange = new Exchange(needs, {
    start,
    timeouts: defaultTimeouts,
    wire,
    account: new Account(0, null),
    requestText: () => "",
    caller,
    unseen: null,
    asksApart: [],
    priceOf: () => null,
    noted: ({ usage }) => noted(usage),
  });
  let next = 1;
  const reader = {
    async read() {
      const value = pieces[next++];
      return value === undefined ? { done: true as const, value } : { done: false as const, value };
    },
    cancel: async () => {},
  };
  const options = { wire, hideUsage, safe: (bytes: Uint8Array) => bytes, trailer: null, over: nothing };
  const body = relayStream(exchange, reader, pieces[0] ?? null, options);
  const passed: Uint8Array[] = [];
  const out = body.getReader();
  for (let read = await out.read(); !read.done; read = await out.read()) passed.push(read.value.slice());
  return Buffer.concat(passed);
}

/** The same stream with the other line ends; fields are read by lines, so nothing else may change. */
const withCrlf = (text: string): string => text.replaceAll("\n", "\r\n");

/** The stream without the one event that carries usage alone, as a caller who did not ask for it gets it. */
function withoutUsage({ body }: { body: string }): string {
  const events = body.split(/(?<=\r?\n\r?\n)/);
  return events.filter((event) => !/"choices":\[\].*"usage":\{/.test(event)).join("");
}

const cutAt = (bytes: Uint8Array, cuts: number[]): Uint8Array[] =>
  [0, ...cuts]
    .map((from, i) => bytes.slice(from, cuts[i] ?? bytes.length))
    .filter((piece) => piece.length > 0);

/** A small generator with a fixed seed: a failing cut is found again. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % sides;
  };
}

test("a stream leaves as it came, cut anywhere, with either line end", async () => {
  let splits = 0;
  const roll = dice(7);
  for (const recorded of streams) {
    for (const body of [recorded.body, withCrlf(recorded.body)]) {
      for (const hideUsage of [false, true]) {
        const bytes = new Uint8Array(Buffer.from(body));
        const expected = Buffer.from(hideUsage ? withoutUsage({ body }) : body);
        const check = async (cuts: number[]) => {
          splits++;
          const passed = await relayed(recorded, cutAt(bytes, cuts), hideUsage);
          if (!passed.equals(expected))
            expect({ name: recorded.name, cuts, passed: passed.toString() }).toEqual({
              name: recorded.name,
              cuts,
              passed: expected.toString(),
            });
        };
        for (let cut = 0; cut <= bytes.length; cut++) await check([cut]);
        for (let i = 0; i < 400; i++) {
          const cuts = [roll(bytes.length), roll(bytes.length)].sort((a, b) => a - b);
          await check(cuts);
        }
        await check([...bytes.keys()].slice(1));
      }
    }
  }
  expect(splits).toBeGreaterThan(100_000);
}, 120_000);

test("the hidden event is really there, in the streams of those who send one", () => {
  const hides = streams.filter((recorded) => withoutUsage(recorded) !== recorded.body);
  expect(hides.length).toBeGreaterThanOrEqual(8);
});

test("a last event with pictures in it leaves whole, and its usage is read", async () => {
  const output = [{ type: "image_generation_call", id: "ig_1", result: "iVBORw0KGgo".repeat(250_000) }];
  const usage = { input_tokens: 40, output_tokens: 1_056, total_tokens: 1_096 };
  const response = { id: "resp_1", status: "completed", output, usage };
  const body = named(
    { type: "response.created", response: { id: "resp_1" } },
    { type: "response.completed", sequence_number: 9, response },
  );
  const bytes = new Uint8Array(Buffer.from(body));
  const pieces = Array.from({ length: Math.ceil(bytes.length / 16_384) }, (_, i) =>
    bytes.slice(i * 16_384, (i + 1) * 16_384),
  );
  const told: Usage[] = [];
  const passed = await relayed({ endpoint: "responses" }, pieces, false, (read) => told.push(read));
  expect(passed.equals(bytes)).toBe(true);
  expect(told).toMatchObject([{ input: 40, output: 1_056 }]);
});

test("of a last event too large for any memory the usage is read, and its end waits for the books", async () => {
  const output = [{ type: "image_generation_call", id: "ig_1", result: "iVBORw0KGgo".repeat(500_000) }];
  const usage = { input_tokens: 40, output_tokens: 1_056, total_tokens: 1_096 };
  const response = { id: "resp_1", status: "completed", output, usage, user: null };
  const body = named({ type: "response.completed", sequence_number: 9, response });
  const bytes = new Uint8Array(Buffer.from(body));
  for (const size of [65_536, 1_000_000, bytes.length - 1]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.slice(i * size, (i + 1) * size),
    );
    const told: Usage[] = [];
    const passed = await relayed({ endpoint: "responses" }, pieces, false, (read) => told.push(read));
    expect(passed.equals(bytes)).toBe(true);
    expect(told).toMatchObject([{ input: 40, output: 1_056 }]);
  }
});

test("an event too large for any memory leaves in pieces, as it came", async () => {
  const body = `data: {"choices":[],"x":"${"é".repeat(3 << 20)}"}\r\n\r\ndata: [DONE]\r\n\r\n`;
  const bytes = new Uint8Array(Buffer.from(body));
  const pieces = Array.from({ length: Math.ceil(bytes.length / 65_535) }, (_, i) =>
    bytes.slice(i * 65_535, (i + 1) * 65_535),
  );
  expect((await relayed({ endpoint: "chat/completions" }, pieces, true)).equals(bytes)).toBe(true);
});
