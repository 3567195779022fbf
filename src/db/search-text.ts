/**
 * What is looked for in full text: words, and trigrams of titles for what is no whole word. Both are cut here and not by
 * Postgres' parser, so that every database finds the same, whatever its version, locale and extensions.
 *
 * A word is letters and digits, folded (NFKC, lower case); scripts without spaces are cut by a dictionary. Words keep
 * their places, so that `foo_bar`, a path or `WEB-003` is found as its parts in a row; the humps of `fooBar` share the
 * place of the whole. `C++`, `C#` and emoji are words, other signs are not.
 * However long a text is, what is made of it fits into a tsvector: what is left over is not looked at. Nothing that a
 * caller sends is read as syntax: each word and each trigram is quoted.
 */
import { type SQL, sql } from "drizzle-orm";

export type SearchText = {
  /** A tsvector's text: each word with its places. */
  readonly words: string;
  /** Trigrams, each behind a sign that no word begins with. */
  readonly grams: string[];
};

/** 16,383 is the last place that a tsvector knows. */
const wordsMax = 16_000;
/** At three bytes each, they stay below the megabyte that a tsvector holds. */
const charactersMax = 200_000;

/** `titles` are also found by a part of a word. */
export function searchText(
  titles: readonly (string | null)[],
  texts: readonly (string | null)[],
): SearchText {
  let words = "";
  let place = 0;
  let wordsLeft = wordsMax;
  let charactersLeft = charactersMax;
  const give = (word: string): boolean => {
    wordsLeft--;
    charactersLeft -= word.length;
    if (wordsLeft < 0 || charactersLeft < 0) return false;
    words += `'${word}':${place} `;
    return true;
  };
  const take = (word: string, humps: readonly string[]): boolean => {
    place++;
    return give(word) && (humps === noHumps || humps.every(give));
  };
  for (const text of [...titles, ...texts])
    if (text !== null && wordsLeft > 0 && charactersLeft > 0) eachWord(text.slice(0, charactersMax), take);
  return { words, grams: gramsOf(titles) };
}

/** The column's value: `words` is text, `grams` text[]. */
export const searchVector = (words: SQL, grams: SQL): SQL =>
  sql`((${words})::tsvector || array_to_tsvector(${grams}))`;

const queryWordsMax = 64;

/**
 * Every word of `q`, the last of them also as a beginning; null when there is none. Only the first 64 count. What is
 * written together is looked for in a row.
 */
export function searchQuery(q: string): SQL | null {
  const chunks: Word[][] = [];
  let left = queryWordsMax;
  for (const chunk of q.slice(0, charactersMax).split(/[\s,;]+/)) {
    const words: Word[] = [];
    eachWord(chunk, (word, humps) => left-- > 0 && words.push({ word, humps }) > 0);
    if (words.length > 0) chunks.push(words);
    if (left <= 0) break;
  }
  if (chunks.length === 0) return null;
  const rows = chunks.map((words, at) => inARow(words, at === chunks.length - 1));
  return sql`${rows.join(" & ")}::tsquery`;
}

type Word = { readonly word: string; readonly humps: readonly string[] };

function inARow(words: readonly Word[], isLast: boolean): string {
  const each = words.map(({ word, humps }, at) => {
    const end = isLast && at === words.length - 1 ? ":*" : "";
    const whole = quoted(word) + end;
    if (humps.length === 0) return whole;
    const parts = humps.map((hump, no) => quoted(hump) + (no === humps.length - 1 ? end : ""));
    // At the same place, whatever their order there.
    return `(${whole} | (${parts.join(" <0> ")}))`;
  });
  return `(${each.join(" <-> ")})`;
}

/** Every trigram of `q`; null when it has none. What it finds is still to be compared with `q`. */
export function gramQuery(q: string): SQL | null {
  const grams = gramsOf([q]);
  return grams.length === 0 ? null : sql`${grams.map(quoted).join(" & ")}::tsquery`;
}

const quoted = (lexeme: string): string => `'${lexeme.replace(/['\\]/g, "$&$&")}'`;

/** Text as it is compared: NFKC, lower case. */
export const folded = (text: string): string => lower(composed(text));

const isAscii = (text: string): boolean => !/[^\0-\x7f]/.test(text);

/** NFKC takes the Thai and Lao `am` apart, which dictionaries know whole. Lower case of `İ` would be two characters. */
const composed = (text: string): string =>
  isAscii(text)
    ? text
    : text
        .toWellFormed()
        .normalize("NFKC")
        .replaceAll("\u0e4d\u0e32", "\u0e33")
        .replaceAll("\u0ecd\u0eb2", "\u0eb3")
        .replaceAll("İ", "I");

