/**
 * Keeps what a tool answers within its bytes, and says so where it had to.
 *
 * A page that is too large is asked for again, smaller: nothing is lost, its cursor leads on. What is no page has its
 * longest texts cut, at a character's end; ids, addresses and cursors are left whole. What fits in no way is an error.
 * Nothing is ever left out in silence, and what leaves is whole JSON of the tool's own shape.
 */
import { Failure } from "../../platform/failure.ts";

export type Cut = { readonly path: string; readonly bytes: number };
export type Answer = Readonly<Record<string, unknown>>;
export type ToolResult = {
  readonly content: readonly { readonly type: "text"; readonly text: string }[];
  readonly structuredContent: Answer;
};

/** What the protocol adds to a result: its type, and who made it. */
const frameBytes = 256;
const cutsMax = 50;
const pagesMax = 8;

/** `again` gives the same page with fewer rows; null where the tool must not run twice. Throws 413 `result_too_large`. */
export async function fit(
  answer: Answer,
  bytesMax: number,
  again: ((limit: number) => Promise<Answer>) | null,
): Promise<ToolResult> {
  const room = bytesMax - frameBytes;
  const whole = resultWith(answer, []);
  const bytes = bytesOf(whole);
  if (bytes <= room) return whole;
  if (again !== null && isPage(answer)) return fitPage(answer, bytes, room, again);
  return cutToFit(answer, bytes, room, []);
}

/** The rows of a page that are read first; what they weigh says how many more there is room for. */
const pieceRows = 20;

/**
 * A page is read in pieces, each as long as there is room for, and ends where there is none: rows that would not leave are
 * not read. `read` gives so many rows from a cursor on, or from where the caller's own begins.
 */
export async function fitList(
  read: (limit: number, cursor?: unknown) => Promise<Answer>,
  limit: number,
  bytesMax: number,
): Promise<ToolResult> {
  const room = bytesMax - frameBytes;
  const again = (rows: number) => read(rows);
  let page = await read(Math.min(limit, pieceRows));
  if (limit <= pieceRows || !isPage(page)) return fit(page, bytesMax, again);
  let bytes = bytesOf(resultWith(page, []));
  while (isPage(page) && page.data.length < limit && typeof page.next_cursor === "string") {
    const rows = page.data.length;
    const fitting = Math.floor(((room - bytes) * 0.9 * rows) / bytes);
    const wanted = Math.min(limit - rows, rows * 2, fitting);
    if (wanted < 1) return shortPage(page, limit, bytesMax, again);
    const piece = await read(wanted, page.next_cursor);
    const data = [...page.data, ...(piece.data as readonly unknown[])];
    const longer = { ...page, ...piece, data };
    const longerBytes = bytesOf(resultWith(longer, []));
    if (longerBytes > room) return shortPage(page, limit, bytesMax, again);
    const isEmpty = data.length === rows;
    [page, bytes] = [longer, longerBytes];
    if (isEmpty) break;
  }
  return fit(page, bytesMax, again);
}

/** What fits of it, which says so: how large the whole would be is known by its beginning. */
function shortPage(
  page: PageAnswer,
  limit: number,
  bytesMax: number,
  again: (limit: number) => Promise<Answer>,
): ToolResult | Promise<ToolResult> {
  const bytes = Math.round((Buffer.byteLength(JSON.stringify(page.data)) / page.data.length) * limit);
  const result = resultWith(page, [{ path: "data", bytes }]);
  return bytesOf(result) <= bytesMax - frameBytes
    ? result
    : fitPage(page, bytesOf(result), bytesMax - frameBytes, again);
}

type PageAnswer = Answer & { readonly data: readonly unknown[] };

const isPage = (answer: Answer): answer is PageAnswer =>
  Array.isArray(answer.data) && answer.data.length > 1 && "next_cursor" in answer;

