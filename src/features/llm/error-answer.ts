/**
 * Errors that providers put into an answer of status 200: a document with nothing but an error in it, or a stream whose first
 * event is one. Nothing was done and nothing is billed, as with an error status, and another attempt may follow.
 */
import { holds } from "../../platform/bytes.ts";
import { eventPayload, SseSplitter } from "./sse.ts";
import { isObject, parseJson, record, type Wire } from "./wire.ts";

export type ErrorAnswer = {
  /** The HTTP status that it should have had. */
  readonly status: number;
  /** Gives it to the caller as it came. */
  readonly pass: () => Promise<Response>;
  /** Nobody reads it any more. */
  readonly drop: () => void;
};

const errorKey = Buffer.from('"error"');

/** The status of what a document says went wrong, or null when it is an answer. */
export function errorInBody(wire: Wire, body: unknown): number | null {
  const { error } = record(body);
  const isError = isObject(error) || (typeof error === "string" && error !== "");
  if (!isError || wire.usageOfBody(body) !== null || wire.textOfBody(body) !== "") return null;
  return statusOf(error);
}

/** The same of a stream's first chunk, as far as its first event is in it. */
export function errorInChunk(wire: Wire, chunk: Uint8Array): number | null {
  if (!holds(chunk, errorKey)) return null;
  for (const event of eventsIn(chunk)) {
    if (isPreamble(event)) continue;
    const { usage, terminal } = wire.look(event);
    if (terminal !== "error" || usage !== null) return null;
    const said = record(parseJson(eventPayload(event) ?? ""));
    return statusOf(said.error ?? record(said.response).error);
  }
  return null;
}

/** Whether anything of an answer is in a run of whole events, and not only that one is on its way. */
export const beginsAnswer = (events: Uint8Array): boolean => !eventsIn(events).every(isPreamble);

function eventsIn(bytes: Uint8Array): Uint8Array[] {
  const ends = new SseSplitter().push(bytes)?.ends ?? [];
  return [0, ...ends]
    .map((start, at) => bytes.subarray(start, ends[at] ?? bytes.length))
    .filter(({ length }) => length > 0);
}

const preamble = /"type"\s*:\s*"(?:response\.(?:created|in_progress|queued)|ping)"/;

/** A heartbeat, or that the call was taken. */
function isPreamble(event: Uint8Array): boolean {
  const payload = eventPayload(event);
  return payload === null || preamble.test(payload.slice(0, 100));
}

/** What types of errors say: what passes, what is the gateway's own account, and what is the caller's own fault. */
const kinds: [RegExp, number][] = [
  [/overloaded|unavailable/, 503],
  [/rate_limit|too_many/, 429],
  [/timeout/, 504],
  [/authentication|api_key/, 401],
  [/billing|quota|credit/, 402],
  [/permission/, 403],
  [/not_found/, 404],
  [/invalid|content|policy|context_length/, 400],
];

function statusOf(error: unknown): number {
  const { code, type, status } = record(error);
  for (const said of [code, status]) {
    const number = Number(
      typeof said === "string" && /^\d{3}$/.test(said) ? said : said === null ? Number.NaN : said,
    );
    if (number >= 400 && number < 600) return number;
  }
  const words = `${String(type ?? "")} ${String(code ?? "")}`;
  return kinds.find(([form]) => form.test(words))?.[1] ?? 500;
}
