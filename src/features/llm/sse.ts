/**
 * Finds where server-sent events end in a byte stream (WHATWG HTML section 9.2), whatever the chunks are: inside a
 * UTF-8 sequence, between CR and LF, one byte at a time. It never changes, drops or reorders a byte; joined together,
 * what goes out is what came in.
 *
 * Events larger than `eventBytesMax` are let through in pieces, so that a line without an end cannot fill the memory.
 */
const LF = 0x0a;
const CR = 0x0d;
/** A response's last event holds all of it, pictures included, and the usage behind them. */
const eventBytesMax = 4 << 20;

/** A run of whole events: `bytes` from its start to the end of its last event, and where each event ends in it. */
export type Events = { readonly bytes: Uint8Array; readonly ends: readonly number[] };

export class SseSplitter {
  /** What has come of the event that is not complete yet; a buffer that grows, so that tiny chunks stay cheap. */
  #carry = new Uint8Array(0);
  #carried = 0;
  #lineIsBlank = true;
  #afterCr = false;
  #crEndedBlank = false;
  #oversized = false;

  /** True while the bytes given out so far end in the middle of an event. */
  get inEvent(): boolean {
    return this.#oversized;
  }

  /** Takes a chunk; gives the whole events that it completes, or null when it completes none. */
  push(chunk: Uint8Array): Events | null {
    const fresh = this.#carried === 0;
    const bytes = fresh ? chunk : this.#append(chunk);
    const ends = this.#scan(bytes, bytes.length - chunk.length);
    const last = ends[ends.length - 1];
    if (last === undefined) return this.#keep(bytes, fresh);
    // A copy when the bytes stand in the carry buffer, which the next chunk overwrites.
    const whole = fresh ? (last === bytes.length ? bytes : bytes.subarray(0, last)) : bytes.slice(0, last);
    this.#carried = 0;
    this.#oversized = false;
    if (last < bytes.length) this.#append(bytes.slice(last));
    return { bytes: whole, ends };
  }

  /** What is left when the stream has ended: an event without its blank line, or nothing. */
  rest(): Uint8Array {
    const rest = this.#carry.subarray(0, this.#carried);
    // Given away, not copied: it can be megabytes, and is mostly the end of a stream.
    this.#carry = new Uint8Array(0);
    this.#carried = 0;
    return rest;
  }

  #keep(bytes: Uint8Array, fresh: boolean): Events | null {
    // Once in pieces, the rest of the event follows as it comes: nothing is gathered that has to leave anyway.
    if (fresh && this.#oversized) return { bytes, ends: [] };
    if (fresh) this.#append(bytes);
    if (this.#carried < eventBytesMax) return null;
    this.#oversized = true;
    return { bytes: this.rest(), ends: [] };
  }

  #append(chunk: Uint8Array): Uint8Array {
    const needed = this.#carried + chunk.length;
    if (needed > this.#carry.length) {
      // Doubled, so that tiny chunks stay cheap, but not far beyond what is ever let gather.
      const room = Math.min(this.#carry.length * 2, eventBytesMax + chunk.length);
      const grown = new Uint8Array(Math.max(needed, room));
      grown.set(this.#carry.subarray(0, this.#carried));
      this.#carry = grown;
    }
    this.#carry.set(chunk, this.#carried);
    this.#carried = needed;
    return this.#carry.subarray(0, needed);
  }

  /** Offsets just behind each blank line. A CR waits for the next byte, which may be the LF that belongs to it. */
  #scan(bytes: Uint8Array, from: number): number[] {
    const ends: number[] = [];
    for (let i = from; i < bytes.length; i++) {
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