const lower = (text: string): string => text.toLowerCase().replaceAll("ς", "σ");

const gramSign = "~";
const gramsMax = 2_000;

/** Within words: one with a space in it would cost as much as another and tell less. */
function gramsOf(texts: readonly (string | null)[]): string[] {
  const grams: string[] = [];
  for (const text of texts)
    for (const run of folded((text ?? "").slice(0, gramsMax)).split(/[\s\0]+/)) {
      const signs = isAscii(run) ? run : [...run];
      for (let at = 2; at < signs.length && grams.length < gramsMax; at++)
        grams.push(`${gramSign}${signs[at - 2]}${signs[at - 1]}${signs[at]}`);
    }
  return grams;
}

/** Gets each word, folded, with its humps; says whether it wants another. */
type Take = (word: string, humps: readonly string[]) => boolean;

/**
 * One pass over the characters: a thousand tasks are half a million, and regular expressions take five times as long.
 * What they are needed for is left to `eachOfForeign`.
 */
function eachWord(text: string, take: Take): void {
  const even = composed(text);
  const small = lower(even);
  let start = -1;
  let isPlain = true;
  let before: number = kinds.sign;
  let earlier: number = kinds.sign;
  for (let at = 0; at <= even.length; at++) {
    const kind = kindAt(even, at);
    if (kind !== kinds.sign) {
      if (start < 0) {
        start = at;
        isPlain = true;
        before = earlier = kinds.sign;
      }
      if (kind === kinds.foreign || isHump(earlier, before, kind)) isPlain = false;
      earlier = before;
      before = kind;
    } else if (start >= 0) {
      const end = at + tailLength(even, at);
      const wantsMore = isPlain
        ? take(cut(small.slice(start, end)), noHumps)
        : eachOfForeign(even.slice(start, end), take);
      if (!wantsMore) return;
      start = -1;
    }
  }
}

const kinds = { sign: 0, small: 1, big: 2, digit: 3, foreign: 4 } as const;
const kindsOfAscii = Uint8Array.from({ length: 128 }, (_, code) => {
  const character = String.fromCharCode(code);
  if (/[a-z]/.test(character)) return kinds.small;
  if (/[A-Z]/.test(character)) return kinds.big;
  return /[0-9]/.test(character) ? kinds.digit : kinds.sign;
});

const kindAt = (text: string, at: number): number =>
  at < text.length ? (kindsOfAscii[text.charCodeAt(at)] ?? kinds.foreign) : kinds.sign;

/** `fooBar`, and `FOOBar` at its second-last big letter. */
const isHump = (earlier: number, before: number, kind: number): boolean =>
  (kind === kinds.big && before === kinds.small) ||
  (kind === kinds.small && before === kinds.big && earlier === kinds.big);

/** Of `C++`, and of `C#` unless something follows, as in the address of a heading. */
function tailLength(text: string, at: number): number {
  if (text[at] === "+") return text[at + 1] === "+" ? 2 : 0;
  return text[at] === "#" && kindAt(text, at + 1) === kinds.sign ? 1 : 0;
}

const wordMax = 64;
const cut = (word: string): string => (word.length <= wordMax ? word : word.slice(0, wordMax).toWellFormed());

const noHumps: readonly string[] = [];
const humps = /(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})/u;

const words = /[\p{L}\p{N}][\p{L}\p{N}\p{M}]*(?:\+\+|#)?|\p{Extended_Pictographic}|\p{RI}{2}/gu;
const undivided =
  "\\p{scx=Thai}\\p{scx=Laoo}\\p{scx=Khmr}\\p{scx=Mymr}\\p{scx=Hani}\\p{scx=Hira}\\p{scx=Kana}";
const isUndivided = new RegExp(`[${undivided}]`, "u");
const runs = new RegExp(`[${undivided}\\p{M}]+|[^${undivided}\\p{M}]+`, "gu");
const dictionaries = new Intl.Segmenter("th", { granularity: "word" });

/** The words of what holds more than ASCII, or humps. Script by script: dictionaries stumble over foreign letters. */
function eachOfForeign(run: string, take: Take): boolean {
  return (run.match(words) ?? []).every((word) =>
    isUndivided.test(word)
      ? (word.match(runs) ?? []).every((part) => eachOfScript(part, take))
      : takeWhole(word, take),
  );
}

function eachOfScript(part: string, take: Take): boolean {
  if (!isUndivided.test(part)) return takeWhole(part, take);
  for (const { segment } of dictionaries.segment(part)) if (!takeWhole(segment, take)) return false;
  return true;
}

function takeWhole(word: string, take: Take): boolean {
  const short = cut(word);
  const parts = short.split(humps);
  return take(lower(short), parts.length > 1 ? parts.map(lower) : noHumps);
}
