/**
 * What the scripted provider says in Anthropic's dialect: messages from `message_start` to `message_stop`, with a ping
 * among them, and counted tokens.
 */
import {
  type Asked,
  document,
  eventStream,
  json,
  paced,
  piecesOf,
  type Reply,
  type Script,
  type Tally,
  type Told,
  tallyOf,
} from "./provider-script.ts";

/** `POST /v1/messages`. Its `input_tokens` leave out what was read from the cache or written to it. */
export function message(options: Reply = {}): (asked: Asked) => Script {
  return (asked) => {
    const pieces = piecesOf(options);
    const tally = tallyOf(options, pieces.length);
    const final = {
      id: "msg_scripted",
      type: "message",
      role: "assistant",
      model: asked.model,
      content: [options.tool ? toolUse(options.tool, options.tool.input) : textBlock(pieces.join(""))],
      stop_reason: options.tool ? "tool_use" : "end_turn",
      stop_sequence: null,
      ...(options.usage === null ? {} : { usage: usageOf(tally, tally.output) }),
    };
    return asked.stream ? streamed(options, pieces, final, tally) : document(options, pieces.length, final);
  };
}

/** `POST /v1/messages/count_tokens`. */
export function countTokens(options: Reply = {}): (asked: Asked) => Script {
  const counted = json({ input_tokens: tallyOf(options, 0).input });
  const nothing = { input: 0, output: 0, cached_read: 0, cache_write: 0, reasoning: 0 };
  return () => ({ ...counted, tells: [{ piece: counted.steps[0] as string, tally: nothing }] });
}

/** As Anthropic refuses: `rate_limit_error`, `overloaded_error` and the like. */
export function anthropicRefusal(status: number, headers: Record<string, string> = {}): Script {
  const error = { type: errorTypes[status] ?? "api_error", message: `scripted ${status}` };
  return json({ type: "error", error, request_id: "req_scripted" }, status, {
    "request-id": "req_scripted",
    ...headers,
  });
}

const errorTypes: Record<number, string> = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  529: "overloaded_error",
};

type Final = { content: object[]; stop_reason: string; stop_sequence: null };

function streamed(options: Reply, pieces: string[], final: Final, tally: Tally): Script {
  const block = options.tool ? toolUse(options.tool, {}) : textBlock("");
  const isSilent = options.usage === null;
  const usage = isSilent ? {} : { usage: usageOf(tally, 1) };
  const begun = { ...final, content: [], stop_reason: null, ...usage };
  const list = [
    { type: "message_start", message: begun },
    { type: "content_block_start", index: 0, content_block: block },
    { type: "ping" },
    ...pieces.map((piece) => ({ type: "content_block_delta", index: 0, delta: deltaOf(options, piece) })),
    { type: "content_block_stop", index: 0 },
    {
      type: "message_delta",
      delta: { stop_reason: final.stop_reason, stop_sequence: null },
      ...(isSilent ? {} : { usage: { output_tokens: tally.output } }),
    },
    { type: "message_stop" },
  ];
  const written = list.map((body) => `event: ${body.type}\ndata: ${JSON.stringify(body)}\n\n`);
  const { output: _, ...known } = tally;
  const told: Told[] = [
    { piece: written[0] as string, tally: known },
    { piece: written.at(-2) as string, tally: { output: tally.output } },
  ];
  return { ...paced(options, written, isSilent ? [] : told), headers: eventStream };
}

const textBlock = (text: string) => ({ type: "text", text });
const toolUse = ({ name }: { name: string }, input: object) => ({
  type: "tool_use",
  id: "toolu_scripted",
  name,
  input,
});
const deltaOf = (options: Reply, piece: string) =>
  options.tool ? { type: "input_json_delta", partial_json: piece } : { type: "text_delta", text: piece };

const usageOf = ({ input, cached_read, cache_write }: Tally, output: number) => ({
  input_tokens: input - cached_read - cache_write,
  cache_creation_input_tokens: cache_write,
  cache_read_input_tokens: cached_read,
  output_tokens: output,
});