async function fitPage(
  first: PageAnswer,
  firstBytes: number,
  room: number,
  again: (limit: number) => Promise<Answer>,
): Promise<ToolResult> {
  const cuts = [{ path: "data", bytes: Buffer.byteLength(JSON.stringify(first.data)) }];
  let page: Answer = first;
  let [rows, bytes] = [first.data.length, firstBytes];
  for (let pages = 0; rows > 1 && pages < pagesMax; pages++) {
    const share = pages === pagesMax - 1 ? 1 : Math.floor((rows * room * 0.9) / bytes);
    rows = Math.min(Math.max(1, share), rows - 1);
    page = await again(rows);
    const result = resultWith(page, cuts);
    bytes = bytesOf(result);
    if (bytes <= room) return result;
  }
  return cutToFit(page, bytes, room, cuts);
}

/** The longest texts first, and what is left of every one as long as can be; then what lists hold beyond their beginning. */
function cutToFit(answer: Answer, bytes: number, room: number, before: readonly Cut[]): ToolResult {
  const found = cutTexts(answer, bytes, room, before) ?? cutRows(answer, room, before);
  if (found !== null) return found;
  throw new Failure(
    "too_large",
    "result_too_large",
    `The answer has ${bytes} bytes, of which ${room + frameBytes} may leave here, and could not be cut to that. Ask for less.`,
  );
}

/** How long texts may be is reckoned, and looked at once: a large answer is not made twenty times over to find it out. */
function cutTexts(answer: Answer, bytes: number, room: number, before: readonly Cut[]): ToolResult | null {
  const texts = textsIn(answer);
  // What the cuts themselves take to tell.
  let left = room - (bytes - costOf(texts)) - reserveBytes(texts.length);
  for (let tries = 0; tries < triesMax; tries++) {
    const textBytesMax = Math.max(textBytesMin, lengthWithin(texts, left));
    const cutter = new Cutter({ textBytesMax, rowsMax: Number.POSITIVE_INFINITY });
    const { result, excess } = tried(cutter, answer, before, room);
    if (excess <= 0) return result;
    if (textBytesMax === textBytesMin) return null;
    left -= excess * 2;
  }
  return null;
}

const triesMax = 8;

/** Halved until it fits; each try is half the work of the one before. */
function cutRows(answer: Answer, room: number, before: readonly Cut[]): ToolResult | null {
  for (let rowsMax = rowsAtMost; ; rowsMax = Math.floor(rowsMax / 2)) {
    const { result, excess } = tried(
      new Cutter({ textBytesMax: textBytesMin, rowsMax }),
      answer,
      before,
      room,
    );
    if (excess <= 0) return result;
    if (rowsMax === 0) return null;
  }
}

const rowsAtMost = 1_024;
/** Shorter ones are words and codes, which mean nothing when they are cut. */
const textBytesMin = 256;

/** A text that may be cut: its bytes, and those that it takes in a result, where it stands twice and escaped. */
type Text = { readonly bytes: number; readonly cost: number };

const costOf = (texts: readonly Text[]): number => texts.reduce((sum, { cost }) => sum + cost, 0);
const reserveBytes = (texts: number): number => 400 + Math.min(texts, cutsMax) * 80;

function textsIn(value: unknown, found: Text[] = []): Text[] {
  if (typeof value === "string") {
    if (value.length * 3 <= textBytesMin || !isText(value)) return found;
    const once = JSON.stringify(value);
    const bytes = Buffer.byteLength(value);
    if (bytes > textBytesMin)
      found.push({ bytes, cost: Buffer.byteLength(once) + Buffer.byteLength(JSON.stringify(once)) });
    return found;
  }
  if (typeof value === "object" && value !== null)
    for (const inner of Object.values(value)) textsIn(inner, found);
  return found;
}

