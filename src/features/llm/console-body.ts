/**
 * The body of a call from the console, whose path already says whether the answer is a stream.
 *
 * `stream` may say the same or be left out, never the contrary. All other bytes stay as they are.
 */
import { Failure } from "../../platform/failure.ts";
import { type Member, parseMember, scanObject } from "../../platform/json.ts";

/** `/stream`: the same body with `stream: true`. */
export function asStream(bytes: Uint8Array): Uint8Array {
  const members = scanObject(bytes);
  const found = streamIn(members);
  if (found?.kind === "null") return spliced(bytes, found.start, found.end, "true");
  // Whatever else stands there is for the reader of the request to refuse.
  if (found !== undefined) return refused(bytes, found, false, answersStream);
  const first = bytes.indexOf(0x7b) + 1;
  return spliced(bytes, first, first, `"stream":true${members.length > 0 ? "," : ""}`);
}

/** `/chat`. */
export function asWhole(bytes: Uint8Array): Uint8Array {
  const found = streamIn(scanObject(bytes));
  return found === undefined ? bytes : refused(bytes, found, true, answersWhole);
}

const answersStream = "/api/llm/stream answers with a stream; /api/llm/chat would answer whole.";
const answersWhole = "/api/llm/chat answers whole; /api/llm/stream would answer with a stream.";

const streamIn = (members: readonly Member[]) => members.find(({ key }) => key === "stream");

function refused(bytes: Uint8Array, found: Member, contrary: boolean, message: string): Uint8Array {
  if (found.kind !== "boolean" || parseMember(bytes, found) !== contrary) return bytes;
  const errors = [{ path: "stream", code: "invalid", message }];
  throw new Failure("invalid", "invalid_request", message, { errors });
}

const spliced = (bytes: Uint8Array, start: number, end: number, text: string): Uint8Array =>
  Buffer.concat([bytes.subarray(0, start), Buffer.from(text), bytes.subarray(end)]);
