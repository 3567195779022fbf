/**
 * Answers that are one document: read whole up to 8 MiB, so that the bill is known before the first byte leaves.
 * Larger ones stream with their last 64 KiB held back, where the usage stands.
 */
import { utf8 } from "../../platform/bytes.ts";
import { Failure } from "../../platform/failure.ts";

const wholeBytesMax = 8 << 20;
const tailBytes = 64 << 10;
const smallBytesMax = 16 << 10;

/** As fetch's body gives it. */
export type ByteReader = Pick<ReadableStreamDefaultReader<Uint8Array>, "read" | "cancel">;
export type Document = { bytes: Uint8Array; more: ByteReader | null };

/**
 * Reads up to 8 MiB; `more` is the rest of the stream when there is any. Piece by piece, so that a pause is seen; what
 * has announced that it is small comes at once or not at all, and is spared the pieces.
 */
export async function readDocument(upstream: Response, touch: () => void): Promise<Document> {
  const announced = Number(upstream.headers.get("content-length") ?? Number.NaN);
  // A coding nobody asked for makes the announced length that of something smaller than what comes out.
  if (announced <= smallBytesMax && !upstream.headers.has("content-encoding")) {
    const bytes = await upstream.bytes();
    if (bytes.length > 0) touch();
    return { bytes, more: null };
  }
  const reader: ByteReader | undefined = upstream.body?.getReader();
  if (!reader) return { bytes: new Uint8Array(0), more: null };
  const chunks: Uint8Array[] = [];
  let total = 0;
  while (total <= wholeBytesMax) {
    const { done, value } = await reader.read();
    if (done) return { bytes: joined(chunks, total), more: null };
    touch();
    chunks.push(value);
    total += value.length;
  }
  return { bytes: joined(chunks, total), more: reader };
}

/** Most documents come in one piece. */
const joined = (chunks: Uint8Array[], total: number): Uint8Array =>
  chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, total);

/** A provider's error, bounded: nobody needs more than this of one. */
export async function readError(upstream: Response): Promise<Uint8Array> {
  const reader = upstream.body?.getReader();
  if (!reader) return new Uint8Array(0);
  const chunks: Uint8Array[] = [];
  let total = 0;
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    chunks.push(read.value);
    total += read.value.length;
    if (total > 1 << 20) {
      await reader.cancel();
      break;
    }
  }
  return Buffer.concat(chunks, total);
}

/** What a document says, or a Failure: HTML with status 200 is a provider that failed. */
export function parseDocument(bytes: Uint8Array): unknown {
  try {
    const text = utf8(bytes);
    return JSON.parse(text.startsWith("\uFEFF") ? text.slice(1) : text);
  } catch (cause) {
    throw new Failure(
      "upstream",
      "provider_error",
      "The provider answered with something that is not JSON.",
      { cause },
    );
  }
}

/**
 * Streams a document too large to hold: `first`, then the rest, its last 64 KiB only after `settle` has seen them.
 */
export function relayLarge(
  document: { first: Uint8Array; more: ByteReader },
  events: {
    /** `fail` breaks the answer off, also while the caller reads nothing of it. */
    opened(fail: (error: unknown) => void): void;
    /** Whether the caller waits for more, or has not read what it was given. */
    reads(isReading: boolean): void;
    touch(): void;
    sent(bytes: number): void;
    settle(tail: Uint8Array): Promise<void>;
    broke(error: unknown): void;
    left(): void;
  },
): ReadableStream<Uint8Array> {
  let tail = Buffer.from(document.first);
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) => events.opened((error) => controller.error(error)),
      async pull(controller) {
        events.reads(true);
        try {
          const out = tail.length > tailBytes ? tail.subarray(0, tail.length - tailBytes) : null;
          if (out !== null) {
            tail = Buffer.from(tail.subarray(out.length));
            controller.enqueue(out);
            events.sent(out.length);
            return;
          }
          const { done, value } = await document.more.read();
          if (!done) {
            events.touch();
            tail = Buffer.concat([tail, value]);
            return controller.enqueue(new Uint8Array(0));
          }
          await events.settle(tail);
          controller.enqueue(tail);
          controller.close();
        } catch (error) {
          events.broke(error);
          controller.error(error);
        } finally {
          events.reads(false);
        }
      },
      cancel: () => events.left(),
    },
    { highWaterMark: 0 },
  );
}

/** The last object called "usage" in the end of a document too large to parse, and the tier that stands beside it. */
export function usageInTail(tail: Uint8Array): unknown {
  const text = Buffer.from(tail).toString("utf8");
  const found = /"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})(?![\s\S]*"usage"\s*:)/.exec(text);
  try {
    if (!found?.[1]) return {};
    const [, service_tier] = [...text.matchAll(/"service_tier"\s*:\s*"(\w{1,64})"/g)].at(-1) ?? [];
    return { usage: JSON.parse(found[1]), service_tier };
  } catch {
    return {};
  }
}
