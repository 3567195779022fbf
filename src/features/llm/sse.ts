/**
 * Finds where server-sent events end in a byte stream (WHATWG HTML section 9.2), whatever the chunks are: inside a
 * UTF-8 sequence, between CR and LF, one byte at a time. It never changes, drops or reorders a byte; joined together,
 * what goes out is what came in.
 *
 * Events too large to be held are let through in pieces, so that a line without an end cannot fill the memory.
 */
const LF = 0x0a;
const CR = 0x0d;
const eventBytesMax = 1 << 20;
/** A response's last event holds all of it, pictures included, and the usage behind them. */
const lastEventBytesMax = 4 << 20;
/** What has gathered is not copied again beyond this. */
const blockBytes = 64 << 10;

/**
 * A run of whole events: `bytes` from its start to the end of its last event, and where each event ends in it. Or, with
 * no end in it, a piece of an event that is too large; `inPieces` when the first event is the last piece of one.
 */
export type Events = {
  readonly bytes: Uint8Array;
  readonly ends: readonly number[];
  readonly inPieces: boolean;
};

export class SseSplitter {
  readonly #terminalOf: (head: Uint8Array) => unknown;
  /** What has come of the event that is not complete yet: full blocks, and one that is being filled. */
  #blocks: Uint8Array[] = [];
  #block = new Uint8Array(0);
  #filled = 0;
  #carried = 0;
  #lineIsBlank = true;
  #afterCr = false;
  #crEndedBlank = false;
  #oversized = false;

  /** `terminalOf` says by an event's beginning whether it is the last, for which there is more room. */
  constructor(terminalOf: (head: Uint8Array) => unknown = () => null) {
    this.#terminalOf = terminalOf;
  }

  /** True while the bytes given out so far end in the middle of an event. */
  get inEvent(): boolean {
    return this.#oversized;
  }

  /** Takes a chunk; gives the whole events that it completes, or null when it completes none. */
  push(chunk: Uint8Array): Events | null {
    const ends = this.#scan(chunk);
    const last = ends[ends.length - 1];
    if (last === undefined) return this.#keep(chunk);
    const inPieces = this.#oversized;
    this.#oversized = false;
    if (this.#carried === 0) {
      if (last < chunk.length) this.#append(chunk.slice(last));
      return { bytes: last === chunk.length ? chunk : chunk.subarray(0, last), ends, inPieces };
    }
    const before = this.#carried;
    const bytes = this.#joined(chunk.subarray(0, last));
    if (last < chunk.length) this.#append(chunk.slice(last));
    return { bytes, ends: ends.map((end) => end + before), inPieces };
  }

  /** What is left when the stream has ended: an event without its blank line, or nothing. */
  rest(): Uint8Array {
    return this.#joined(new Uint8Array(0));
  }

  #keep(chunk: Uint8Array): Events | null {
    // Once in pieces, the rest of the event follows as it comes: nothing is gathered that has to leave anyway.
    if (this.#oversized) return { bytes: chunk, ends: [], inPieces: true };
    this.#append(chunk);
    if (this.#carried < eventBytesMax) return null;
    const head = this.#blocks[0] ?? this.#block;
    if (this.#carried < lastEventBytesMax && this.#terminalOf(head) !== null) return null;
    this.#oversized = true;
    return { bytes: this.rest(), ends: [], inPieces: true };
  }

  #append(chunk: Uint8Array): void {
    if (this.#filled + chunk.length > this.#block.length) this.#makeRoom(chunk.length);
    this.#block.set(chunk, this.#filled);
    this.#filled += chunk.length;
    this.#carried += chunk.length;
  }

  /** Doubled while it is small, so that tiny chunks stay cheap; then one block after the other. */
  #makeRoom(bytes: number): void {
    const isFull = this.#block.length >= blockBytes;
    if (isFull) this.#blocks.push(this.#block.subarray(0, this.#filled));
    const kept = isFull ? 0 : this.#filled;
    const grown = new Uint8Array(Math.max(kept + bytes, Math.min(this.#block.length * 2, blockBytes)));
    grown.set(this.#block.subarray(0, kept));
    this.#block = grown;
    this.#filled = kept;
  }

  /** All that was carried and what comes behind it, as one; nothing is carried any more. */
  #joined(behind: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(this.#carried + behind.length);
    let at = 0;
    for (const block of [...this.#blocks, this.#block.subarray(0, this.#filled), behind]) {
      bytes.set(block, at);
      at += block.length;
    }
    this.#blocks = [];
    // Kept for the next event, unless it is large.
    if (this.#block.length > blockBytes) this.#block = new Uint8Array(0);
    this.#filled = 0;
    this.#carried = 0;
    return bytes;
  }

  /** Offsets just behind each blank line. A CR waits for the next byte, which may be the LF that belongs to it. */
  #scan(bytes: Uint8Array): number[] {
    const ends: number[] = [];
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i];
      if (this.#afterCr) {
        this.#afterCr = false;
        if (this.#crEndedBlank) ends.push(byte === LF ? i + 1 : i);
        this.#crEndedBlank = false;
        if (byte === LF) continue;
      }
      if (byte === LF) {
        if (this.#lineIsBlank) ends.push(i + 1);
        this.#lineIsBlank = true;
      } else if (byte === CR) {
        this.#afterCr = true;
        this.#crEndedBlank = this.#lineIsBlank;
        this.#lineIsBlank = true;
      } else this.#lineIsBlank = false;
    }
    return ends;
  }
}

const decoder = new TextDecoder();

/** The `data` of one event: its data lines joined by LF, or null when it has none (a comment, a heartbeat). */
export function eventPayload(event: Uint8Array): string | null {
  const lines = decoder.decode(event).split(/\r\n|\r|\n/);
  const payload = lines
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).replace(/^ /, ""));
  return payload.length === 0 ? null : payload.join("\n");
}
