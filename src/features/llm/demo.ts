/**
 * `demo/echo`: what answers while no provider is configured, so that a first call works on a fresh install.
 *
 * It streams the prompt back word by word and says that it is a demo. It is an ordinary provider to everything else:
 * its answers go through the same relay and the same books.
 */
import { Failure } from "../../platform/failure.ts";
import { chatWire } from "./wire-chat.ts";

export const demoProvider = "demo";
export const demoModel = "echo";

const encoder = new TextEncoder();

/** Answers a chat completion as OpenAI's API would. `body` is the caller's, already scanned. */
export function dispatchDemo(call: {
  body: Uint8Array;
  signal: AbortSignal;
  id: string;
  nowMs: number;
}): Response {
  const request = parse(call.body);
  const prompt = chatWire.textOfRequest(request).split("\n").at(-1) ?? "";
  const words = `This is SpecGate's demo model, echoing: ${prompt}`.match(/\s*\S+/g) ?? [];
  const input = countWords(chatWire.textOfRequest(request));
  const usage = { prompt_tokens: input, completion_tokens: words.length, total_tokens: input + words.length };
  const shape = { id: `chatcmpl-${call.id}`, created: Math.floor(call.nowMs / 1000), model: "demo/echo" };
  if (request.stream !== true) return Response.json(wholeAnswer(shape, words.join(""), usage));
  return streamedAnswer(
    shape,
    words,
    request.stream_options?.include_usage === true ? usage : null,
    call.signal,
  );
}

function parse(body: Uint8Array): { stream?: boolean; stream_options?: { include_usage?: boolean } } {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch (cause) {
    throw new Failure("invalid", "invalid_json", "The body is not valid JSON.", { cause });
  }
}

const countWords = (text: string): number => text.match(/\S+/g)?.length ?? 0;

type Shape = { id: string; created: number; model: string };

function wholeAnswer(shape: Shape, content: string, usage: object): object {
  const choice = { index: 0, message: { role: "assistant", content }, finish_reason: "stop" };
  return { ...shape, object: "chat.completion", choices: [choice], usage };
}

function streamedAnswer(shape: Shape, words: string[], usage: object | null, signal: AbortSignal): Response {
  const choice = (delta: object, finish: string | null) => [{ index: 0, delta, finish_reason: finish }];
  const event = (choices: object[], more: object = {}) =>
    encoder.encode(
      `data: ${JSON.stringify({ ...shape, object: "chat.completion.chunk", choices, ...more })}\n\n`,
    );
  const events = [
    event(choice({ role: "assistant", content: "" }, null)),
    ...words.map((word) => event(choice({ content: word }, null))),
    event(choice({}, "stop")),
    ...(usage === null ? [] : [event([], { usage })]),
    encoder.encode("data: [DONE]\n\n"),
  ];
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = events.shift();
      if (next === undefined || signal.aborted) return controller.close();
      controller.enqueue(next);
      // Slow enough to be seen as a stream, quick enough not to be waited for.
      await Bun.sleep(5);
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
}
