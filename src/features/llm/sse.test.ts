import { expect, test } from "bun:test";
import fc from "fast-check";
import { eventPayload, SseSplitter } from "./sse.ts";

const endings = ["\n", "\r\n", "\r"];

/** Events as a provider might send them: comments, fields, several data lines, text in any script, either line end. */
const eventText = fc
  .record({
    lines: fc.array(
      fc.oneof(
        fc
          .string({ unit: "grapheme", maxLength: 20 })
          .map((text) => `data: ${text.replaceAll(/[\r\n]/g, " ")}`),
        fc.constantFrom(": ping", "event: delta", "id: 7", "data:", "data: [DONE]"),
      ),
      { minLength: 1, maxLength: 4 },
    ),
    ending: fc.constantFrom("\n", "\r\n"),
  })
  .map(({ lines, ending }) => lines.map((line) => line + ending).join("") + ending);

function split(bytes: Uint8Array, cuts: number[]): Uint8Array[] {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((start, i) => bytes.slice(start, at[i] ?? bytes.length));
}

function run(chunks: Uint8Array[]): { passed: Buffer; events: string[] } {
  const splitter = new SseSplitter();
  const passed: Uint8Array[] = [];
  const events: string[] = [];
  for (const chunk of chunks) {
    const found = splitter.push(chunk);
    if (found === null) continue;
    passed.push(found.bytes);
    let start = 0;
    for (const end of found.ends) {
      events.push(Buffer.from(found.bytes.subarray(start, end)).toString());
      start = end;
    }
  }
  return { passed: Buffer.concat([...passed, splitter.rest()]), events };
}

test("no chunking changes a byte or moves the end of an event", () => {
  fc.assert(
    fc.property(
      fc.array(eventText, { maxLength: 6 }),
      fc.array(fc.nat(), { maxLength: 12 }),
      (texts, cuts) => {
        const bytes = Buffer.from(texts.join(""));
        const { passed, events } = run(split(bytes, cuts));
        expect(passed.equals(bytes)).toBe(true);
        expect(events).toEqual(texts);
      },
    ),
    { numRuns: 2_000 },
  );
});

test("events are found when the stream comes one byte at a time", () => {
  for (const ending of endings) {
    const event = `data: ไทย${ending}data: two${ending}${ending}`;
    const bytes = Buffer.from(event.repeat(3));
    const { passed, events } = run([...bytes].map((byte) => Uint8Array.of(byte)));
    expect(passed.equals(bytes)).toBe(true);
    // A bare CR may be half of a CRLF, so the last event waits for a byte that never comes; the rest has it.
    expect(events).toEqual(ending === "\r" ? [event, event] : [event, event, event]);
  }
});

test("a line without an end is let through in pieces and does not fill the memory", () => {
  const splitter = new SseSplitter();
  let passed = 0;
  for (let i = 0; i < 16; i++)
    passed += splitter.push(new Uint8Array(64 * 1024).fill(0x61))?.bytes.length ?? 0;
  expect(passed).toBe(1 << 20);
  expect(splitter.inEvent).toBe(true);
  const next = new Uint8Array(1_000).fill(0x61);
  expect(splitter.push(next)?.bytes).toBe(next);
});

test("the last event may be larger, and whatever its pieces are its bytes stay in order", () => {
  const head = Buffer.from("event: last\ndata: ");
  const body = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => 0x61 + (i % 26)));
  const bytes = Buffer.concat([head, body, Buffer.from("\n\n"), Buffer.from("data: x\n\n")]);
  for (const size of [700, 65_536, 100_000, 2_000_000]) {
    const splitter = new SseSplitter((begin) => (Buffer.from(begin).includes("last") ? "done" : null));
    const found = [];
    for (let at = 0; at < bytes.length; at += size) {
      const events = splitter.push(bytes.subarray(at, at + size));
      if (events !== null) found.push(events);
    }
    expect(found.flatMap(({ ends }) => ends)).toHaveLength(2);
    expect(Buffer.concat(found.map((events) => events.bytes)).equals(bytes)).toBe(true);
  }
});

test("the payload of an event is its data lines, and a comment has none", () => {
  expect(eventPayload(Buffer.from('event: x\ndata: {"a":1}\n\n'))).toBe('{"a":1}');
  expect(eventPayload(Buffer.from("data:a\r\ndata: b\r\n\r\n"))).toBe("a\nb");
  expect(eventPayload(Buffer.from(": keep-alive\n\n"))).toBeNull();
});
