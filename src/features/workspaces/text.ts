/** The content of files: text in UTF-8 without NUL, both ways, byte for byte what stands on the disk. */
import { Failure } from "../../platform/failure.ts";

/** `ignoreBOM` keeps it: what was read and is written back has to have the same hash. */
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function textOf(bytes: Uint8Array): string {
  let text: string;
  try {
    text = strict.decode(bytes);
  } catch {
    throw notText();
  }
  if (text.includes("\0")) throw notText();
  return text;
}

export function bytesOf(content: string, bytesMax: number): Uint8Array {
  if (!content.isWellFormed() || content.includes("\0")) throw notText();
  const bytes = Buffer.from(content);
  if (bytes.length > bytesMax) throw tooLarge(bytes.length, bytesMax);
  return bytes;
}

export const tooLarge = (bytes: number, bytesMax: number): Failure =>
  new Failure(
    "too_large",
    "file_too_large",
    `The file has ${bytes} bytes; at most ${bytesMax} are open here.`,
  );

/** What an answer has beside the content of a piece. */
const frameBytes = 8_192;

/**
 * `bytes` are text. A piece ends where a character ends, and is as long as an answer of `answerBytesMax` can carry: it
 * stands there twice, as it is and as text within text. `next` is null at the end of all.
 */
export function pieceOf(
  bytes: Uint8Array,
  { offset, length, answerBytesMax }: { offset: number; length: number; answerBytesMax: number },
): { content: string; next: number | null } {
  if (offset > bytes.length || isInside(bytes, offset)) throw wrongOffset(bytes.length);
  for (let most = length; ; most = Math.floor(most / 2)) {
    let end = Math.min(offset + most, bytes.length);
    while (isInside(bytes, end)) end--;
    const content = strict.decode(bytes.subarray(offset, end));
    if (most < 8 || carried(content) + frameBytes <= answerBytesMax)
      return { content, next: end === bytes.length ? null : end };
  }
}

function carried(content: string): number {
  const once = JSON.stringify(content);
  return Buffer.byteLength(once) + Buffer.byteLength(JSON.stringify(once));
}

/** Whether a character begins before and goes on here. */
const isInside = (bytes: Uint8Array, at: number): boolean => ((bytes[at] ?? 0) & 0xc0) === 0x80;

const notText = (): Failure =>
  new Failure(
    "unprocessable",
    "not_text",
    "The content is no text in UTF-8; only such is open here. Use an artifact.",
  );

const wrongOffset = (size: number): Failure =>
  new Failure(
    "invalid",
    "invalid_offset",
    `offset_bytes must stand between two characters, from 0 to ${size}; take next_offset_bytes of the answer before.`,
  );
