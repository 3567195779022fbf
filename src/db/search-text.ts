/**
 * What is looked for in full text: words, and trigrams of titles for what is no whole word. Both are cut here and not by
 * Postgres' parser, so that every database finds the same, whatever its version, locale and extensions.
 *
 * A word is letters and digits, folded (NFKC, lower case); scripts without spaces are cut by a dictionary. Words that
 * are written together have places, so that `foo_bar`, a path or `WEB-003` is found as its parts in a row; the humps of
 * `fooBar` share the place of the whole. `C++`, `C#` and emoji are words, other signs are not.
 * However long a text is, what is made of it fits into a tsvector: what is left over is not looked at. Nothing that a
 * caller sends is read as syntax.
 */
import { type SQL, sql } from "drizzle-orm";
import { nfkc } from "../platform/nfkc.ts";

export type SearchText = {
  /** A tsvector's text: for `::tsvector`, never for `to_tsvector`. */
  readonly words: string;
  /** Trigrams, each behind a sign that no word begins with. */
  readonly grams: string[];
};

const wordsMax = 16_000;
/** At three bytes each, they stay below the megabyte that a tsvector holds. */
const charactersMax = 200_000;

/** `titles` are also found by a part of a word. */
export function searchText(
  titles: readonly (string | null)[],
  texts: readonly (string | null)[],
): SearchText {
  const list = listWords();
  for (const text of [...titles, ...texts]) if (text !== null) list.add(text);
  return { words: list.close(), grams: gramsOf(titles) };
}

/** The column's value: `words` is text, `grams` text[]. */
export const searchVector = (words: SQL, grams: SQL): SQL =>
  sql`((${words})::tsvector || array_to_tsvector(${grams}))`;

/** Most words stand alone and get no place: with one, most rows would be a third longer. */
function listWords() {
  let list = "";
  /** A word of which is not known yet whether it stands alone. */
  let held: string | null = null;
  let place = 0;
  let wordsLeft = wordsMax;
  let charactersLeft = charactersMax;
  const giveHeld = (isJoined: boolean): void => {
    if (held === null) return;
    if (isJoined) place += 2;
    list += isJoined ? `'${held}':${place} ` : `'${held}' `;
    held = null;
  };
  const take: Take = (word, humps, isJoined) => {
    giveHeld(isJoined);
    wordsLeft -= 1 + humps.length;
    // Humps are as long as the word.
    charactersLeft -= 2 * word.length;
    if (wordsLeft < 0 || charactersLeft < 0) return false;
    if (!isJoined && humps === noHumps) {
      held = word;
      return true;
    }
    // Two apart, so that the end of one is not in a row with the beginning of the next.
    place += isJoined ? 1 : 2;
    list += `'${word}':${place} `;
    for (const hump of humps) list += `'${hump}':${place} `;
    return true;
  };
  return {
    add(text: string): void {
      if (charactersLeft > 0) eachWord(text.slice(0, charactersMax), take);
    },
    close(): string {
      giveHeld(false);
      return list;
    },
  };
}

const queryWordsMax = 64;

/**
 * Every word of `q`, the last of them also as a beginning unless it is one or two letters; null when there is none. Only the
 * first 64 count. What is written together is looked for in a row.
 */
export function searchQuery(q: string): SQL | null {
  const rows: Word[][] = [];
  let left = queryWordsMax;
  eachWord(q.slice(0, charactersMax), (word, humps, isJoined) => {
    if (isJoined) rows.at(-1)?.push({ word, humps });
    else rows.push([{ word, humps }]);
    return --left > 0;
  });
  if (rows.length === 0) return null;
  const texts = rows.map((words, at) => inARow(words, at === rows.length - 1));
  return sql`${texts.join(" & ")}::tsquery`;
}

/** Half of all there is has a word that begins with these; and `C` is not `C++`. */
const isFewLetters = /^(?:[a-z]{1,2}|[0-9])$/;

type Word = { readonly word: string; readonly humps: readonly string[] };

