/**
 * The body of a call, read no further than the gateway must: the model, whether it streams, whether usage was asked for,
 * how much it may come to. All other bytes are the caller's and reach the provider as they came.
 */
import { copyRange } from "../../platform/bytes.ts";
import type { LlmEndpoint } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { type Member, parseMember, scanMember, scanObject } from "../../platform/json.ts";

export type LlmRequest = {
  readonly endpoint: LlmEndpoint;
  readonly bytes: Uint8Array;
  readonly model: string;
  readonly stream: boolean;
  /** True when the caller asked for the usage chunk itself, and so gets to see it. */
  readonly asksUsage: boolean;
  /** No more input tokens than these can come of the body, as far as the body tells. */
  readonly inputTokensMax: number;
  /** The caller's own limit of output tokens for each answer; null when there is none. */
  readonly outputTokensMax: number | null;
  /** How many answers are asked for: `n`, or `best_of`. */
  readonly answers: number;
  /** True when the caller asks for reasoning that the answer need not show. */
  readonly asksReasoning: boolean;
  /** Ids of what a provider keeps, such as an earlier response, that the call refers to and that may have been recorded. */
  readonly keptIds: readonly string[];
  readonly modelAt: Member;
  /** `stream_options`, when the body has it, and its `include_usage`. */
  readonly optionsAt: Member | null;
  readonly includeUsageAt: Member | null;
};

/** Throws `invalid_request`, `invalid_json` or `duplicate_key`, saying what would be right. */
export function parseRequest(endpoint: LlmEndpoint, bytes: Uint8Array): LlmRequest {
  const members = scanObject(bytes);
  const find = (key: string) => members.find((member) => member.key === key) ?? null;
  const modelAt = find("model");
  const model = modelAt?.kind === "string" ? String(parseMember(bytes, modelAt)) : "";
  if (modelAt === null || model === "")
    throw invalid("model", "`model` must be the name of a model, as a string.");
  const streamAt = find("stream");
  if (streamAt && streamAt.kind !== "boolean" && streamAt.kind !== "null") {
    throw invalid("stream", "`stream` must be true or false.");
  }
  const optionsAt = find("stream_options");
  if (optionsAt && optionsAt.kind !== "object" && optionsAt.kind !== "null") {
    throw invalid("stream_options", "`stream_options` must be an object.");
  }
  const options = optionsAt?.kind === "object" ? scanMember(bytes, optionsAt) : [];
  const includeUsageAt = options.find((member) => member.key === "include_usage") ?? null;
  return {
    endpoint,
    bytes,
    inputTokensMax: bytes.length,
    outputTokensMax: null,
    answers: 1,
    asksReasoning: false,
    keptIds: [],
    model,
    stream: isTrue(bytes, streamAt),
    asksUsage: isTrue(bytes, includeUsageAt),
    modelAt,
    optionsAt,
    includeUsageAt,
  };
}

const isTrue = (bytes: Uint8Array, member: Member | null): boolean =>
  member?.kind === "boolean" && bytes[member.start] === 0x74;

/** The body for the provider: its own model name, and `include_usage` where the gateway needs it; else byte for byte. */
export function providerBody(request: LlmRequest, model: string, setUsage: boolean): Uint8Array<ArrayBuffer> {
  const edits: Edit[] = [];
  const { modelAt } = request;
  if (model !== request.model)
    edits.push({ start: modelAt.start, end: modelAt.end, text: JSON.stringify(model) });
  if (setUsage) edits.push(usageEdit(request));
  return apply(request.bytes, edits);
}

type Edit = { start: number; end: number; text: string };

function usageEdit({ bytes, optionsAt, includeUsageAt }: LlmRequest): Edit {
  if (includeUsageAt) return { start: includeUsageAt.start, end: includeUsageAt.end, text: "true" };
  if (optionsAt?.kind === "null") {
    return { start: optionsAt.start, end: optionsAt.end, text: '{"include_usage":true}' };
  }
  if (optionsAt) {
    const isEmpty = /^\{\s*\}$/.test(Buffer.from(bytes.subarray(optionsAt.start, optionsAt.end)).toString());
    return {
      start: optionsAt.start + 1,
      end: optionsAt.start + 1,
      text: `"include_usage":true${isEmpty ? "" : ","}`,
    };
  }
  // `model` is there, so the object is not empty and a comma is right.
  const closing = bytes.lastIndexOf(0x7d);
  return { start: closing, end: closing, text: ',"stream_options":{"include_usage":true}' };
}

function apply(bytes: Uint8Array, edits: Edit[]): Uint8Array<ArrayBuffer> {
  const texts = edits
    .sort((a, b) => a.start - b.start)
    .map((edit) => ({ ...edit, bytes: Buffer.from(edit.text) }));
  const grown = texts.reduce((sum, edit) => sum + edit.bytes.length - (edit.end - edit.start), 0);
  const edited = new Uint8Array(bytes.length + grown);
  let from = 0;
  let to = 0;
  for (const edit of texts) {
    to = copyRange(bytes, from, edit.start, edited, to);
    to = copyRange(edit.bytes, 0, edit.bytes.length, edited, to);
    from = edit.end;
  }
  copyRange(bytes, from, bytes.length, edited, to);
  return edited;
}

const invalid = (path: string, message: string): Failure =>
  new Failure("invalid", "invalid_request", message, { errors: [{ path, code: "invalid", message }] });
