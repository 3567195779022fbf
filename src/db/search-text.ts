/**
 * What is looked for in full text: words for Postgres' `simple` configuration, and trigrams of titles for what is no
 * whole word. Both are made here, so that every database finds the same, whatever its locale and extensions.
 */
import { type SQL, sql } from "drizzle-orm";

export type SearchText = {
  /** Words with spaces between them, also where the script has none. */
  readonly words: string;
  /** Trigrams, each behind a sign that no word begins with. */
  readonly grams: string[];
};

/** `titles` are also found by a part of a word. */
export function searchText(
  titles: readonly (string | null)[],
  texts: readonly (string | null)[],
): SearchText {
  const given = (part: string | null): part is string => part !== null && part !== "";
  return {
    words: [...titles, ...texts].filter(given).map(wordsOf).join(" "),
    grams: [...new Set(titles.filter(given).flatMap(gramsOf))],
  };
}

/** The column's value: `words` is text, `grams` text[]. */
export const searchVector = (words: SQL, grams: SQL): SQL =>
  sql`(to_tsvector('simple', ${words}) || array_to_tsvector(${grams}))`;

const segmenter = new Intl.Segmenter("th", { granularity: "word" });

const wordsOf = (text: string): string =>
  [...segmenter.segment(text.normalize("NFKC"))].map(({ segment }) => segment).join(" ");

function gramsOf(title: string): string[] {
  const text = title.normalize("NFKC").toLowerCase();
  return Array.from({ length: Math.max(0, text.length - 2) }, (_, at) => `~${text.slice(at, at + 3)}`);
}
