/**
 * Looks at JSON before anything parses it: depth and key count (a parser blocks the loop on 200 KB of brackets), the
 * top-level members with their byte spans (so that one value can be replaced and all other bytes stay), and their
 * uniqueness (two parsers that disagree on a repeated key are a way around a policy).
 *
 * It checks structure strictly and the inside of strings and numbers loosely; whoever parses next checks the rest.
 */
import { latin1, utf8 } from "./bytes.ts";
import { Failure } from "./failure.ts";

export type JsonKind = "object" | "array" | "string" | "number" | "boolean" | "null";
export type Member = {
  readonly key: string;
  readonly kind: JsonKind;
  /** The value's first byte, and the one after its last. */
  readonly start: number;
  readonly end: number;
};

export type JsonBounds = {
  readonly depthMax: number;
  readonly keysMax: number;
  /** Members and elements at any depth: sixteen million zeros fit into a body and take seconds to look at. */
  readonly valuesMax: number;
  /** Of one object: each key that must be unique is decoded and remembered, which costs more than looking at it. */
  readonly membersMax: number;
  /** Down to which level a repeated key is refused; 1 is the top level alone. */
  readonly uniqueLevels: number;
};
const defaultBounds: JsonBounds = {
  depthMax: 100,
  keysMax: 100_000,
  valuesMax: 350_000,
  membersMax: 1_000,
  uniqueLevels: 1,
};

const decoder = new TextDecoder("utf-8", { fatal: true });
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const [COMMA, COLON, OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE] = [
  0x2c, 0x3a, 0x5b, 0x5d, 0x7b, 0x7d,
];

const notJson = (at: number): Failure =>
  new Failure("invalid", "invalid_json", `The body is not valid JSON (at byte ${at}).`);

const tooComplex = (what: string): Failure => new Failure("invalid", "json_too_complex", `The body ${what}.`);

/**
 * The members of the one JSON object that `bytes` holds. Throws `invalid_json`, or `json_too_complex` beyond the bounds.
 * A repeated top-level key throws `duplicate_key`, and one below it where `uniqueLevels` says so.
 */
export function scanObject(bytes: Uint8Array, bounds: Partial<JsonBounds> = {}): Member[] {
  return new ObjectScan(bytes, { ...defaultBounds, ...bounds }).run();
}

/** The members of the object value at `member`, checked in the same way; offsets are those of `bytes`. */
export function scanMember(bytes: Uint8Array, member: Member): Member[] {
  const inner = scanObject(bytes.subarray(member.start, member.end));
  return inner.map((found) => ({
    ...found,
    start: found.start + member.start,
    end: found.end + member.start,
  }));
}

/** The parsed value of one member; meant for small ones. */
export function parseMember(bytes: Uint8Array, member: Member): unknown {
  try {
    const text = utf8(bytes, member.start, member.end);
    // U+FFFD may have been sent, or stand for bytes that are no UTF-8: the strict decoder knows.
    const doubtful = text.includes("\ufffd");
    return JSON.parse(doubtful ? decoder.decode(bytes.subarray(member.start, member.end)) : text);
  } catch {
    throw notJson(member.start);
  }
}

class ObjectScan {
  readonly #bytes: Uint8Array;
  readonly #bounds: JsonBounds;
  readonly #open: number[] = [];
  readonly #members: Member[] = [];
  /** The keys of each open object, by its level; none for an array, or for an object whose keys may repeat. */
  readonly #seen: (Set<string> | undefined)[] = [];
  #at = 0;
  #keys = 0;
  #values = 0;
  #key = "";
  #valueStart = 0;

  constructor(bytes: Uint8Array, bounds: JsonBounds) {
    this.#bytes = bytes;
    this.#bounds = bounds;
  }

