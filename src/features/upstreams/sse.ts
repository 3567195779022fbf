/**
 * Server-sent events (WHATWG HTML section 9.2) of a server that is not trusted: the data of each event, wherever the
 * chunks are cut, with no line and no event larger than was allowed. Each byte is looked at once or twice, whatever they are.
 *
 * Only `data` is read. An event that the stream's end cuts off is none.
 */
const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;
const dataField = [0x64, 0x61, 0x74, 0x61];
const byteOrderMark = [0xef, 0xbb, 0xbf];

export class StreamEvents {
  readonly #bytesMax: number;
  readonly #tooLarge: () => Error;
  /** Of the line that is not complete yet. */
  #line: Uint8Array[] = [];
  /** The data lines of the event that is not complete yet. */
  #data: Uint8Array[] = [];
  #held = 0;
  #afterCr = false;
  #isFirstLine = true;
  #lines = 0;

  /** More than `bytesMax` in one event throws what `tooLarge` makes. */
  constructor(bytesMax: number, tooLarge: () => Error) {
    this.#bytesMax = bytesMax;
    this.#tooLarge = tooLarge;
  }

  /** How many there were so far, the empty ones too. */
  get lines(): number {
    return this.#lines;
  }

  /** The data of the events that this chunk completes; those without any are left out. */
  push(chunk: Uint8Array): Uint8Array[] {
    const events: Uint8Array[] = [];
    const ends = new LineEnds(chunk);
    let at = 0;
    if (this.#afterCr && chunk.length > 0) {
      this.#afterCr = false;
      if (chunk[0] === LF) at = 1;
    }
    while (at < chunk.length) {
      const end = ends.after(at);
      this.#hold(chunk.subarray(at, end));
      if (end === chunk.length) break;
      const event = this.#endLine();
      if (event !== null) events.push(event);
      at = end + 1;
      if (chunk[end] !== CR) continue;
      if (at === chunk.length) this.#afterCr = true;
      else if (chunk[at] === LF) at++;
    }
    return events;
  }

  #hold(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#held += piece.length;
    if (this.#held > this.#bytesMax + lineSlackBytes) throw this.#tooLarge();
    // A copy: the chunk's memory is the reader's.
    this.#line.push(piece.slice());
  }

  #endLine(): Uint8Array | null {
    this.#lines++;
    // As most of a hostile stream's can be.
    if (this.#line.length === 0) return this.#endEvent();
    let line = joined(this.#line);
    this.#line = [];
    if (this.#isFirstLine && startsWith(line, byteOrderMark)) line = line.subarray(byteOrderMark.length);
    this.#isFirstLine = false;
    // A mark alone.
    if (line.length === 0) return this.#endEvent();
    const isData = startsWith(line, dataField) && (line.length === 4 || line[4] === COLON);
    if (isData) this.#data.push(line.subarray(line[5] === SPACE ? 6 : 5));
    else this.#held -= line.length;
    return null;
  }

  #endEvent(): Uint8Array | null {
    this.#isFirstLine = false;
    this.#held = 0;
    if (this.#data.length === 0) return null;
    const data = joined(this.#data.flatMap((line, index) => (index === 0 ? [line] : [newline, line])));
    this.#data = [];
    if (data.length > this.#bytesMax) throw this.#tooLarge();
    return data.length === 0 ? null : data;
  }
}

/** For the field's name and its ends; what an event really holds is counted again when it is whole. */
const lineSlackBytes = 1_024;
const newline = new Uint8Array([LF]);

/** Where the lines of a chunk end. What was found ahead is kept: to look for it again for each line would take for ever. */
class LineEnds {
  readonly #chunk: Uint8Array;
  #lf = -1;
  #cr = -1;

  constructor(chunk: Uint8Array) {
    this.#chunk = chunk;
  }

  /** The chunk's length when the line goes on. `from` never goes back. */
  after(from: number): number {
    const chunk = this.#chunk;
    const first = chunk[from];
    if (first === LF || first === CR) return from;
    if (this.#lf < from) this.#lf = foundOrEnd(chunk, LF, from);
    if (this.#cr < from) this.#cr = foundOrEnd(chunk, CR, from);
    return Math.min(this.#lf, this.#cr);
  }
}

function foundOrEnd(chunk: Uint8Array, byte: number, from: number): number {
  const at = chunk.indexOf(byte, from);
  return at === -1 ? chunk.length : at;
}

const startsWith = (bytes: Uint8Array, start: readonly number[]): boolean =>
  start.every((byte, index) => bytes[index] === byte);

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const [first] = pieces;
  if (pieces.length === 1 && first !== undefined) return first;
  return new Uint8Array(Buffer.concat(pieces));
}
