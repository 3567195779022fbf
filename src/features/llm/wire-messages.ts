/**
 * Anthropic's messages: how their answers are read (platform.claude.com, "Messages", "Streaming messages", "Prompt
 * caching", "Compaction", "Count tokens").
 *
 * Its `input_tokens` are what neither came from the cache nor went into it; the books' `input` is the sum of the three.
 */
import type { Usage } from "../../db/ledger.ts";
import { anthropicError } from "../../platform/dialects.ts";
import { eventPayload } from "./sse.ts";
import {
  ids,
  isObject,
  list,
  noUsage,
  type Pass,
  type PricedApart,
  parseJson,
  type Report,
  record,
  type Sight,
  text,
  tokens,
  type Wire,
} from "./wire.ts";

const encoder = new TextEncoder();
const markers = ["message_start", "message_delta", "message_stop", '"error"', '"file_id"'].map((marker) =>
  Buffer.from(marker),
);
const nothing: Sight = { usage: null, usageOnly: false, terminal: null };

export const messagesWire: Wire = {
  markers,
  look(event) {
    const said = record(parseJson(eventPayload(event) ?? ""));
    const look = Object.hasOwn(looks, text(said.type)) ? looks[text(said.type)] : undefined;
    return look?.(said) ?? (isObject(said.error) ? { ...nothing, terminal: "error" } : nothing);
  },
  textOf(event) {
    const said = record(parseJson(eventPayload(event) ?? ""));
    if (said.type === "content_block_start") return blockText(said.content_block);
    const delta = record(said.delta);
    return said.type === "content_block_delta"
      ? `${text(delta.text)}${text(delta.thinking)}${text(delta.partial_json)}${text(delta.content)}`
      : "";
  },
  usageOfBody: (body) => (isObject(record(body).usage) ? usageOf(record(record(body).usage)) : null),
  textOfBody: (body) => list(record(body).content).map(blockText).join(""),
  keptOfBody: (body) => keptIds(record(body).container, list(record(body).content)),
  textOfRequest(body) {
    const { system, messages, tools } = record(body);
    const said = list(messages).map((message) => contentText(record(message).content));
    return [...list(tools).map((tool) => JSON.stringify(tool)), contentText(system), ...said].join("\n");
  },
  errorEvent: (failure) =>
    encoder.encode(`event: error\ndata: ${JSON.stringify(anthropicError(failure))}\n\n`),
};

/** Counting tokens is free, so its row counts none. */
export const countTokensWire: Wire = {
  ...messagesWire,
  usageOfBody: () => ({ ...noUsage, input: 0, output: 0 }),
  textOf: () => "",
  textOfBody: () => "",
  keptOfBody: () => [],
  textOfRequest: () => "",
};

const looks: Readonly<Record<string, (said: Record<string, unknown>) => Sight>> = {
  message_start({ message }) {
    const usage = usageOf(record(record(message).usage));
    // A place-holder of one or two tokens; what was written in the end comes with `message_delta`.
    return seen({
      usage: usage && { ...usage, output: null, reasoning: null },
      kept: [record(message).container, []],
    });
  },
  message_delta({ delta, usage }) {
    const { stop_reason, container } = record(delta);
    const final = typeof stop_reason === "string";
    return seen({ usage: usageOf(record(usage)), final, kept: [container, []] });
  },
  content_block_start: ({ content_block }) => seen({ kept: [null, [content_block]] }),
  message_stop: () => ({ ...nothing, terminal: "done" }),
  error: () => ({ ...nothing, terminal: "error" }),
};

function seen(sight: {
  usage?: Report | null;
  final?: boolean;
  kept: [container: unknown, blocks: unknown[]];
}): Sight {
  const kept = keptIds(...sight.kept);
  const { usage = null, final = false } = sight;
  return { ...nothing, usage, final, ...(kept.length > 0 ? { kept } : {}) };
}