  run(): Member[] {
    if (this.#next() !== OPEN_BRACE) {
      throw new Failure("invalid", "invalid_json", "The body must be one JSON object.");
    }
    this.#push(OPEN_BRACE);
    while (this.#open.length > 0) this.#step();
    this.#skipSpace();
    if (this.#at !== this.#bytes.length) throw notJson(this.#at);
    return this.#members;
  }

  /** One member of an object, or one element of an array, with the comma or the closing that follows it. */
  #step(): void {
    if (++this.#values > this.#bounds.valuesMax) {
      throw tooComplex(`holds more than ${this.#bounds.valuesMax} values`);
    }
    const inObject = this.#open[this.#open.length - 1] === OPEN_BRACE;
    if (inObject) this.#readKey();
    else this.#next();
    this.#valueStart = this.#open.length === 1 ? this.#at : this.#valueStart;
    const first = this.#bytes[this.#at];
    if (first === OPEN_BRACE || first === OPEN_BRACKET) {
      this.#push(first);
      return;
    }
    this.#skipScalar();
    this.#afterValue();
  }

  /** Enters a container; an empty one is left at once. */
  #push(bracket: number): void {
    this.#open.push(bracket);
    this.#seen.push(undefined);
    if (this.#open.length > this.#bounds.depthMax) {
      throw tooComplex(`nests deeper than ${this.#bounds.depthMax} levels`);
    }
    this.#at++;
    const closing = bracket === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET;
    if (this.#next() === closing) this.#pop();
  }

  #pop(): void {
    this.#at++;
    this.#open.pop();
    this.#seen.pop();
    this.#afterValue();
  }

  /** A value has ended at `#at`: note it when it is a top-level member, then take the comma or close what is open. */
  #afterValue(): void {
    const bracket = this.#open[this.#open.length - 1];
    if (bracket === undefined) return;
    if (this.#open.length === 1) this.#note();
    const byte = this.#next();
    if (byte === COMMA) this.#at++;
    else if (byte === (bracket === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET)) this.#pop();
    else throw notJson(this.#at);
  }

  #note(): void {
    const kind = kindOf(this.#bytes[this.#valueStart]);
    this.#members.push({
      key: this.#key,
      kind,
      start: this.#valueStart,
      end: this.#at,
    });
  }

  #readKey(): void {
    if (this.#next() !== QUOTE) throw notJson(this.#at);
    const start = this.#at;
    this.#skipString();
    if (++this.#keys > this.#bounds.keysMax) {
      throw tooComplex(`holds more than ${this.#bounds.keysMax} keys`);
    }
    if (this.#open.length <= this.#bounds.uniqueLevels) this.#takeKey(start);
    if (this.#next() !== COLON) throw notJson(this.#at);
    this.#at++;
    this.#skipSpace();
  }

  #takeKey(start: number): void {
    const key = this.#keyFrom(start);
    const level = this.#open.length;
    const seen = this.#seen[level - 1] ?? new Set<string>();
    this.#seen[level - 1] = seen;
    if (seen.has(key)) {
      throw new Failure("invalid", "duplicate_key", `The key \`${key.slice(0, 64)}\` stands more than once.`);
    }
    seen.add(key);
    if (level === 1) this.#key = key;
    if (seen.size > this.#bounds.membersMax) {
      throw tooComplex(`holds an object of more than ${this.#bounds.membersMax} keys`);
    }
  }

  /** As whoever reads this next understands it: "mod\u0065l" and "model" are the same key. */
  #keyFrom(start: number): string {
    const text = utf8(this.#bytes, start + 1, this.#at - 1);
    if (!text.includes("\\") && !text.includes("\ufffd")) return text;
    return parseMember(this.#bytes, { key: "", kind: "string", start, end: this.#at }) as string;
  }

  #skipScalar(): void {
    if (this.#bytes[this.#at] === QUOTE) {
      this.#skipString();
      return;
    }
    const start = this.#at;
    let end = start;
    while (isWord(this.#bytes[end])) end++;
    if (start === end || end - start > 400) throw notJson(start);
    if (!scalarForm.test(latin1(this.#bytes, start, end))) throw notJson(start);
    this.#at = end;
  }

  #skipString(): void {
    const bytes = this.#bytes;
    for (let i = this.#at + 1; i < bytes.length; i++) {
      const byte = bytes[i] as number;
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) {
        this.#at = i + 1;
        return;
      } else if (byte < 0x20) throw notJson(i);
    }
    throw notJson(bytes.length);
  }

  #next(): number | undefined {
    this.#skipSpace();
    return this.#bytes[this.#at];
  }

  #skipSpace(): void {
    let at = this.#at;
    let byte = this.#bytes[at];
    while (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) byte = this.#bytes[++at];
    this.#at = at;
  }
}

const scalarForm = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/;

const isWord = (byte: number | undefined): boolean =>
  byte !== undefined &&
  ((byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x45 ||
    byte === 0x2d ||
    byte === 0x2b ||
    byte === 0x2e);

function kindOf(first: number | undefined): JsonKind {
  if (first === OPEN_BRACE) return "object";
  if (first === OPEN_BRACKET) return "array";
  if (first === QUOTE) return "string";
  if (first === 0x74 || first === 0x66) return "boolean";
  return first === 0x6e ? "null" : "number";
}
