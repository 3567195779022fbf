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
  const longest = longestText(answer);
  const byTexts = largest(textBytesMin, longest, (bytesMax) => {
    const cutter = new Cutter({ textBytesMax: bytesMax, rowsMax: Number.POSITIVE_INFINITY });
    return fitting(cutter, answer, before, room);
  });
  const found =
    byTexts ??
    largest(0, rowsAtMost, (rowsMax) => {
      const cutter = new Cutter({ textBytesMax: textBytesMin, rowsMax });
      return fitting(cutter, answer, before, room);
    });
  if (found !== null) return found;
  throw new Failure(
    "too_large",
    "result_too_large",
    `The answer has ${bytes} bytes, of which ${room + frameBytes} may leave here, and could not be cut to that. Ask for less.`,
  );
}

const rowsAtMost = 1_024;
/** Shorter ones are words and codes, which mean nothing when they are cut. */
const textBytesMin = 256;

/** Of the numbers from `low` to `high` the largest that is given something, as long as all smaller ones are, too. */
function largest<T>(low: number, high: number, make: (at: number) => T | null): T | null {
  let found = make(low);
  if (found === null) return null;
  let [lowest, highest] = [low, high];
  while (lowest < highest) {
    const middle = Math.ceil((lowest + highest) / 2);
    const made = make(middle);
    if (made === null) highest = middle - 1;
    else [found, lowest] = [made, middle];
  }
  return found;
}

function fitting(cutter: Cutter, answer: Answer, before: readonly Cut[], room: number): ToolResult | null {
  const cut = cutter.cut(answer, "") as Answer;
  const result = resultWith(cut, [...before, ...cutter.told()]);
  return bytesOf(result) <= room ? result : null;
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

function longestText(value: unknown): number {
  if (typeof value === "string") return isText(value) ? Buffer.byteLength(value) : 0;
  if (typeof value !== "object" || value === null) return 0;
  return Object.values(value).reduce<number>(
    (most, inner) => Math.max(most, longestText(inner)),
    textBytesMin,
  );
}

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
