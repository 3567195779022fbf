/**
 * A long text in pieces that fit into answers: each ends between two characters and says where the next begins.
 */
import { Failure } from "./failure.ts";

/** `ignoreBOM` keeps it: what was read and is written back has to have the same hash. */
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * `bytes` are text. A piece ends where a character ends, and is as long as what is said with it may be; `next` is null at
 * the end of all. Throws 413 `result_too_large` where not even a few characters have room.
 */
export function pieceOf<Said>(
  bytes: Uint8Array,
  { offset, length }: { offset: number; length: number },
  { say, bytesMax }: { say: (content: string, next: number | null) => Said; bytesMax: number },
): Said {
  if (offset > bytes.length || isInside(bytes, offset)) throw wrongOffset(bytes.length);
  for (let most = length; most >= characterBytesMax; most = Math.floor(most / 2)) {
    let end = Math.min(offset + most, bytes.length);
    while (isInside(bytes, end)) end--;
    const said = say(strict.decode(bytes.subarray(offset, end)), end === bytes.length ? null : end);
    if (carriedBytes(said) <= bytesMax) return said;
  }
  throw new Failure(
    "too_large",
    "result_too_large",
    `Nothing of the text fits into an answer of ${bytesMax} bytes, which is what this credential's policy lets through.`,
  );
}

const characterBytesMax = 4;

/** What the protocol puts around an answer. */
const frameBytes = 512;

/** An answer leaves twice: as it is, and as text within text. */
function carriedBytes(said: unknown): number {
  const once = JSON.stringify(said);
  return Buffer.byteLength(once) + Buffer.byteLength(JSON.stringify(once)) + frameBytes;
}

/** Whether a character begins before and goes on here. */
const isInside = (bytes: Uint8Array, at: number): boolean => ((bytes[at] ?? 0) & 0xc0) === 0x80;

const wrongOffset = (size: number): Failure =>
  new Failure(
    "invalid",
    "invalid_offset",
    `offset_bytes must stand between two characters, from 0 to ${size}; take next_offset_bytes of the answer before.`,
  );
