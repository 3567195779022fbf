/**
 * The provider behind the benchmarks: as fast as it can be, so that what is measured is what stands before it.
 *
 * `bench-json` answers whole, `bench-stream` in 32 chunks as fast as they leave, `bench-paced` in 32 chunks 10 ms apart
 * after 40 ms of thought.
 */
import { serve } from "bun";

const chunk = (choices: object[], usage?: object): string =>
  `data: ${JSON.stringify({ id: "chatcmpl-bench", object: "chat.completion.chunk", created: 1_700_000_000, model: "bench", choices, ...(usage ? { usage } : {}) })}\n\n`;
const usage = { prompt_tokens: 12, completion_tokens: 32, total_tokens: 44 };
const words = Array.from({ length: 32 }, (_, index) =>
  chunk([{ index: 0, delta: { content: `word${index} ` }, finish_reason: index === 31 ? "stop" : null }]),
);
const counted = chunk([], usage);
const whole = JSON.stringify({
  id: "chatcmpl-bench",
  object: "chat.completion",
  created: 1_700_000_000,
  model: "bench",
  choices: [{ index: 0, message: { role: "assistant", content: "word ".repeat(32) }, finish_reason: "stop" }],
  usage,
});
const eventStream = { "content-type": "text/event-stream; charset=utf-8" };
const breath = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const server = serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 0,
  async fetch(request) {
    const body = await request.text();
    if (body.includes('bench-json"')) {
      return new Response(whole, { headers: { "content-type": "application/json" } });
    }
    const pieces = [
      ...words,
      ...(body.includes('"include_usage":true') ? [counted] : []),
      "data: [DONE]\n\n",
    ];
    return new Response(streamOf(pieces, body.includes('bench-paced"')), { headers: eventStream });
  },
});
console.log(server.port);

async function* streamOf(pieces: string[], paced: boolean): AsyncGenerator<string> {
  if (paced) await Bun.sleep(40);
  for (const piece of pieces) {
    yield piece;
    await (paced ? Bun.sleep(10) : breath());
  }
}