function inARow(words: readonly Word[], isLast: boolean): string {
  const each = words.map(({ word, humps }, at) => {
    const end = isLast && at === words.length - 1 && !isFewLetters.test(word) ? ":*" : "";
    if (humps.length === 0) return quoted(word) + end;
    const parts = humps.map((hump, no) => quoted(hump) + (no === humps.length - 1 ? end : ""));
    // `<0>`: at the same place.
    return `(${quoted(word)}${end} | (${parts.join(" <0> ")}))`;
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

/** As long as the text. */
const lower = (text: string): string => text.toLowerCase().replaceAll("ς", "σ");

/**
 * NFKC, but for what the dictionaries of Thai and Lao know as one sign; without what only dresses an emoji; with an `İ`
 * whose lower case is one character.
 */
const composed = (text: string): string =>
  isAscii(text)
    ? text
    : nfkc(text.toWellFormed())
        .replaceAll("\u0e4d\u0e32", "\u0e33")
        .replaceAll("\u0ecd\u0eb2", "\u0eb3")
        .replace(/[\ufe0e\ufe0f\u20e3]/g, "")
        .replaceAll("İ", "I");

const gramSign = "~";
const gramsMax = 2_000;

/** Within words: those with a space in them would double the number and tell little. */
function gramsOf(texts: readonly (string | null)[]): string[] {
  const grams: string[] = [];
  for (const text of texts) {
    const even = folded((text ?? "").slice(0, gramsMax));
    const letters = isAscii(even) ? even : [...even];
    let run = 0;
    for (let at = 0; at < letters.length && grams.length < gramsMax; at++) {
      run = (letters[at] as string) > " " ? run + 1 : 0;
      if (run < 3) continue;
      const gram = letters.slice(at - 2, at + 1);
      grams.push(gramSign + (typeof gram === "string" ? gram : gram.join("")));
    }
  }
  return grams;
}

/** Gets each word, folded, with its humps and whether it is written together with the one before; false ends it. */
type Take = (word: string, humps: readonly string[], isJoined: boolean) => boolean;

/**
 * One pass over the characters: a thousand tasks are half a million, and regular expressions take five times as long.
 * What they are needed for is left to `eachOfForeign`.
 */
function eachWord(text: string, take: Take): void {
  const even = composed(text);
  const small = even.toLowerCase();
  let start = -1;
  let shape = 0;
  let isJoined = false;
  let before: number = kinds.gap;
  let earlier: number = kinds.gap;
  for (let at = 0; at <= even.length; at++) {
    const kind = kindAt(even, at);
    if (kind >= kinds.small) {
      if (start < 0) {
        start = at;
        shape = 0;
        before = earlier = kinds.gap;
      }
      if (kind === kinds.foreign) shape = kinds.foreign;
      else if (shape === 0 && isHump(earlier, before, kind)) shape = 1;
      earlier = before;
      before = kind;
      continue;
    }
    if (start >= 0) {
      const end = at + tailLength(even, at);
      const goesOn =
        shape === 0
          ? take(cut(small.slice(start, end)), noHumps, isJoined)
          : shape === kinds.foreign
            ? eachOfForeign(even.slice(start, end), isJoined, take)
            : takeWhole(even.slice(start, end), isJoined, take);
      if (!goesOn) return;
      start = -1;
      isJoined = true;
    }
    if (kind === kinds.gap) isJoined = false;
  }
}

/** A gap parts words, a sign joins them. */
const kinds = { gap: 0, sign: 1, small: 2, big: 3, digit: 4, foreign: 5 } as const;
const kindsOfAscii = Uint8Array.from({ length: 128 }, (_, code) => {
  const character = String.fromCharCode(code);
  if (/[a-z]/.test(character)) return kinds.small;
  if (/[A-Z]/.test(character)) return kinds.big;
  if (/[0-9]/.test(character)) return kinds.digit;
  return /[\s\0,;]/.test(character) ? kinds.gap : kinds.sign;
});

const kindAt = (text: string, at: number): number =>
  at < text.length ? (kindsOfAscii[text.charCodeAt(at)] ?? kinds.foreign) : kinds.gap;

/** `fooBar`, and `FOOBar` at its second-last big letter. */
const isHump = (earlier: number, before: number, kind: number): boolean =>
  (kind === kinds.big && before === kinds.small) ||
  (kind === kinds.small && before === kinds.big && earlier === kinds.big);

/** Of `C++`, and of `C#` unless something follows, as in the address of a heading. */
function tailLength(text: string, at: number): number {
  if (text[at] === "+") return text[at + 1] === "+" ? 2 : 0;
  return text[at] === "#" && kindAt(text, at + 1) < kinds.small ? 1 : 0;
}

const wordMax = 64;
const cut = (word: string): string => (word.length <= wordMax ? word : word.slice(0, wordMax).toWellFormed());

const noHumps: readonly string[] = [];
const humps = /(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})/u;

const words = /[\p{L}\p{N}][\p{L}\p{N}\p{M}]*(?:\+\+|#)?|\p{Extended_Pictographic}|\p{RI}{2}/gu;
const undivided = ["Thai", "Laoo", "Khmr", "Mymr", "Hani", "Hira", "Kana"]
  .map((name) => `\\p{scx=${name}}`)
  .join("");
const isUndivided = new RegExp(`[${undivided}]`, "u");
const scripts = new RegExp(`[${undivided}\\p{M}]+|[^${undivided}\\p{M}]+`, "gu");
// Made when first needed: it takes longer than all the rest of a start.
let dictionary: Intl.Segmenter | undefined;

function takeWhole(word: string, isJoined: boolean, take: Take): boolean {
  const short = cut(word);
  const parts = short.split(humps);
  return take(lower(short), parts.length > 1 ? parts.map(lower) : noHumps, isJoined);
}

/** The words of what holds more than ASCII. */
function eachOfForeign(run: string, isJoined: boolean, take: Take): boolean {
  dictionary ??= new Intl.Segmenter("th", { granularity: "word" });
  const segmenter = dictionary;
  let joined = isJoined;
  const each = (word: string): boolean => {
    const goesOn = takeWhole(word, joined, take);
    joined = true;
    return goesOn;
  };
  // Script by script, because the dictionaries stumble over foreign letters.
  return (run.match(words) ?? []).every((word) => {
    if (!isUndivided.test(word)) return each(word);
    return (word.match(scripts) ?? []).every((part) =>
      isUndivided.test(part)
        ? [...segmenter.segment(part)].every(({ segment }) => each(segment))
        : each(part),
    );
  });
}
