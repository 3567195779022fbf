/**
 * Scripts known by model name when the scripted provider runs by itself: the accidents that a gateway has to survive,
 * each by the name that one would look for.
 */
import { event, eventStream, refusal, reply, type Scripted } from "./provider-script.ts";

const delta = (content: string): string => event({ choices: [{ index: 0, delta: { content } }] });

export const builtInScripts: Record<string, Scripted> = {
  "words-32": reply({ words: 32 }),
  "paced-20": reply({ words: 20, gapMs: 100 }),
  "paced-300": reply({ words: 300, gapMs: 100 }),
  "no-usage": reply({ usage: null }),
  "usage-on-finish": reply({ usageOn: "finish" }),
  "usage-cumulative": reply({ usageOn: "every" }),
  "usage-x-groq": reply({ usageOn: "x_groq" }),
  "usage-zero": reply({
    usage: { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 },
  }),
  "usage-nonsense": reply({
    usage: { prompt_tokens: -3, completion_tokens: 2.5, total_tokens: "9" },
  }),
  "no-done": reply({ done: false }),
  "slow-headers": (asked) => ({ ...reply()(asked), headersAfterMs: 5_000 }),
  "never-answers": { headersAfterMs: Number.POSITIVE_INFINITY, steps: [] },
  "one-byte": (asked) => ({ ...reply()(asked), pieceBytes: 1 }),
  stall: {
    headers: eventStream,
    steps: [delta("one "), delta("two "), "stall"],
  },
  cut: { headers: eventStream, steps: [delta("one "), { cut: "fin" }] },
  reset: { headers: eventStream, steps: [delta("one "), { cut: "reset" }] },
  "cut-in-chunk": {
    headers: eventStream,
    steps: [delta("one "), { cut: "reset", within: 'data: {"choices":[{"ind' }],
  },
  garbage: {
    headers: eventStream,
    steps: ["\u0000\u0001{not json\n\ndata: {\n\n", delta("one ")],
  },
  html: {
    headers: { "content-type": "text/html" },
    steps: ["<html><body>Bad gateway</body></html>"],
  },
  "bad-gzip": {
    headers: { ...eventStream, "content-encoding": "gzip" },
    steps: [new Uint8Array([0x1f, 0x8b, 0x08, 0x00, 0x6e, 0x6f])],
  },
  "endless-line": {
    headers: eventStream,
    steps: ["data: ", { repeat: "x".repeat(65_536), times: 32_768 }],
  },
  "status-400": refusal(400),
  "status-401": refusal(401),
  "status-429": refusal(429, { "retry-after": "2" }),
  "status-500": refusal(500),
  "status-503": refusal(503, { "retry-after": "1" }),
};