/**
 * Each pass is billed for itself, advice at the adviser's price. Compactions and advice stand in no total, and of the
 * input of several passes of the model's own only the first one's may (platform.claude.com, "Compaction", "Advisor tool").
 */
function usageOf(usage: Record<string, unknown>): Report | null {
  const whole = plainUsage(usage);
  if (whole === null) return null;
  const passes = list(usage.iterations).map(record).flatMap(passOf);
  const sum = (of: typeof passes) => of.map((pass) => pass.usage).reduce(joined(plus), noUsage);
  const own = passes.filter(({ isBeside }) => !isBeside);
  const beside = passes.filter(({ isBeside }) => isBeside);
  const all = joined(plus)(joined(Math.max)(whole, sum(own)), sum(beside));
  return {
    ...all,
    ...(passes.length > 0 ? { passes } : {}),
    pricedApart: pricedApart(usage),
  };
}

/** A region that was asked for by nobody is the workspace's own setting, and its operator's to price. */
const pricedApart = ({ speed, inference_geo }: Record<string, unknown>): PricedApart => ({
  ...(typeof speed === "string" ? { speed: speed === "fast" } : {}),
  ...(inference_geo === "global" ? { inference_geo: false } : {}),
});

function passOf(said: Record<string, unknown>): (Pass & { isBeside: boolean })[] {
  const usage = plainUsage(said);
  if (usage === null) return [];
  if (said.type === "message") return [{ usage, model: null, isBeside: false }];
  if (said.type === "compaction") return [{ usage, model: null, isBeside: true }];
  return said.type === "advisor_message" ? [{ usage, model: text(said.model), isBeside: true }] : [];
}

function plainUsage(usage: Record<string, unknown>): Usage | null {
  const plain = tokens(usage.input_tokens);
  const output = tokens(usage.output_tokens);
  const cached_read = tokens(usage.cache_read_input_tokens);
  const cache_write = tokens(usage.cache_creation_input_tokens);
  if (plain === null && output === null) return null;
  const long = tokens(record(usage.cache_creation).ephemeral_1h_input_tokens);
  return {
    ...noUsage,
    input: plain === null ? null : plain + (cached_read ?? 0) + (cache_write ?? 0),
    output,
    cached_read,
    cache_write,
    reasoning: tokens(record(usage.output_tokens_details).thinking_tokens),
    ...(long ? { cache_write_long: long } : {}),
  };
}

const plus = (one: number, other: number): number => one + other;

/** Of two counts one; what only one of them says holds. */
const joined =
  (join: (one: number, other: number) => number) =>
  (one: Usage, other: Usage): Usage => {
    const field = (name: keyof Usage): number | null => {
      const [first, second] = [one[name] ?? null, other[name] ?? null];
      return first === null || second === null ? (first ?? second) : join(first, second);
    };
    const long = field("cache_write_long");
    return {
      ...one,
      input: field("input"),
      output: field("output"),
      cached_read: field("cached_read"),
      cache_write: field("cache_write"),
      ...(long ? { cache_write_long: long } : {}),
    };
  };

/** Everything a model wrote that a provider bills: text, thoughts, tool calls. */
function blockText(block: unknown): string {
  const said = record(block);
  const input =
    isObject(said.input) && Object.keys(record(said.input)).length > 0 ? JSON.stringify(said.input) : "";
  return `${text(said.text)}${text(said.thinking)}${text(said.name)}${input}`;
}

function contentText(content: unknown): string {
  if (typeof content === "string") return content;
  return list(content)
    .map((block) => blockText(block) || contentText(record(block).content))
    .join("\n");
}

/** The container that ran the answer's code, and the files it left there. */
function keptIds(container: unknown, blocks: readonly unknown[]): string[] {
  const files = blocks.flatMap((block) => {
    const { content } = record(record(block).content);
    return list(content).map((output) => record(output).file_id);
  });
  return ids([record(container).id, ...files]);
}