/** The most bytes that each text may have, for all of them to cost no more than this. */
function lengthWithin(texts: readonly Text[], left: number): number {
  const byLength = [...texts].sort((one, other) => one.bytes - other.bytes);
  let perByte = byLength.reduce((sum, { bytes, cost }) => sum + cost / bytes, 0);
  let remaining = left;
  for (const { bytes, cost } of byLength) {
    if (bytes * perByte > remaining) return Math.floor(remaining / perByte);
    remaining -= cost;
    perByte -= cost / bytes;
  }
  return Number.MAX_SAFE_INTEGER;
}

function tried(
  cutter: Cutter,
  answer: Answer,
  before: readonly Cut[],
  room: number,
): { result: ToolResult; excess: number } {
  const cut = cutter.cut(answer, "") as Answer;
  const result = resultWith(cut, [...before, ...cutter.told()]);
  return { result, excess: bytesOf(result) - room };
}

type Measures = { readonly textBytesMax: number; readonly rowsMax: number };

/** One pass over an answer: a copy with everything that is too long cut. */
class Cutter {
  readonly #measures: Measures;
  readonly #cuts: Cut[] = [];

  constructor(measures: Measures) {
    this.#measures = measures;
  }

  cut(value: unknown, path: string): unknown {
    if (typeof value === "string") return this.#cutText(value, path);
    if (Array.isArray(value)) return this.#cutRows(value, path);
    if (typeof value !== "object" || value === null) return value;
    const at = (key: string) => (path === "" ? key : `${path}.${key}`);
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, this.cut(inner, at(key))]));
  }

  /** The first ones by name, the rest as one. */
  told(): Cut[] {
    if (this.#cuts.length <= cutsMax) return this.#cuts;
    const rest = this.#cuts.slice(cutsMax).reduce((sum, { bytes }) => sum + bytes, 0);
    return [...this.#cuts.slice(0, cutsMax), { path: "*", bytes: rest }];
  }

  #cutText(text: string, path: string): string {
    const { textBytesMax } = this.#measures;
    if (text.length * 3 <= textBytesMax || !isText(text)) return text;
    const bytes = Buffer.byteLength(text);
    if (bytes <= textBytesMax) return text;
    this.#cuts.push({ path, bytes });
    return cutText(text, textBytesMax);
  }

  #cutRows(rows: readonly unknown[], path: string): unknown[] {
    const { rowsMax } = this.#measures;
    const kept = rows.slice(0, rowsMax).map((row, at) => this.cut(row, `${path}.${at}`));
    if (rows.length > kept.length) {
      const bytes = Buffer.byteLength(JSON.stringify(rows.slice(kept.length)));
      this.#cuts.push({ path: `${path}.${kept.length}`, bytes });
    }
    return kept;
  }
}

/** Words and not an address, an id or a cursor, half of which would lead nowhere. */
const isText = (text: string): boolean => text.length > 4_096 || /\s/.test(text);

/** At most so many bytes of UTF-8, and no half character at the end. */
export const cutText = (text: string, bytesMax: number): string =>
  new TextDecoder("utf-8", { ignoreBOM: true }).decode(Buffer.from(text).subarray(0, bytesMax), {
    stream: true,
  });

function resultWith(answer: Answer, cuts: readonly Cut[]): ToolResult {
  if (cuts.length === 0)
    return { content: [{ type: "text", text: JSON.stringify(answer) }], structuredContent: answer };
  const structuredContent = { ...answer, truncated: cuts };
  return {
    content: [
      { type: "text", text: JSON.stringify(structuredContent) },
      { type: "text", text: sentenceOf(cuts) },
    ],
    structuredContent,
  };
}

function sentenceOf(cuts: readonly Cut[]): string {
  const isPageCut = cuts.length === 1 && cuts[0]?.path === "data";
  if (isPageCut)
    return "Truncated: the page was too large, so it holds fewer entries than asked for; next_cursor leads to the rest.";
  const places = cuts.map(({ path, bytes }) => `${path} (${bytes} bytes)`).join(", ");
  return `Truncated: the answer was too large. Only the beginning is here of: ${places}.`;
}

export const bytesOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));
