/**
 * The lines of a byte stream that is not trusted, without their ends. A line that is too long is let go by, and only its
 * beginning and its end are kept, so that whoever waits for it can be told.
 */
const LF = 0x0a;
const CR = 0x0d;
const edgeBytes = 256;

export type TextLines = {
  /** A whole line; never an empty one. */
  readonly line: (bytes: Uint8Array) => void;
  /** So many empty ones. */
  readonly empty?: (count: number) => void;
  /** Called when a line has become too long, and again when its end has come at last. */
  readonly long: (part: {
    readonly head: string;
    readonly tail: string | null;
    readonly bytes: number;
  }) => void;
};

export class LineSplitter {
  readonly #bytesMax: () => number;
  readonly #to: TextLines;
  #held: Uint8Array[] = [];
  #bytes = 0;
  /** Of a line that is too long. */
  #head: string | null = null;
  #tail = new Uint8Array(0);
  #isStopped = false;

  /** `bytesMax` is asked as a line grows. */
  constructor(bytesMax: () => number, to: TextLines) {
    this.#bytesMax = bytesMax;
    this.#to = to;
  }

  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length && !this.#isStopped; ) {
      at = this.#passEmpty(chunk, at);
      if (at === chunk.length || this.#isStopped) return;
      const lf = chunk.indexOf(LF, at);
      this.#grow(chunk.subarray(at, lf === -1 ? chunk.length : lf));
      if (lf === -1) return;
      this.#end();
      at = lf + 1;
    }
  }

  /** Not even what is left of this chunk is looked at. */
  stop(): void {
    this.#isStopped = true;
    this.#held = [];
  }

  /** A stream of nothing else must cost next to nothing. */
  #passEmpty(chunk: Uint8Array, from: number): number {
    if (this.#bytes > 0) return from;
    let at = from;
    while (chunk[at] === LF) at++;
    if (at > from) this.#to.empty?.(at - from);
    return at;
  }

  #grow(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#bytes += piece.length;
    if (this.#head === null) {
      // A copy: the chunk's memory is the stream's.
      if (this.#bytes <= this.#bytesMax()) return void this.#held.push(piece.slice());
      this.#head = textOf(joined([...this.#held, piece.subarray(0, edgeBytes)]).subarray(0, edgeBytes));
      this.#held = [];
      this.#to.long({ head: this.#head, tail: null, bytes: this.#bytes });
    }
    this.#tail = joined([this.#tail, piece.slice(-edgeBytes)]).slice(-edgeBytes);
    // A line without an end: whoever hears of it may want to end it.
    if (this.#bytes > endlessBytes) this.#to.long({ head: this.#head, tail: null, bytes: this.#bytes });
  }

  #end(): void {
    const { length } = this.#held;
    if (this.#head !== null)
      this.#to.long({ head: this.#head, tail: textOf(this.#tail), bytes: this.#bytes });
    else if (length > 0) this.#give(joined(this.#held));
    this.#held = [];
    this.#bytes = 0;
    this.#head = null;
    this.#tail = new Uint8Array(0);
  }

  #give(line: Uint8Array): void {
    const whole = line[line.length - 1] === CR ? line.subarray(0, -1) : line;
    if (whole.length > 0) this.#to.line(whole);
    else this.#to.empty?.(1);
  }
}

/** So long is no line. */
export const endlessBytes = 64 * 1024 * 1024;

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(pieces));
}
