/**
 * One text of a call's arguments, and what other programs might take it for. Everything is worked out when it is first
 * asked for, and once: a thousand rules about one text of a megabyte must not cost a thousand times what one costs.
 */
import { hasLongMarkRun, nfkc } from "../../platform/nfkc.ts";

export class TextReading {
  readonly text: string;
  #loose: string | null = null;
  #places: readonly string[] | null = null;
  #href: string | null | undefined;
  #numbers: readonly number[] | null = null;
  #marks: Marks | null = null;
  #characters: number | null = null;

  constructor(text: string) {
    this.text = text;
  }

  /** Without what readers trim, ignore or take for another spelling of the same. */
  get loose(): string {
    this.#loose ??= looseOf(this.text);
    return this.#loose;
  }

  /** What is the same place to one server or another, in one spelling each; they all end with a slash. */
  get places(): readonly string[] {
    this.#places ??= placesOf(this.text, this.loose).map((place) => `${place}/`);
    return this.#places;
  }

  /** As whoever opens it as an address reads it; null for what is none. */
  get href(): string | null {
    if (this.#href === undefined) this.#href = URL.parse(this.text)?.href ?? null;
    return this.#href;
  }

  /** What it may be taken for, where a number should be. */
  get numbers(): readonly number[] {
    this.#numbers ??= numbersIn(this.loose);
    return this.#numbers;
  }

  get marks(): Marks {
    this.#marks ??= marksOf(this.text);
    return this.#marks;
  }

  /** At the least: whoever counts other than by code points counts more of them. */
  get characters(): number {
    if (this.#characters === null) {
      this.#characters = 0;
      for (const _ of this.text) this.#characters++;
    }
    return this.#characters;
  }
}

/** What may make a text lead elsewhere than it says. */
type Marks = {
  /** It has more accents on a letter than any script, and nobody knows what others make of it. */
  readonly isOverloaded: boolean;
  /** It goes up or stays where it is on the way, hides a slash or a dot, or ends before it seems to. */
  readonly isTwisted: boolean;
  readonly hasBackslash: boolean;
  /** Other than behind a scheme: joined to a folder, what follows may be taken for a whole path. */
  readonly hasDoubleSlash: boolean;
};

const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//;

function marksOf(given: string): Marks {
  // Look-alikes first: U+2025 is two dots to whoever normalizes, U+FF0F a slash.
  const text = nfkc(given);
  const segments = text.split(/[\\/]/);
  const isOverloaded = hasLongMarkRun(given);
  return {
    isOverloaded,
    isTwisted:
      isOverloaded ||
      escapedSigns.test(text) ||
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this looks for
      /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/.test(text) ||
      segments.some(isDots),
    hasBackslash: text.includes("\\"),
    hasDoubleSlash: text.replace(scheme, "").includes("//"),
  };
}

/** Dots, slashes, percent signs and NUL, also as UTF-8 that is longer than it need be, and as IIS reads them. */
const escapedSigns = /%(?:2e|2f|5c|25|00|u[0-9a-f]|c[01]|e0%[89]|f0%8)/i;

/** Longer segments of nothing but dots and blanks are no name that any file system takes. */
const dotsCharsMax = 4_096;

/** To others a name ends with a query, a fragment, a parameter (Tomcat, Spring), an escape, a stream (NTFS). */
function isDots(segment: string): boolean {
  const end = segment.slice(0, dotsCharsMax + 1).search(/[?#;%:]/);
  const name = end === -1 ? segment : segment.slice(0, end);
  return name.length <= dotsCharsMax && /^\.+$/.test(name.replaceAll(/[\p{C}\p{Z}]/gu, ""));
}

export const looseOf = (text: string): string =>
  nfkc(text)
    .replaceAll(/[\p{C}\p{Z}]/gu, "")
    // Up first: ß and the dotless i are letters of their own only in small.
    .toUpperCase()
    .toLowerCase();

/** Itself, without escapes, and, for an address, as programs read it before they go there. */
export function placesOf(text: string, loose: string): string[] {
  const spellings = [loose, ...addressesOf(text), ...addressesOf(loose)];
  return [...new Set(spellings.flatMap((spelling) => [spelling, unescaped(spelling)]).map(placeOf))];
}

const placeOf = (text: string): string => pathOf(looseOf(text));

/**
 * Of what is the same address to whoever opens it one spelling, and one of the place alone. Left out: who asks, the dot
 * that ends a host, parameters of segments, which some servers do not look at.
 */
function addressesOf(text: string): string[] {
  if (!/^[\p{C}\p{Z}]*[A-Za-z][A-Za-z0-9+.-]*:/u.test(text)) return [];
  const url = URL.parse(text);
  if (url === null) return [];
  const { protocol, host, pathname, search, hash } = url;
  // Whatever host it names, a file is this machine's.
  const at = protocol === "file:" ? "" : host.replace(/\.(?=:\d+$|$)/, "").replace(mappedAddress, dotted);
  const place = `${protocol}//${at}${pathname}`;
  return [place + search + hash, place.replaceAll(/;[^/]*/g, "")];
}

/** An IPv4 address in IPv6's clothes. */
const mappedAddress = /^\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]/;

const dotted = (_all: string, ...halves: string[]): string =>
  halves
    .slice(0, 2)
    .map((half) => Number.parseInt(half, 16))
    .flatMap((half) => [half >> 8, half & 255])
    .join(".");

/** Where not all of a row of escapes is UTF-8, what is ASCII of it. */
function unescaped(text: string): string {
  if (!text.includes("%")) return text;
  return text.replaceAll(/(?:%[0-9a-f]{2})+/gi, (row) => {
    try {
      return decodeURIComponent(row);
    } catch {
      return row.replaceAll(/%[2-7][0-9a-f]/gi, (one) =>
        String.fromCharCode(Number.parseInt(one.slice(1), 16)),
      );
    }
  });
}

/** `/docs` and `docs` are one place where a root is a folder. */
const pathOf = (loose: string): string =>
  loose
    .replaceAll("\\", "/")
    .replace(/^file:/, "")
    .replaceAll(/\/+/g, "/")
    .replace(/^\//, "");

/**
 * Which numbers a text may be taken for: by those who read it whole, by those who stop where it ends to be one, by those who
 * know other digits, signs between thousands, or a zero in front as octal.
 */
export function numbersIn(loose: string): number[] {
  if (loose === "") return [];
  const plain = loose.replaceAll(/[^\P{Nd}0-9]/gu, asciiDigit).replaceAll(/(?<=\d)[_,'\u2019](?=\d)/g, "");
  const numbers = [loose, plain].flatMap((text) => [Number(text), Number.parseFloat(text)]);
  const [, sign, digits] = /^([+-]?)(0[0-7]+|0[xob][0-9a-f]+)$/.exec(plain) ?? [];
  if (digits !== undefined) {
    const size = /^0[0-7]/.test(digits) ? Number.parseInt(digits, 8) : Number(digits);
    numbers.push(sign === "-" ? -size : size);
  }
  return [...new Set(numbers.filter((number) => !Number.isNaN(number)))];
}

/** Every script's ten stand in a row. */
function asciiDigit(digit: string): string {
  const code = digit.codePointAt(0) ?? 0;
  let value = 0;
  while (value < 9 && /^\p{Nd}$/u.test(String.fromCodePoint(code - value - 1))) value++;
  return String(value);
}
