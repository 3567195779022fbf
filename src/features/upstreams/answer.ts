/**
 * The one answer in an HTTP response: as JSON, or among the events of a stream. Counted while it is read, so that what is
 * too large is never held, and the connection is dropped.
 */

import { Breath } from "./breath.ts";
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
const besideBytes = 1_048_576;
const besideMessagesMax = 1_000;
/** A line is work, however short. */
const lineBytes = 64;
/** What is looked at in one go. */
const sliceBytes = 16_384;
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
  const messages = new StreamMessages(asked);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw broken("ended its answer before it was complete");
    const answer = await messages.push(value);
    if (answer === null) continue;
    linger(reader, asked);
    return answer;
  }
}

class StreamMessages {
  readonly #asked: Asked;
  readonly #events: StreamEvents;
  readonly #breath = new Breath();
  #bytes = 0;
  #beside = 0;

  constructor(asked: Asked) {
    this.#asked = asked;
    this.#events = new StreamEvents(asked.bytesMax, () => tooLarge(asked.bytesMax));
  }

  /** The answer, when this chunk completes it. */
  async push(chunk: Uint8Array): Promise<RpcAnswer | null> {
    const { bytesMax } = this.#asked;
    let answer: RpcAnswer | null = null;
    for (let at = 0; at < chunk.length; at += sliceBytes) {
      const slice = chunk.subarray(at, at + sliceBytes);
      this.#bytes += slice.length;
      const events = this.#events.push(slice);
      if (this.#bytes + this.#events.lines * lineBytes > bytesMax * streamFactor + besideBytes)
        throw tooLarge(bytesMax);
      answer = this.#answerAmong(events, answer);
      await this.#breath.take();
    }
    return answer;
  }

  #answerAmong(events: readonly Uint8Array[], before: RpcAnswer | null): RpcAnswer | null {
    let found = before;
    for (const event of events) {
      const message = readMessage(event);
      if (message.kind === "answer") {
        if (found !== null) throw nonsense("answered twice");
        found = matching(message, this.#asked.id);
      } else if (found === null) {
        if (++this.#beside > besideMessagesMax)
          throw nonsense(`sent more than ${besideMessagesMax} messages before its answer`);
        if (message.kind === "request" && message.method !== "ping") throw needsInput();
        this.#asked.heard(message);
      }
    }
    return found;
  }
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
