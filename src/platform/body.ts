/**
 * Reads request bodies: never more than the plane allows, never more at once than memory allows, identity-coded only.
 */
import { Failure } from "./failure.ts";

/** An announcement costs its sender nothing, so a large one must not keep room from others until its bytes are here. */
const promisedBytesMax = 256 * 1024;

/** Bytes of bodies that are in memory right now, against the most that may be. */
export type BodyRoom = { bytes: number };

/**
 * The whole body as sent. Throws 413 `body_too_large` as soon as it is known, 415 for a content coding, 503 when the
 * gateway already holds `roomBytesMax` of other bodies. `release` must be called when the body is no longer needed.
 */
export async function readBody(
  request: Request,
  limits: { bodyBytesMax: number; roomBytesMax: number; key?: string },
  room: BodyRoom,
): Promise<{ bytes: Uint8Array; release: () => void }> {
  const coding = request.headers.get("content-encoding");
  if (coding !== null && coding !== "identity") {
    throw new Failure("media_type", "unsupported_media_type", "Send the body without a content-encoding.");
  }
  const announced = announcedBytes(request);
  if (announced !== null && announced > limits.bodyBytesMax)
    throw bodyTooLarge(limits.bodyBytesMax, limits.key);
  let held = 0;
  const hold = (bytes: number) => {
    if (room.bytes + bytes > limits.roomBytesMax) throw noRoom();
    room.bytes += bytes;
    held += bytes;
  };
  const release = () => {
    room.bytes -= held;
    held = 0;
  };
  try {
    if (announced === null || announced > promisedBytesMax) {
      return { bytes: await readCounted(request, limits, hold), release };
    }
    hold(announced);
    return { bytes: await request.bytes(), release };
  } catch (error) {
    release();
    if (error instanceof Failure) throw error;
    throw new Failure("invalid", "body_incomplete", "The body ended before it was complete.", {
      cause: error,
    });
  }
}

/**
 * `application/json` exactly: a form post needs no CORS preflight and so must not pass for JSON. In no other charset than
 * UTF-8, in which it is read here: who reads it next may heed the charset, and would read something else.
 */
export function requireJson(request: Request): void {
  const type = request.headers.get("content-type") ?? "";
  const [media, ...parameters] = type.split(";");
  const isJson = media?.trim().toLowerCase() === "application/json";
  if (isJson && (!/charset/i.test(type) || (parameters.length === 1 && utf8Form.test(type)))) return;
  throw new Failure(
    "media_type",
    "unsupported_media_type",
    isJson
      ? "Send the body in UTF-8, as `content-type: application/json`."
      : "Send the body as `content-type: application/json`.",
  );
}

const utf8Form = /;\s*charset\s*=\s*"?utf-?8"?\s*$/i;

/** Two Content-Length headers arrive joined by a comma: no number, and no comparison would ever stop it. */
export function announcedBytes(request: Request): number | null {
  const length = request.headers.get("content-length");
  if (length === null || /^\d+$/.test(length)) return length === null ? null : Number(length);
  throw new Failure("invalid", "invalid_request", "Content-Length must stand once, as a whole number.");
}

/** For bodies of no announced length, and for large ones: they take their room as they come. */
async function readCounted(
  request: Request,
  { bodyBytesMax, key }: { bodyBytesMax: number; key?: string },
  hold: (bytes: number) => void,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of request.body ?? []) {
    total += chunk.length;
    if (total > bodyBytesMax) throw bodyTooLarge(bodyBytesMax, key);
    hold(chunk.length);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, total);
}

/** `key` is the setting that says so, where there is one. */
export const bodyTooLarge = (bytesMax: number, key?: string): Failure =>
  new Failure(
    "too_large",
    "body_too_large",
    `The body may hold at most ${bytesMax} bytes${key === undefined ? "" : ` (${key})`}.`,
  );

const noRoom = (): Failure =>
  new Failure(
    "unavailable",
    "unavailable",
    "The gateway is holding as many request bodies as it may. Try again.",
    {
      retryAfterSeconds: 1,
    },
  );
