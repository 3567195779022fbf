import { expect, test } from "bun:test";
import { markOf, marksOf } from "./kept-marks.ts";
import { Meter } from "./meter.ts";
import { chatWire } from "./wire-chat.ts";
import { responsesWire } from "./wire-responses.ts";

const event = (chunk: unknown) => Buffer.from(`data: ${JSON.stringify(chunk)}\n\n`);

test("the text of an aborted stream is kept for counting, tool calls and reasoning included", () => {
  const meter = new Meter(chatWire);
  meter.keep(event({ choices: [{ delta: { role: "assistant", content: "Hello " } }] }));
  meter.keep(event({ choices: [{ delta: { content: "ไทย", reasoning_content: "think " } }] }));
  meter.keep(event({ choices: [{ delta: { tool_calls: [{ function: { name: "f", arguments: "{}" } }] } }] }));
  expect(meter.written()).toEqual({ text: "Hello think ไทยf{}", foldedTokens: 0 });
});

test("a long stream is folded, so that its memory stays small", () => {
  const meter = new Meter(chatWire);
  for (let i = 0; i < 5_000; i++) meter.keep(event({ choices: [{ delta: { content: "x".repeat(100) } }] }));
  const { text, foldedTokens } = meter.written();
  expect(text.length).toBeLessThanOrEqual(256 * 1024);
  expect(foldedTokens + text.length / 4).toBeCloseTo(125_000, -3);
});

const item = (id: unknown) => ({ type: "reasoning", id });

test("ids that a provider keeps are each named once, the response's own first", () => {
  const meter = new Meter(responsesWire);
  const odd = [7, "", null, "x".repeat(129), "rs_\u0000", "rs ü", 'rs_"quoted"'].map(item);
  meter.seeBody({ id: "resp_1", output: [item("rs_0"), item("rs_0"), ...odd, item("rs_1")] });
  expect(meter.keptIds).toEqual(["resp_1", "rs_0", 'rs_"quoted"', "rs_1"]);
});

test("of an answer with many items the books keep seventy, in no more room than they have", () => {
  const meter = new Meter(responsesWire);
  const output = Array.from({ length: 2_000 }, (_, i) => item(`${i}`.padStart(128, '"')));
  meter.seeBody({ id: "resp_1", output });
  expect(meter.keptIds).toHaveLength(1_000);
  const marks = marksOf(meter.keptIds);
  expect(marks[0]).toBe(markOf("resp_1"));
  expect(new Set(marks).size).toBe(70);
  expect(JSON.stringify(marks).length).toBeLessThanOrEqual(1_000);
});
