/**
 * The shape of a piece of JSON without its contents: every member of every object, those under a repeated key included,
 * and strings as places in the bytes. `JSON.parse` shows only the last of several members with one key, and a provider
 * may act on the first.
 *
 * The bytes were looked at before (platform/json.ts): they are well-formed and not too deep.
 */
import { latin1, utf8 } from "../../platform/bytes.ts";
import { Failure } from "../../platform/failure.ts";

export type Outline =
  | { readonly kind: "object"; readonly members: readonly OutlineMember[] }
  | { readonly kind: "array"; readonly items: readonly Outline[] }
  | { readonly kind: "string"; readonly start: number; readonly end: number }
  | { readonly kind: "other" };
export type OutlineMember = readonly [key: string, value: Outline];

const other: Outline = { kind: "other" };
const walkedBytes = 1_024;
const indexOf = Buffer.prototype.indexOf;
const [QUOTE, COMMA, BACKSLASH, OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [
  0x22, 0x2c, 0x5c, 0x7b, 0x7d, 0x5b, 0x5d,
] as const;

/** The outline of the value that begins at `start`. */
export const outlineOf = (bytes: Uint8Array, start: number): Outline => new Outliner(bytes, start).value();

/** Longer ones are no word that means anything here; they are told apart by how they begin. */
const wordBytesMax = 4_096;

/** What the string at `start` says, or of a long one how it begins. Throws `invalid_json`. */
export function stringAt(bytes: Uint8Array, { start, end }: { start: number; end: number }): string {
  if (end - start > wordBytesMax) return latin1(bytes, start + 1, start + wordBytesMax);
  try {
    return JSON.parse(utf8(bytes, start, end));
  } catch (cause) {
    throw new Failure("invalid", "invalid_json", `The body is not valid JSON (at byte ${start}).`, { cause });
  }
}

class Outliner {
  readonly #bytes: Uint8Array;
  #at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  value(): Outline {
    const first = this.#next();
    if (first === OPEN_BRACE) return this.#object();
    if (first === OPEN_BRACKET) return this.#array();
    if (first === QUOTE) return this.#string();
    while (!isEnd(this.#bytes[this.#at])) this.#at++;
    return other;
  }

  #object(): Outline {
    const members: OutlineMember[] = [];
    this.#at++;
    while (this.#next() === QUOTE) {
      const key = this.#string();
      this.#next();
      this.#at++;
      members.push([this.#keyOf(key), this.value()]);
      if (this.#next() === COMMA) this.#at++;
    }
    this.#at++;
    return { kind: "object", members };
  }

  #array(): Outline {
    const items: Outline[] = [];
    this.#at++;
    while (this.#next() !== CLOSE_BRACKET) {
      items.push(this.value());
      if (this.#next() === COMMA) this.#at++;
    }
    this.#at++;
    return { kind: "array", items };
  }

  /** Natively: the strings are what is large in a body. Behind an escaped quote byte by byte for a while: where one stands, more do. */
  #string(): { kind: "string"; start: number; end: number } {
    const start = this.#at;
    let from = start + 1;
    let quote = -1;
    while (quote === -1) {
      const next = indexOf.call(this.#bytes as Buffer, QUOTE, from);
      if (!this.#isEscaped(next)) quote = next;
      else [from, quote] = this.#walk(next + 1);
    }
    this.#at = quote + 1;
    return { kind: "string", start, end: quote + 1 };
  }

  /** How far it came, and the closing quote, or -1. */
  #walk(from: number): [at: number, quote: number] {
    let at = from;
    for (const end = from + walkedBytes; at < end; at++) {
      const byte = this.#bytes[at];
      if (byte === QUOTE) return [at, at];
      if (byte === BACKSLASH) at++;
    }
    return [at, -1];
  }

  #isEscaped(quote: number): boolean {
    let before = quote;
    while (this.#bytes[before - 1] === BACKSLASH) before--;
    return (quote - before) % 2 === 1;
  }

  #keyOf({ start, end }: { start: number; end: number }): string {
    const plain = latin1(this.#bytes, start + 1, end - 1);
    return /^[\x20-\x5b\x5d-\x7e]*$/.test(plain) ? plain : stringAt(this.#bytes, { start, end });
  }

  #next(): number | undefined {
    let byte = this.#bytes[this.#at];
    while (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) byte = this.#bytes[++this.#at];
    return byte;
  }
}

const isEnd = (byte: number | undefined): boolean =>
  byte === undefined || byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || byte <= 0x20;
