/**
 * What the scripted provider says: steps that put bytes, pauses and accidents on the wire, and replies in OpenAI's shape
 * made of such steps.
 *
 * A script is plain and complete: whatever it does not state does not happen, so a test reads as the provider's side of
 * the story.
 */

export type Step =
  /** Body bytes, sent as one piece (one chunk of the chunked coding). */
  | string
  | Uint8Array
  /** Milliseconds. */
  | { pause: number }
  /** Nothing more before this has happened, or the client has left. */
  | { until: Promise<unknown> }
  /** Nothing more; the connection stays open until the client leaves. */
  | "stall"
  /** The connection ends here, politely (`fin`) or not (`reset`); `within`: in the middle of a chunk that promises more. */
  | { cut: "fin" | "reset"; within?: string | Uint8Array }
  /** Bytes below HTTP: no chunk framing around them. */
  | { raw: string | Uint8Array }
  /** The same piece again and again, as fast as the client reads. */
  | { repeat: string | Uint8Array; times: number };

export type Script = {
  /** 200 when absent. */
  status?: number;
  headers?: Record<string, string>;
  /** Silence before the status line; `Infinity` never answers. */
  headersAfterMs?: number;
  /** Not even a status line is sent: the steps begin where it would. */
  headless?: boolean;
  /** `length` sends Content-Length; `close` ends the body by ending the connection. `chunked` when absent. */
  framing?: "chunked" | "length" | "close";
  steps: Step[];
  /** Every piece of the body is sent in pieces of this many bytes. */
  pieceBytes?: number;
  /** What the books may say was reported once that very piece has gone out. */
  tells?: Told[];
};

/** Tokens, in the books' own words: `cached_read` and `cache_write` are parts of `input`, `reasoning` one of `output`. */
export type Tally = {
  input: number;
  output: number;
  cached_read: number;
  cache_write: number;
  reasoning: number;
};
export type Told = { piece: string; tally: Partial<Tally> };

/** What a request asked for, as far as a reply depends on it. */
export type Asked = {
  model: string;
  stream: boolean;
  includeUsage: boolean;
  path: string;
  /** See `Received.key`. */
  key: string | null;
  json: unknown;
};
export type Scripted = Script | ((asked: Asked) => Script);

export type Reply = {
  /** The whole answer; sent word by word in a stream. */
  content?: string;
  /** Instead of `content`: this many words. */
  words?: number;
  /** The answer is a call of this tool instead. */
  tool?: { name: string; input: object };
  /** What it used, put into the endpoint's own words; 11 tokens in and one out for each word when absent. */
  tally?: Partial<Tally>;
  /** Chat's usage object word for word, or whatever a provider may put there. Null: never reported, on any endpoint. */
  usage?: unknown;
  /**
   * Where a stream carries it: in a chunk of its own with `choices: []`, only when asked for (`own`, OpenAI); on the
   * finish chunk (`finish`, Mistral); growing on every chunk (`every`); in `x_groq` on the finish chunk (`x_groq`).
   */
  usageOn?: "own" | "finish" | "every" | "x_groq";
  /** Milliseconds before the first chunk, and between chunks. */
  firstMs?: number;
  gapMs?: number;
  /** False: the stream just ends, without `[DONE]`. */
  done?: boolean;
};

/** Answers a chat completion the way OpenAI does, streamed or whole as the request asks. */
export function reply(options: Reply = {}): (asked: Asked) => Script {
  return (asked) => (asked.stream ? streamed(options, asked) : whole(options, asked));
}

/** A stream of these events; strings are sent as they are, objects as `data: <json>`. */
export function events(list: (string | object)[], options: { gapMs?: number; done?: boolean } = {}): Script {
  const steps: Step[] = [];
  for (const item of list) {
    if (options.gapMs && steps.length > 0) steps.push({ pause: options.gapMs });
    steps.push(typeof item === "string" ? item : event(item));
  }
  if (options.done !== false) steps.push("data: [DONE]\n\n");
  return { headers: eventStream, steps };
}

/** One JSON answer with its Content-Length. */
export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Script {
  return {
    status,
    headers: { "content-type": "application/json", ...headers },
    framing: "length",
    steps: [JSON.stringify(body)],
  };
}

/** A refusal in OpenAI's error shape. */
export function refusal(status: number, headers: Record<string, string> = {}): Script {
  const error = {
    message: `scripted ${status}`,
    type: "scripted",
    param: null,
    code: `scripted_${status}`,
  };
  return json({ error }, status, headers);
}

export const event = (value: object): string => `data: ${JSON.stringify(value)}\n\n`;

export const eventStream = {
  "content-type": "text/event-stream; charset=utf-8",
};

/** The bytes that a script puts into the body, up to where it stalls or cuts. */
export function bodyOf(script: Script): Uint8Array {
  const pieces: Uint8Array[] = [];
  for (const step of script.steps) {
    if (step === "stall") break;
    if (typeof step === "string" || step instanceof Uint8Array) pieces.push(bytesOf(step));
    else if ("cut" in step) {
      if (step.within !== undefined) pieces.push(bytesOf(step.within));
      break;
    }
  }
  return Buffer.concat(pieces);
}

/** The same body with its line ends written as CRLF. */
export function crlf(script: Script): Script {
  const text = new TextDecoder().decode(bodyOf(script)).replaceAll("\n", "\r\n");
  return { ...script, steps: text.split(/(?<=\r\n\r\n)/) };
}

