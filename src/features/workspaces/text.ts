/** The content of files: text in UTF-8 without NUL, both ways, byte for byte what stands on the disk. */
import { Failure } from "../../platform/failure.ts";

export const fileBytesMax = 1_048_576;

export const digest = (bytes: Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

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

const notText = (): Failure =>
  new Failure(
    "unprocessable",
    "not_text",
    "The content is no text in UTF-8; only such is open here. Use an artifact.",
  );
