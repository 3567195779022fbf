/**
 * Chat completions and the older text completions: how their answers are read (platform.openai.com, API reference,
 * "Chat", "Streaming" and "Completions"). The two differ in where a choice keeps its text and in what a request asks.
 */
import { latin1 } from "../../platform/bytes.ts";
import { openaiBody } from "../../platform/dialects.ts";
import { eventPayload } from "./sse.ts";
import { usageOfChunk } from "./usage-tokens.ts";
import {
  ids,
  isObject,
  list,
  parseJson,
  record,
  type Sight,
  text,
  textOfTokenIds,
  type Wire,
} from "./wire.ts";

const encoder = new TextEncoder();
/** `"audio_` begins the id of an answer's audio, which a later call may name. */
const markers = ['"usage"', "[DONE]", '"error"', '"audio_'].map((marker) => Buffer.from(marker));
/** With usage asked for, OpenAI says `"usage":null` in every chunk but the last; those are not worth parsing. */
const speaks = /\[DONE\]|"audio_|"(?:usage|error)"\s*:\s*[^n\s]/;
const nothing: Sight = { usage: null, usageOnly: false, terminal: null };
const done: Sight = { ...nothing, terminal: "done" };

const shared: Pick<Wire, "markers" | "look" | "usageOfBody" | "errorEvent"> = {
  markers,
  look(event) {
    if (!speaks.test(latin1(event, 0, event.length))) return nothing;
    const payload = eventPayload(event);
    if (payload === null) return nothing;
    if (payload.trim() === "[DONE]") return done;
    const chunk = record(parseJson(payload));
    const terminal = chunk.error ? "error" : null;
    const usageOnly = Array.isArray(chunk.choices) && chunk.choices.length === 0 && isObject(chunk.usage);
    const kept = audioIds(chunk.choices, "delta");
    return { usage: usageOfChunk(chunk), usageOnly, terminal, ...(kept.length > 0 ? { kept } : {}) };
  },
  usageOfBody: (body) => usageOfChunk(record(body)),
  errorEvent: (failure) => encoder.encode(`data: ${JSON.stringify(openaiBody(failure))}\n\n`),
};

const choicesOf = (event: Uint8Array): unknown[] =>
  list(record(parseJson(eventPayload(event) ?? "")).choices);

export const chatWire: Wire = {
  ...shared,
  textOf: (event) =>
    choicesOf(event)
      .map((choice) => writtenText(record(record(choice).delta)))
      .join(""),
  textOfBody: (body) =>
    list(record(body).choices)
      .map((choice) => writtenText(record(record(choice).message)))
      .join(""),
  keptOfBody: (body) => audioIds(record(body).choices, "message"),
  textOfRequest(body) {
    const { messages, tools } = record(body);
    return [...list(tools).map((tool) => JSON.stringify(tool)), ...list(messages).map(askedText)].join("\n");
  },
};

export const completionsWire: Wire = {
  ...shared,
  textOf: (event) =>
    choicesOf(event)
      .map((choice) => text(record(choice).text))
      .join(""),
  textOfBody: (body) =>
    list(record(body).choices)
      .map((choice) => text(record(choice).text))
      .join(""),
  keptOfBody: () => [],
  textOfRequest: (body) => promptText(record(body).prompt),
};

/** A text, several, or the tokens of either as numbers. */
export function promptText(prompt: unknown): string {
  if (typeof prompt === "string") return prompt;
  const parts = list(prompt);
  if (parts.every((part) => typeof part === "number")) return textOfTokenIds(parts.length);
  return parts.map(promptText).join("\n");
}

/** Everything a model wrote that a provider bills: text, reasoning, refusals, tool calls, what its audio says. */
function writtenText(message: Record<string, unknown>): string {
  const thought = text(message.reasoning_content) || text(message.reasoning);
  const spoken = text(record(message.audio).transcript);
  return `${thought}${textOfParts(message.content)}${text(message.refusal)}${calledText(message)}${spoken}`;
}

/** A text, or a list of parts with texts in them; Mistral's thoughts are lists within lists. */
function textOfParts(content: unknown, depth = 0): string {
  if (typeof content === "string" || depth > 4) return text(content);
  return list(content)
    .map((part) => {
      if (typeof part === "string") return part;
      const { text: said, thinking, summary } = record(part);
      return [said, thinking, summary].map((inner) => textOfParts(inner, depth + 1)).join("");
    })
    .join("");
}

const calledText = (message: Record<string, unknown>): string =>
  [
    ...list(message.tool_calls).flatMap((call) => [record(call).function, record(call).custom]),
    message.function_call,
  ]
    .map(record)
    .map((called) => text(called.name) + text(called.arguments) + text(called.input))
    .join("");

function askedText(message: unknown): string {
  const said = record(message);
  const parts = list(said.content).map((part) => text(record(part).text));
  return `${typeof said.content === "string" ? said.content : parts.join("\n")}${calledText(said)}`;
}

const audioIds = (choices: unknown, place: "delta" | "message"): string[] =>
  ids(list(choices).map((choice) => record(record(record(choice)[place]).audio).id));
