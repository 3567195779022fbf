/**
 * OpenAI's responses: how their answers are read (platform.openai.com, API reference, "Responses" and "Streaming
 * events"). A stream ends with one event that holds the whole response, usage and ids included; until then nothing in
 * it speaks to the books.
 */
import { latin1 } from "../../platform/bytes.ts";
import { openaiBody } from "../../platform/dialects.ts";
import { eventPayload } from "./sse.ts";
import { usageOfChunk } from "./usage-tokens.ts";
import { ids, isObject, list, parseJson, record, type Sight, text, type Wire } from "./wire.ts";

const encoder = new TextEncoder();
const markers = ["response.completed", "response.incomplete", "response.failed", '"error"', "[DONE]"].map(
  (marker) => Buffer.from(marker),
);
const nothing: Sight = { usage: null, usageOnly: false, terminal: null };

const terminals: Readonly<Record<string, Sight["terminal"]>> = {
  "response.completed": "done",
  "response.incomplete": "done",
  "response.failed": "error",
  error: "error",
};

/** Its name stands first, as the event's own or as the first member of what it says. */
const lastType = /^(?:event: ?|data: ?\{\s*"type"\s*:\s*")(response\.(?:completed|incomplete|failed))\b/;

export const responsesWire: Wire = {
  markers,
  look(event) {
    const payload = eventPayload(event);
    if (payload === null) return nothing;
    // OpenAI sends none; some who imitate it end every stream with it.
    if (payload.trim() === "[DONE]") return { ...nothing, terminal: "done" };
    const said = record(parseJson(payload));
    const type = text(said.type);
    const terminal = Object.hasOwn(terminals, type) ? (terminals[type] ?? null) : null;
    if (terminal === null)
      return isObject(said.error) && type === "" ? { ...nothing, terminal: "error" } : nothing;
    const response = record(said.response);
    const kept = keptIds(response);
    return {
      usage: usageOfChunk(response),
      usageOnly: false,
      final: true,
      terminal,
      ...(kept.length > 0 ? { kept } : {}),
    };
  },
  terminalOf(head) {
    const type = lastType.exec(latin1(head, 0, Math.min(head.length, 256)))?.[1] ?? "";
    return terminals[type] ?? null;
  },
  textOf(event) {
    const said = record(parseJson(eventPayload(event) ?? ""));
    const type = text(said.type);
    if (type === "response.output_item.added") return text(record(said.item).name);
    // Audio comes as base64; its words have a transcript of their own.
    return type.endsWith(".delta") && type !== "response.audio.delta" ? text(said.delta) : "";
  },
  usageOfBody: (body) => usageOfChunk(record(body)),
  textOfBody: (body) => list(record(body).output).map(itemText).join(""),
  keptOfBody: (body) => keptIds(record(body)),
  textOfRequest(body) {
    const { instructions, input, tools } = record(body);
    const asked = typeof input === "string" ? [input] : list(input).map(itemText);
    return [...list(tools).map((tool) => JSON.stringify(tool)), text(instructions), ...asked].join("\n");
  },
  errorEvent(failure) {
    const { error } = openaiBody(failure);
    const { code, message, param } = record(error);
    const data = { type: "error", code, message, param: param ?? null, sequence_number: 0 };
    return encoder.encode(`event: error\ndata: ${JSON.stringify(data)}\n\n`);
  },
};

/** Of an item that came out or goes in, everything that is text. */
function itemText(item: unknown): string {
  const said = record(item);
  const parts = [said.content, said.summary, said.output].map((part) =>
    typeof part === "string" ? part : list(part).map(partText).join(""),
  );
  return `${text(said.name)}${text(said.arguments)}${text(said.input)}${text(said.code)}${parts.join("")}`;
}

function partText(part: unknown): string {
  const said = record(part);
  return `${text(said.text)}${text(said.refusal)}${text(said.transcript)}`;
}

/**
 * The response's own id first, then containers, then the items: a later call sends reasoning and images back by their ids
 * alone, and the provider fetches them.
 */
function keptIds(response: Record<string, unknown>): string[] {
  const items = list(response.output).map(record);
  const containers = items.map((item) => item.container_id);
  const own = items.filter((item) => item.type !== "message" && item.type !== "function_call");
  return ids([response.id, ...containers, ...own.map((item) => item.id), ...items.map((item) => item.id)]);
}
