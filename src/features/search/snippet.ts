/**
 * A short piece of text around the first hit, on one line, cut between characters as people see them.
 */
import { folded } from "../../db/search-text.ts";

const before = 50;
const after = 130;
/** No character of any script is longer; what is may be cut. */
const characterMax = 64;
/** Of a longer query the first words will do. */
const soughtMax = 16;

/**
 * `sought` is folded. Of the texts, the first that has one of them is shown, at its first hit; else the beginning of the
 * first that has anything. Null when none has.
 */
export function snippetOf(texts: readonly string[], sought: readonly string[]): string | null {
  for (const text of texts) {
    // As it was written, if the hit is there; as it was compared where that is what was found, such as full-width digits.
    for (const shown of [text, folded(text)]) {
      const at = firstHit(shown, sought.slice(0, soughtMax));
      if (at !== null) return pieceAt(shown, at);
    }
  }
  const first = texts.find((text) => text.trim() !== "");
  return first === undefined ? null : pieceAt(first.trimStart(), 0);
}

function firstHit(text: string, sought: readonly string[]): number | null {
  // As long as the text: a lower-case `İ` would be two characters.
  const lower = text.replaceAll("İ", "I").toLowerCase();
  const hits = sought.map((word) => placeOf(lower, word)).filter((at) => at >= 0);
  return hits.length === 0 ? null : Math.min(...hits);
}

/** Where the word begins, or else where it stands within another; -1 when it is not there. */
function placeOf(text: string, word: string): number {
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1))
    if (!letter.test(text[at - 1] ?? "") || !letter.test(word[0] ?? "")) return at;
  return text.indexOf(word);
}

const letter = /[a-z0-9]/;

function pieceAt(text: string, hit: number): string {
  const start = Math.max(0, hit - before);
  const end = Math.min(text.length, hit + after);
  const margin = Math.max(0, start - characterMax);
  segmenter ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  let piece = "";
  for (const { segment, index } of segmenter.segment(text.slice(margin, end + characterMax))) {
    const at = margin + index;
    if (at >= start && at + segment.length <= end) piece += segment;
  }
  const line = piece.replace(/\s+/g, " ").trim();
  return `${start > 0 ? "…" : ""}${line}${end < text.length ? "…" : ""}`;
}

// Made when first needed: that takes as long as a hundred snippets.
let segmenter: Intl.Segmenter | undefined;
