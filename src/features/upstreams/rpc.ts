/**
 * JSON-RPC as it comes from a server that is not trusted: one message, read strictly, and nothing parsed that could hold
 * up the whole gateway.
 *
 * A message that is not what was asked for is refused, never mended: an answer to somebody else's question, two answers
 * in one, or a result that clients could take for something else.
 */
import { Failure } from "../../platform/failure.ts";
import { scanObject } from "../../platform/json.ts";
import type { UpstreamAnswer } from "../../platform/upstream.ts";
import { needsInput, nonsense } from "./upstream-failure.ts";

export type Members = Readonly<Record<string, unknown>>;

/** What one message is to us. */
export type Incoming =
  | { readonly kind: "answer"; readonly id: unknown; readonly answer: RpcAnswer }
  | { readonly kind: "request"; readonly id: string | number; readonly method: string }
  | { readonly kind: "notice"; readonly method: string };

export type RpcAnswer = (
  | { readonly result: Record<string, unknown> }
  | { readonly error: { readonly code: number; readonly message: string; readonly data: unknown } }
) & {
  /** Of the message that it came in. */
  readonly bytes: number;
};

const decoder = new TextDecoder("utf-8", { fatal: true });
/** Definitions of a thousand tools, or a table of numbers; more would block the loop. */
const bounds = { depthMax: 100, keysMax: 100_000, valuesMax: 250_000 };

/** Throws `upstream_failed` for anything but one JSON-RPC 2.0 message in UTF-8. */
export function readMessage(bytes: Uint8Array): Incoming {
  return incomingOf(parseObject(bytes), bytes.length);
}

function parseObject(bytes: Uint8Array): Members {
  try {
    scanObject(bytes, bounds);
    return JSON.parse(decoder.decode(bytes)) as Members;
  } catch (cause) {
    const isComplex = cause instanceof Failure && cause.code === "json_too_complex";
    // The cause may quote what came.
    throw nonsense(
      isComplex ? "answered with JSON that is nested or split too much" : "did not answer with JSON",
    );
  }
}

function incomingOf(message: Members, bytes: number): Incoming {
  const { jsonrpc, id, method, result, error } = message;
  if (jsonrpc !== "2.0") throw nonsense("did not answer in JSON-RPC 2.0");
  if (method !== undefined) {
    if (typeof method !== "string" || result !== undefined || error !== undefined)
      throw nonsense("sent a message that is both a request and an answer");
    if (typeof id === "string" || typeof id === "number") return { kind: "request", id, method };
    return { kind: "notice", method };
  }
  if ((result === undefined) === (error === undefined))
    throw nonsense("sent an answer that is neither one result nor one error");
  if (result !== undefined) {
    if (!isObject(result)) throw nonsense("answered with a result that is no object");
    return { kind: "answer", id, answer: { result, bytes } };
  }
  if (!isObject(error) || !Number.isSafeInteger(error.code) || typeof error.message !== "string")
    throw nonsense("answered with an error that has no code or no message");
  const { code, message: text, data } = error;
  return { kind: "answer", id, answer: { error: { code: code as number, message: text, data }, bytes } };
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Errors of the protocol itself, as MCP numbers them. */
export const rpcCodes = { unsupportedVersion: -32_022, needsCapability: -32_021, headerMismatch: -32_020 };
const urlElicitation = -32_042;

/**
 * What a server made of a tool call. An error's message is whole, because a secret that is cut is no longer found. Errors that are between it and the gateway are failures, not answers: a client that
 * was handed one would take it for the gateway's.
 */
export function toolAnswerOf(answer: RpcAnswer, era: "modern" | "legacy"): UpstreamAnswer {
  if ("error" in answer) {
    const { code, message } = answer.error;
    if (code === urlElicitation || code === rpcCodes.needsCapability) throw needsInput();
    if (code === rpcCodes.headerMismatch || code === rpcCodes.unsupportedVersion)
      throw nonsense("did not understand the gateway's request");
    return { kind: "error", code, message };
  }
  const { resultType, ...result } = answer.result;
  if (era === "modern") checkComplete(resultType);
  checkResult(result, era);
  return { kind: "result", result: withoutHop(result), isError: result.isError === true };
}

/** What the protocol itself says in `_meta` is between the server and the gateway, such as which server this is. */
function withoutHop(result: Record<string, unknown>): Record<string, unknown> {
  if (!isObject(result._meta)) return result;
  const { _meta, ...rest } = result;
  const kept = Object.entries(_meta as Members).filter(
    ([name]) => !name.startsWith("io.modelcontextprotocol/"),
  );
  return kept.length === 0 ? rest : { ...rest, _meta: Object.fromEntries(kept) };
}

/** The discriminator of 2026-07-28; who leaves it out means a complete result. */
export function checkComplete(resultType: unknown): void {
  if (resultType === undefined || resultType === "complete") return;
  if (resultType === "input_required") throw needsInput();
  throw nonsense("answered with a kind of result that the gateway does not know");
}

function checkResult(
  { content, structuredContent, isError, _meta }: Members,
  era: "modern" | "legacy",
): void {
  if (content !== undefined && !(Array.isArray(content) && content.every(isBlock)))
    throw nonsense("answered with content that MCP does not know");
  // Until 2026-07-28 it was an object.
  if (structuredContent !== undefined && era === "legacy" && !isObject(structuredContent))
    throw nonsense("answered with structured content that is no object");
  if (isError !== undefined && typeof isError !== "boolean")
    throw nonsense("answered with an isError that is neither true nor false");
  if (_meta !== undefined && !isObject(_meta)) throw nonsense("answered with a _meta that is no object");
}

function isBlock(block: unknown): boolean {
  if (!isObject(block)) return false;
  const has = (...names: string[]) => names.every((name) => typeof block[name] === "string");
  switch (block.type) {
    case "text":
      return has("text");
    case "image":
    case "audio":
      return has("data", "mimeType");
    case "resource_link":
      return has("uri", "name");
    case "resource": {
      const { resource } = block;
      if (!isObject(resource) || typeof resource.uri !== "string") return false;
      return typeof resource.text === "string" || typeof resource.blob === "string";
    }
    default:
      return false;
  }
}
