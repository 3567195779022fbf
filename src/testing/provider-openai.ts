/**
 * What the scripted provider says on OpenAI's other endpoints: legacy completions, responses with their typed events, and
 * embeddings.
 */
import {
  type Asked,
  created,
  document,
  eventStream,
  paced,
  piecesOf,
  type Reply,
  type Script,
  tallyOf,
  tells,
} from "./provider-script.ts";

/** `POST /completions`, as OpenAI's older models and local servers answer it. */
export function completion(asReply: Reply = {}): (asked: Asked) => Script {
  return (asked) => {
    const options = withoutParts(asReply);
    const pieces = piecesOf(options);
    const { input, output } = tallyOf(options, pieces.length);
    const usage = { prompt_tokens: input, completion_tokens: output, total_tokens: input + output };
    const named = { id: "cmpl-scripted", object: "text_completion", created, model: asked.model };
    const choice = (text: string, finish: string | null) => [
      { text, index: 0, logprobs: null, finish_reason: finish },
    ];
    if (!asked.stream)
      return document(options, pieces.length, {
        ...named,
        choices: choice(pieces.join(""), "stop"),
        ...(options.usage === null ? {} : { usage }),
      });
    const chunk = (body: object): string => `data: ${JSON.stringify({ ...named, ...body })}\n\n`;
    const chunks = pieces.map((piece) => chunk({ choices: choice(piece, null) }));
    chunks.push(chunk({ choices: choice("", "stop") }));
    const isTold = asked.includeUsage && options.usage !== null;
    if (isTold) chunks.push(chunk({ choices: [], usage }));
    const script = paced(options, chunks, isTold ? tells(options, chunks.at(-1), pieces.length) : []);
    return { ...script, steps: [...script.steps, "data: [DONE]\n\n"] };
  };
}

/** `POST /responses`: typed events with sequence numbers from `response.created` to `response.completed`. */
export function response(options: Reply = {}): (asked: Asked) => Script {
  return (asked) => {
    const pieces = piecesOf(options);
    const final = responseBody(options, asked, pieces);
    if (!asked.stream) return document(options, pieces.length, final);
    const list = [
      ...opening(options, final),
      ...pieces.map((delta) => ({
        type: options.tool ? "response.function_call_arguments.delta" : "response.output_text.delta",
        ...place(options),
        ...(options.tool ? {} : { logprobs: [] }),
        delta,
      })),
      ...closing(options, final, pieces.join("")),
    ];
    const written = list.map(
      (body, sequence_number) =>
        `event: ${body.type}\ndata: ${JSON.stringify({ ...body, sequence_number })}\n\n`,
    );
    const told = options.usage === null ? [] : tells(options, written.at(-1), pieces.length);
    return { ...paced(options, written, told), headers: eventStream };
  };
}

/** `POST /embeddings`: as many vectors as there are inputs, in the encoding that was asked for. */
export function embeddings(options: Reply = {}): (asked: Asked) => Script {
  return (asked) => {
    const { input, encoding_format } = (asked.json ?? {}) as { input?: unknown; encoding_format?: string };
    const vector = Float32Array.of(0.25, -0.5, 1);
    const embedding =
      encoding_format === "base64" ? Buffer.from(vector.buffer).toString("base64") : [...vector];
    const inputs = Array.isArray(input) ? input.length : 1;
    const silent = withoutParts({ ...options, tally: { ...options.tally, output: 0 } });
    const { input: tokens } = tallyOf(silent, 0);
    return document(silent, 0, {
      object: "list",
      data: Array.from({ length: inputs }, (_, index) => ({ object: "embedding", index, embedding })),
      model: asked.model,
      ...(options.usage === null ? {} : { usage: { prompt_tokens: tokens, total_tokens: tokens } }),
    });
  };
}

/** These endpoints say nothing of parts. */
const withoutParts = (options: Reply): Reply => ({
  ...options,
  tally: { ...options.tally, cached_read: 0, cache_write: 0, reasoning: 0 },
});

const itemId = "msg_scripted";
const place = (options: Reply) => ({
  item_id: itemId,
  output_index: 0,
  ...(options.tool ? {} : { content_index: 0 }),
});

type Final = ReturnType<typeof responseBody>;

function responseBody(options: Reply, asked: Asked, pieces: string[]) {
  const { input, output, cached_read, reasoning } = tallyOf(options, pieces.length);
  const usage = {
    input_tokens: input,
    input_tokens_details: { cached_tokens: cached_read },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: reasoning },
    total_tokens: input + output,
  };
  return {
    id: "resp_scripted",
    object: "response",
    created_at: created,
    status: "completed",
    error: null,
    incomplete_details: null,
    instructions: null,
    max_output_tokens: null,
    model: asked.model,
    output: [outputItem(options, pieces.join(""), "completed")],
    parallel_tool_calls: true,
    temperature: 1,
    tool_choice: "auto",
    tools: [],
    top_p: 1,
    metadata: {},
    usage: options.usage === null ? null : usage,
  };
}

const textPart = (text: string) => ({ type: "output_text", text, annotations: [], logprobs: [] });

function outputItem(options: Reply, text: string, status: string) {
  if (options.tool)
    return {
      type: "function_call",
      id: itemId,
      call_id: "call_scripted",
      name: options.tool.name,
      arguments: text,
      status,
    };
  const content = status === "completed" ? [textPart(text)] : [];
  return { type: "message", id: itemId, role: "assistant", status, content };
}

function opening(options: Reply, final: Final): { type: string }[] {
  const begun = { ...final, status: "in_progress", output: [], usage: null };
  const list = [
    { type: "response.created", response: begun },
    { type: "response.in_progress", response: begun },
    {
      type: "response.output_item.added",
      output_index: 0,
      item: outputItem(options, "", "in_progress"),
    },
  ];
  if (options.tool) return list;
  return [
    ...list,
    { type: "response.content_part.added", ...place(options), part: textPart("") } as object as {
      type: string;
    },
  ];
}

function closing(options: Reply, final: Final, text: string): { type: string }[] {
  const at = place(options);
  const done = options.tool
    ? [{ type: "response.function_call_arguments.done", ...at, name: options.tool.name, arguments: text }]
    : [
        { type: "response.output_text.done", ...at, text, logprobs: [] },
        { type: "response.content_part.done", ...at, part: textPart(text) },
      ];
  return [
    ...done,
    {
      type: "response.output_item.done",
      ...{ output_index: 0, item: outputItem(options, text, "completed") },
    },
    { type: "response.completed", ...{ response: final } },
  ];
}
