/** A piece of text around what was looked for, cut between characters as people see them (UAX 29). */
const aroundCharacters = { before: 60, after: 140 };
const graphemes = new Intl.Segmenter("th", { granularity: "grapheme" });

/** Null for a text without words. `q` as the caller wrote it; where it does not stand in the text, the beginning is shown. */
export function snippetOf(text: string, q: string): string | null {
  const plain = text.slice(0, 100_000).replace(/\s+/gu, " ").trim();
  if (plain === "") return null;
  const hit = firstHit(plain.toLowerCase(), q.toLowerCase());
  const from = Math.max(0, hit - aroundCharacters.before);
  const to = Math.min(plain.length, hit + aroundCharacters.after);
  const pieces = [...graphemes.segment(plain.slice(from, to))].map(({ segment }) => segment);
  // What was cut through is left out.
  if (from > 0) pieces.shift();
  if (to < plain.length) pieces.pop();
  return `${from > 0 ? "…" : ""}${pieces.join("").trim()}${to < plain.length ? "…" : ""}`;
}

function firstHit(text: string, q: string): number {
  const places = [q, ...q.split(/[^\p{L}\p{N}\p{M}]+/u)]
    .filter((part) => part !== "")
    .map((part) => text.indexOf(part))
    .filter((place) => place >= 0);
  return places.length === 0 ? 0 : Math.min(...places);
}
