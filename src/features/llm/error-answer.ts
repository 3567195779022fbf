/**
 * Errors that providers put into an answer of status 200: a document with nothing but an error in it, or a stream whose first
 * event is one. Nothing was done and nothing is billed, as with an error status, and another attempt may follow.
 */
import { holds } from "../../platform/bytes.ts";
import { isPassing } from "./provider-failure.ts";
import { eventPayload, SseSplitter } from "./sse.ts";
import { isObject, parseJson, record, type Wire } from "./wire.ts";

export type ErrorAnswer = {
  /** Whether another attempt may turn it into an answer. */
  readonly isPassing: boolean;
  /** Gives it to the caller as it came. */
  readonly pass: () => Promise<Response>;
  /** Nobody reads it any more. */
  readonly drop: () => void;
};

const errorKey = Buffer.from('"error"');

/** What a document says went wrong, or null when it is an answer. */
export function errorInBody(wire: Wire, body: unknown): object | null {
  const { error } = record(body);
  if (!isObject(error) || wire.usageOfBody(body) !== null || wire.textOfBody(body) !== "") return null;
  return error as object;
}

/** The same of a stream's first chunk, as far as its first event is in it. */
export function errorInChunk(wire: Wire, chunk: Uint8Array): object | null {
  if (!holds(chunk, errorKey)) return null;
  const found = new SseSplitter().push(chunk);
  let start = 0;
  for (const end of found?.ends ?? []) {
    const event = chunk.subarray(start, end);
    start = end;
    const payload = eventPayload(event);
    // A heartbeat.
    if (payload === null) continue;
    const { usage, terminal } = wire.look(event);
    if (terminal !== "error" || usage !== null) return null;
    const said = record(parseJson(payload));
    return record(said.error ?? record(said.response).error);
  }
  return null;
}

/** What is the caller's own fault stays so whoever is asked. */
const callersFault = /invalid|auth|permission|not_found|billing|quota|content|policy/;

export function isPassingError(error: object): boolean {
  const { code, type } = record(error);
  if (typeof code === "number") return isPassing(code);
  return !callersFault.test(`${String(type ?? "")} ${String(code ?? "")}`);
}