/** The same body in two pieces, torn at `offset` bytes, with a breath between them. */
export function tornAt(script: Script, offset: number): Script {
  const body = bodyOf(script);
  return {
    ...script,
    steps: [body.slice(0, offset), { pause: 2 }, body.slice(offset)],
  };
}

export const bytesOf = (piece: string | Uint8Array): Uint8Array =>
  typeof piece === "string" ? new TextEncoder().encode(piece) : piece;

export const created = 1_700_000_000;

function streamed(options: Reply, asked: Asked): Script {
  const pieces = piecesOf(options);
  const usage = usageOf(options, pieces.length);
  const on = options.usageOn ?? "own";
  const chunk = (choices: object[], more: object = {}): string =>
    event({
      id: "chatcmpl-scripted",
      object: "chat.completion.chunk",
      created,
      model: asked.model,
      choices,
      ...more,
    });
  const choice = (delta: object, finish: string | null = null) => [
    { index: 0, delta, finish_reason: finish },
  ];
  const asOpenai = on === "own" && asked.includeUsage ? { usage: null } : {};

  const chunks = [chunk(choice({ role: "assistant", content: options.tool ? null : "" }), asOpenai)];
  if (options.tool) chunks.push(chunk(choice({ tool_calls: [{ index: 0, ...toolCall(options.tool, "") }] })));
  for (const [index, piece] of pieces.entries()) {
    const soFar = on === "every" ? { usage: growing(usage, index + 1) } : asOpenai;
    const said = options.tool
      ? { tool_calls: [{ index: 0, function: { arguments: piece } }] }
      : { content: piece };
    chunks.push(chunk(choice(said), soFar));
  }
  const last = {
    own: asOpenai,
    finish: { usage },
    every: { usage },
    x_groq: { x_groq: { usage } },
  }[on];
  chunks.push(chunk(choice({}, options.tool ? "tool_calls" : "stop"), usage === null ? {} : last));
  if (on === "own" && asked.includeUsage && usage !== null) chunks.push(chunk([], { usage }));

  const isTold = on !== "own" || asked.includeUsage;
  const script = paced(options, chunks, isTold ? tells(options, chunks.at(-1), pieces.length) : []);
  return options.done === false ? script : { ...script, steps: [...script.steps, "data: [DONE]\n\n"] };
}

function whole(options: Reply, asked: Asked): Script {
  const pieces = piecesOf(options);
  const usage = usageOf(options, pieces.length);
  const content = options.tool ? null : pieces.join("");
  const message = {
    role: "assistant",
    content,
    refusal: null,
    ...(options.tool ? { tool_calls: [toolCall(options.tool, pieces.join(""))] } : {}),
  };
  return document(options, pieces.length, {
    id: "chatcmpl-scripted",
    object: "chat.completion",
    created,
    model: asked.model,
    choices: [{ index: 0, message, logprobs: null, finish_reason: options.tool ? "tool_calls" : "stop" }],
    ...(usage === null ? {} : { usage }),
  });
}

const toolCall = ({ name }: { name: string }, args: string) => ({
  id: "call_scripted",
  type: "function",
  function: { name, arguments: args },
});

/** A stream of these pieces with the reply's pauses, ending as HTTP ends it. */
export function paced(options: Reply, pieces: string[], told: Told[]): Script {
  const script = events(pieces, {
    done: false,
    ...(options.gapMs === undefined ? {} : { gapMs: options.gapMs }),
  });
  const steps = options.firstMs ? [{ pause: options.firstMs }, ...script.steps] : script.steps;
  return { ...script, steps, tells: told };
}

/** One JSON document that reports its usage, after the reply's pause. */
export function document(options: Reply, words: number, body: object): Script {
  const script = json(body);
  const told = tells(options, script.steps[0] as string, words);
  return { ...script, tells: told, ...(options.firstMs ? { headersAfterMs: options.firstMs } : {}) };
}

/** The answer's words; of a tool's call, its arguments in a few pieces. */
export function piecesOf(options: Reply): string[] {
  if (options.tool) return JSON.stringify(options.tool.input).match(/.{1,7}/gu) ?? [];
  if (options.content !== undefined) return options.content.match(/\S*\s*/g)?.filter(Boolean) ?? [];
  return Array.from({ length: options.words ?? 8 }, (_, index) => `word${index + 1} `);
}

export const tallyOf = (options: Reply, words: number): Tally => ({
  input: 11,
  output: words,
  cached_read: 0,
  cache_write: 0,
  reasoning: 0,
  ...options.tally,
});

/** What the books may say of a usage that is the provider's own and not a test's invention. */
export const tells = (options: Reply, piece: string | undefined, words: number): Told[] =>
  options.usage === undefined && piece !== undefined ? [{ piece, tally: tallyOf(options, words) }] : [];

function usageOf(options: Reply, words: number): unknown {
  if (options.usage !== undefined) return options.usage;
  const { input, output, cached_read, reasoning } = tallyOf(options, words);
  return {
    prompt_tokens: input,
    completion_tokens: output,
    total_tokens: input + output,
    prompt_tokens_details: { cached_tokens: cached_read, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: reasoning, audio_tokens: 0 },
  };
}

function growing(usage: unknown, words: number): unknown {
  return typeof usage === "object" && usage !== null ? { ...usage, completion_tokens: words } : usage;
}
