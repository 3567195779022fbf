/**
 * The one answer in an HTTP response: as JSON, or among the events of a stream. Counted while it is read, so that what is
 * too large is never held, and the connection is dropped.
 */

import { type Incoming, type RpcAnswer, readMessage } from "./rpc.ts";
import { StreamEvents } from "./sse.ts";
import { broken, needsInput, nonsense, tooLarge } from "./upstream-failure.ts";

export type Asked = {
  readonly id: number;
  readonly bytesMax: number;
  /** Ends the connection; called when the rest of the response is not wanted. */
  readonly drop: () => void;
  /** What else a stream holds. */
  readonly heard: (message: Exclude<Incoming, { kind: "answer" }>) => void;
};

/** Notices before the answer may be longer than it is, and are not endless. */
const streamFactor = 8;
/** An event stream that goes on after its answer is left; one that ends leaves its connection for the next call. */
const lingerMs = 100;

export async function readAnswer(response: Response, asked: Asked): Promise<RpcAnswer> {
  const { headers } = response;
  const encoding = headers.get("content-encoding");
  if (encoding !== null && encoding.trim().toLowerCase() !== "identity")
    throw nonsense("compressed an answer that was to be sent as it is");
  const type = headers.get("content-type")?.split(";", 1)[0]?.trim().toLowerCase();
  if (type === "application/json") return answerIn(await readWhole(response, asked.bytesMax), asked.id);
  if (type === "text/event-stream") return await fromStream(response, asked);
  throw nonsense("answered with something that is neither JSON nor an event stream");
}

/** The bytes of a body, `bytesMax` at most. Throws `result_too_large`, or what the reading threw. */
export async function readWhole(response: Response, bytesMax: number): Promise<Uint8Array> {
  const length = response.headers.get("content-length");
  if (Number(length) > bytesMax) throw tooLarge(bytesMax);
  // The client ends such a body where its length says.
  if (length !== null && response.headers.get("transfer-encoding") === null) return await response.bytes();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw tooLarge(bytesMax);
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : new Uint8Array(Buffer.concat(chunks));
}

function answerIn(bytes: Uint8Array, id: number): RpcAnswer {
  const message = readMessage(bytes);
  if (message.kind !== "answer") throw nonsense("answered with a message that is no answer");
  return matching(message, id);
}

function matching(message: Incoming & { kind: "answer" }, id: number): RpcAnswer {
  if (message.id !== id) throw nonsense("answered a question that it was not asked");
  return message.answer;
}

async function fromStream(response: Response, asked: Asked): Promise<RpcAnswer> {
  const reader = response.body?.getReader();
  if (reader === undefined) throw broken("ended its answer before it was complete");
  const events = new StreamEvents(asked.bytesMax, () => tooLarge(asked.bytesMax));
  let left = asked.bytesMax * streamFactor;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw broken("ended its answer before it was complete");
    left -= value.length;
    if (left < 0) throw tooLarge(asked.bytesMax);
    const answer = answerAmong(events.push(value), asked);
    if (answer === null) continue;
    linger(reader, asked);
    return answer;
  }
}

function answerAmong(events: readonly Uint8Array[], { id, heard }: Asked): RpcAnswer | null {
  let found: RpcAnswer | null = null;
  for (const event of events) {
    const message = readMessage(event);
    if (message.kind === "answer") {
      if (found !== null) throw nonsense("answered twice");
      found = matching(message, id);
    } else if (found === null) {
      if (message.kind === "request" && message.method !== "ping") throw needsInput();
      heard(message);
    }
  }
  return found;
}

function linger(
  reader: Pick<ReadableStreamDefaultReader<Uint8Array>, "read">,
  { drop, bytesMax }: Asked,
): void {
  const late = setTimeout(drop, lingerMs);
  let left = bytesMax;
  const rest = async (): Promise<void> => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      left -= value.length;
      if (left < 0) return drop();
    }
  };
  rest()
    .catch(() => {})
    .finally(() => clearTimeout(late));
}
