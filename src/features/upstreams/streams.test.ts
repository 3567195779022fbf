import { expect, test } from "bun:test";
import fc from "fast-check";
import { StreamEvents } from "./sse.ts";
import { endlessBytes, LineSplitter } from "./text-lines.ts";

/** The bytes cut at these places, whatever they are. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...at, bytes.length].map((end, index) => bytes.subarray(index === 0 ? 0 : at[index - 1], end));
}

const text = (bytes: Uint8Array): string => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
const tooLarge = () => new Error("too large");

/** As the standard has it, over the whole text at once. */
function eventsIn(stream: string): string[] {
  const lines = stream.replace(/^\ufeff/, "").split(/\r\n|\r|\n/);
  lines.pop();
  const events: string[] = [];
  let data: string[] = [];
  for (const line of lines) {
    if (line === "") {
      if (data.join("\n") !== "") events.push(data.join("\n"));
      data = [];
    } else if (line === "data" || line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return events;
}

test("events are the same wherever a stream is cut", () => {
  const pieces = fc.constantFrom(
    "data",
    "data:",
    "data: ",
    "dat",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    ":",
    "id: 1",
    "ü☃𝄞",
    "{",
    "\ufeff",
  );
  fc.assert(
    fc.property(
      fc.array(pieces, { maxLength: 40 }),
      fc.array(fc.nat(), { maxLength: 30 }),
      (parts, places) => {
        const stream = parts.join("");
        const events = new StreamEvents(10_000, tooLarge);
        const found = cut(new TextEncoder().encode(stream), places).flatMap((chunk) =>
          events.push(chunk).map(text),
        );
        // A lone CR at the very end may be the half of an end that has not come yet; it ends the line all the same.
        expect(found).toEqual(eventsIn(stream));
      },
    ),
    { numRuns: 2_000 },
  );
});

test("an event larger than allowed is refused, whether in one line or in many", () => {
  for (const line of ["data: ".padEnd(3_000, "x"), "data: x\n".repeat(2_000), ": ".padEnd(3_000, "x")]) {
    const events = new StreamEvents(1_000, tooLarge);
    expect(() => events.push(new TextEncoder().encode(line))).toThrow("too large");
  }
});

test("comments and fields that are not read are not counted together", () => {
  const events = new StreamEvents(1_000, tooLarge);
  for (let n = 0; n < 1_000; n++)
    expect(events.push(new TextEncoder().encode(": still here\n\n"))).toEqual([]);
  for (let n = 0; n < 1_000; n++) expect(events.push(new TextEncoder().encode(": still here\n"))).toEqual([]);
});

test("a stream of nothing but ends of lines is looked at no slower than another", () => {
  for (const text of ["\r", "\n", "\r\n", "\n\r", "\r\r\r\n", ":\r"]) {
    const chunk = new TextEncoder().encode(text.repeat((1 << 20) / text.length));
    const events = new StreamEvents(1 << 20, tooLarge);
    const began = performance.now();
    expect(events.push(chunk)).toEqual([]);
    const splitter = new LineSplitter(() => 100, { line: () => {}, long: () => {} });
    splitter.push(chunk);
    expect(performance.now() - began).toBeLessThan(2_500);
    expect(events.lines).toBeGreaterThan(0);
  }
});

test("empty lines are counted, and are no lines", () => {
  const found: (string | number)[] = [];
  const splitter = new LineSplitter(() => 100, {
    line: (bytes) => found.push(text(bytes)),
    empty: (count) => found.push(count),
    long: () => {},
  });
  for (const part of ["\n\n", "a\n\r\n", "b", "\n\nc\n"]) splitter.push(new TextEncoder().encode(part));
  expect(found).toEqual([2, "a", 1, "b", 1, "c"]);
});

test("lines are the same wherever they are cut, and one that is too long is let go by", () => {
  const lines = fc.array(fc.string({ unit: fc.constantFrom("a", "ü", "{", " ", "\r"), maxLength: 30 }));
  fc.assert(
    fc.property(lines, fc.array(fc.nat(), { maxLength: 30 }), (given, places) => {
      const found: string[] = [];
      const long: number[] = [];
      const splitter = new LineSplitter(() => 20, {
        line: (bytes) => found.push(text(bytes)),
        long: ({ tail, bytes }) => tail !== null && long.push(bytes),
      });
      const bytes = new TextEncoder().encode(given.map((line) => `${line}\n`).join(""));
      for (const chunk of cut(bytes, places)) splitter.push(chunk);
      const sizes = given.map((line) => Buffer.byteLength(line));
      const whole = given
        .filter((_, index) => (sizes[index] ?? 0) <= 20)
        .map((line) => line.replace(/\r$/, ""));
      expect(found).toEqual(whole.filter((line) => line !== ""));
      expect(long).toEqual(sizes.filter((size) => size > 20));
    }),
    { numRuns: 1_000 },
  );
});

test("a line without an end is told of before there is one", () => {
  let most = 0;
  const splitter = new LineSplitter(() => 10, { line: () => {}, long: ({ bytes }) => (most = bytes) });
  const chunk = new Uint8Array(1 << 20).fill(0x78);
  for (let n = 0; n * chunk.length <= endlessBytes; n++) splitter.push(chunk);
  expect(most).toBeGreaterThan(endlessBytes);
});
