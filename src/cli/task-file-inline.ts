/**
 * What stands inside one line of Markdown: code spans, links, emphasis around the whole.
 *
 * Each function reads its line once, whatever stands there. Letters are never changed; only marks are taken off.
 */
type Span = {
  /** The first sign of the opening backticks, and the one behind the closing ones. */
  readonly start: number;
  readonly end: number;
  readonly code: string;
};

/** Pairs of backtick runs of equal length (CommonMark 6.1). */
function codeSpans(text: string): Span[] {
  if (!text.includes("`")) return [];
  const runs = [...text.matchAll(/`+/g)].map(({ index, 0: { length } }) => ({ index, length }));
  const spans: Span[] = [];
  const closing = closingRuns(runs.map(({ length }) => length));
  for (let at = 0; at < runs.length; at++) {
    const open = runs[at];
    const end = closing[at];
    const close = end === undefined ? undefined : runs[end];
    if (open === undefined || end === undefined || close === undefined) continue;
    const code = text.slice(open.index + open.length, close.index);
    spans.push({ start: open.index, end: close.index + close.length, code: code.trim() });
    at = end;
  }
  return spans;
}

/** For each run, the next one of its length; found from behind, since a search for each would be quadratic. */
function closingRuns(lengths: number[]): (number | undefined)[] {
  const next = new Map<number, number>();
  const closing: (number | undefined)[] = new Array(lengths.length);
  for (let at = lengths.length - 1; at >= 0; at--) {
    const length = lengths[at] ?? 0;
    closing[at] = next.get(length);
    next.set(length, at);
  }
  return closing;
}

/** Finds the next place where `wanted` stands outside of code, or -1; asked with ever greater `from`. */
export function outsideCode(text: string, wanted: string): (from: number) => number {
  const spans = codeSpans(text);
  let next = 0;
  return (from) => {
    let at = text.indexOf(wanted, from);
    for (let span = spans[next]; at >= 0 && span !== undefined && span.start <= at; span = spans[++next])
      if (at < span.end) at = text.indexOf(wanted, span.end);
    return at;
  };
}

/** `](target)` and `](target "title")`, with one pair of brackets inside the target. */
const target = /\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+"[^"]*")?\)/y;

/** `[text](target)` and `![text](target)` become `text`, outside of code. */
export function withoutLinks(text: string): string {
  if (!text.includes("](")) return text;
  const spans = codeSpans(text);
  const open: number[] = [];
  const cuts: [number, number][] = [];
  for (let at = 0, span = 0; at < text.length; at++) {
    if (at === spans[span]?.start) {
      at = (spans[span]?.end ?? at) - 1;
      span++;
    } else if (text[at] === "[") open.push(at);
    else if (text[at] === "]") {
      const start = open.pop();
      target.lastIndex = at;
      if (start === undefined || !target.test(text)) continue;
      cuts.push([text[start - 1] === "!" ? start - 1 : start, start + 1], [at, target.lastIndex]);
      at = target.lastIndex - 1;
    }
  }
  return cutOut(text, cuts);
}

function cutOut(text: string, cuts: [number, number][]): string {
  const kept: string[] = [];
  let at = 0;
  for (const [start, end] of cuts.sort(([a], [b]) => a - b)) {
    kept.push(text.slice(at, start));
    at = Math.max(at, end);
  }
  return kept.join("") + text.slice(at);
}

const around = ["**", "__", "~~", "*", "_", "`"];

/** Takes off one pair of marks that stands around the whole text and nowhere inside. */
export function unwrap(text: string): { text: string; mark: string } | null {
  for (const mark of around) {
    if (!text.startsWith(mark) || !text.endsWith(mark) || text.length <= 2 * mark.length) continue;
    const inner = text.slice(mark.length, -mark.length);
    if (!inner.includes(mark) && inner.trim() !== "") return { text: inner.trim(), mark };
  }
  return null;
}

/** Paths or names: each in backticks, or else separated by commas, with remarks behind them left out. */
export function listed(text: string): string[] {
  const codes = codeSpans(text).map(({ code }) => code);
  const parts =
    codes.length > 0
      ? codes
      : withoutLinks(text)
          .split(/[,;、]/)
          .map(withoutRemark);
  return parts.filter((part) => part !== "" && !/^(?:-|—|none|n\/a|tbd|ไม่มี)$/i.test(part));
}

/** One name: in backticks, or the whole text. */
export function single(text: string): string | null {
  const bare = withoutLinks(text).trim();
  return codeSpans(text)[0]?.code || (unwrap(bare)?.text ?? bare) || null;
}

/** `src/a.ts (new)` and `src/a.ts — new` are `src/a.ts`. */
function withoutRemark(part: string): string {
  const remark = part.search(/\s(?:[(—–]|-\s)/);
  const bare = (remark < 0 ? part : part.slice(0, remark)).trim();
  return unwrap(bare)?.text ?? bare;
}
