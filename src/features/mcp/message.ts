/**
 * One JSON-RPC message from the wire: bounded, strict, and read once. What is decided is decided on this.
 *
 * A key stands once, at every depth and however it is escaped: two parsers that disagree on a repeated one are a way
 * around every rule about arguments. Batches are refused: one request is one decision and one record.
 */
import { requireJson } from "../../platform/body.ts";
import { Failure } from "../../platform/failure.ts";
import { scanObject } from "../../platform/json.ts";

/** After those before it, which begin with `initialize`. */
export const servedRevision = "2026-07-28";

export type MessageId = string | number;

export type Message = {
  readonly kind: "request" | "notification" | "response";
  readonly value: Readonly<Record<string, unknown>>;
  /** Null but for a request. */
  readonly id: MessageId | null;
  /** Null for a response. */
  readonly method: string | null;
  readonly params: Readonly<Record<string, unknown>>;
  readonly bytes: number;
};

/** The object that a body holds; what it says is not looked at yet. */
export type Sent = { readonly value: Readonly<Record<string, unknown>>; readonly bytes: number };

/**
 * What is deeper than this no tool asks for, and what has to be walked must not take long: the longest list of tasks that
 * fits into a body has some sixty thousand values.
 */
const bounds = {
  depthMax: 64,
  keysMax: 100_000,
  valuesMax: 100_000,
  membersMax: 1_000,
  uniqueLevels: Number.POSITIVE_INFINITY,
};
/**
 * All but a tool's own arguments. The protocol's library looks at each value here many times over, whoever sent it and
 * whatever it is for: half a second for what fits into half a megabyte.
 */
const frameBounds = { depthMax: 16, valuesMax: 2_000, charactersMax: 262_144 };
/** It comes back in every answer, and in each event of a stream. */
const idCharactersMax = 256;
const OPEN_BRACKET = 0x5b;

/** `read` gives the body. Throws 400 for what is no single JSON object with each key once, 415. */
export async function readSent(
  request: Request,
  read: (request: Request) => Promise<Uint8Array>,
): Promise<Sent> {
  requireJson(request);
  const bytes = await read(request);
  if (firstOf(bytes) === OPEN_BRACKET) throw batchRefused();
  scanObject(bytes, bounds);
  return { value: parse(bytes), bytes: bytes.length };
}

/** The id, where there is one that an answer may carry. */
export function idOf({ value: { id } }: Sent): MessageId | null {
  if (typeof id === "string") return id.length <= idCharactersMax && id.isWellFormed() ? id : null;
  return typeof id === "number" && Number.isSafeInteger(id) ? id : null;
}

/** Throws 400 `invalid_message` for what JSON-RPC 2.0 and MCP do not know as a message. */
export function messageOf(sent: Sent): Message {
  const { value, bytes } = sent;
  const { jsonrpc, method, params } = value;
  requireSmallFrame(value);
  if (jsonrpc !== "2.0") throw invalidMessage('`jsonrpc` must be "2.0".');
  const hasId = Object.hasOwn(value, "id");
  const id = idOf(sent);
  if (hasId && id === null)
    throw invalidMessage(
      `\`id\` must be a string of at most ${idCharactersMax} characters, or a whole number.`,
    );
  const isAnswer = Object.hasOwn(value, "result") || Object.hasOwn(value, "error");
  if (method === undefined && isAnswer)
    return { kind: "response", value, id: null, method: null, params: {}, bytes };
  if (isAnswer) throw invalidMessage("A message has `method`, or `result` or `error`, and not both.");
  if (typeof method !== "string") throw invalidMessage("`method` must be a string.");
  if (params !== undefined && !isObject(params))
    throw invalidMessage("`params` must be an object: MCP names its parameters.");
  return { kind: hasId ? "request" : "notification", value, id, method, params: params ?? {}, bytes };
}

/** Throws 400 `json_too_complex` for what is large and yet no argument of a tool. */
function requireSmallFrame({ params, ...rest }: Readonly<Record<string, unknown>>): void {
  const { arguments: _, ...others } = isObject(params) ? params : { params };
  const left = { values: frameBounds.valuesMax, characters: frameBounds.charactersMax };
  if (!isWithin([rest, others], left, frameBounds.depthMax))
    throw new Failure("invalid", "json_too_complex", frameTooLarge);
}

const frameTooLarge =
  `Beside a tool's \`arguments\`, a message may hold ${frameBounds.valuesMax} values ` +
  `and ${frameBounds.charactersMax} characters, nested ${frameBounds.depthMax} levels deep.`;

/** Counts down what is left; the walk ends where nothing is. */
function isWithin(value: unknown, left: { values: number; characters: number }, depth: number): boolean {
  left.values -= 1;
  if (typeof value === "string") left.characters -= value.length;
  if (left.values < 0 || left.characters < 0) return false;
  if (typeof value !== "object" || value === null) return true;
  if (depth < 0) return false;
  for (const key in value) {
    left.characters -= key.length;
    if (!isWithin((value as Record<string, unknown>)[key], left, depth - 1)) return false;
  }
  return true;
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function firstOf(bytes: Uint8Array): number | undefined {
  return bytes.find((byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d);
}

function parse(bytes: Uint8Array): Record<string, unknown> {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as Record<string, unknown>;
  } catch {
    throw new Failure("invalid", "invalid_json", "The body is not valid JSON in UTF-8.");
  }
}

const batchRefused = (): Failure =>
  new Failure(
    "invalid",
    "batch_refused",
    "Send one message in a request: batches left the protocol with 2025-06-18 and are not served here.",
  );

const invalidMessage = (message: string): Failure => new Failure("invalid", "invalid_message", message);
