/**
 * One text of a call's arguments, and what other programs might take it for. Everything is worked out when it is first
 * asked for, and once: a thousand rules about one text of a megabyte must not cost a thousand times what one costs.
 */
export class TextReading {
  readonly text: string;
  #loose: string | null = null;
  #path: string | null = null;
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

  /** One spelling of what is the same place to one server or another. */
  get path(): string {
    this.#path ??= `${pathOf(this.loose)}/`;
    return this.#path;
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
  /** It goes up or stays where it is on the way, hides a slash or a dot, or ends before it seems to. */
  readonly isTwisted: boolean;
  readonly hasBackslash: boolean;
  /** Other than behind a scheme: joined to a folder, what follows may be taken for a whole path. */
  readonly hasDoubleSlash: boolean;
};

const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//;

function marksOf(given: string): Marks {
  // Look-alikes first: U+2025 is two dots to whoever normalizes, U+FF0F a slash.
  const text = given.normalize("NFKC");
  const segments = text.split(/[\\/]/);
  return {
    isTwisted:
      /%(?:2e|2f|5c|25|00)/i.test(text) ||
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this looks for
      /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/.test(text) ||
      segments.some((segment) => segment.length <= dotsCharsMax && isDots(segment)),
    hasBackslash: text.includes("\\"),
    hasDoubleSlash: text.replace(scheme, "").includes("//"),
  };
}

/** Longer segments of nothing but dots and blanks are no name that any file system takes. */
const dotsCharsMax = 4_096;
const isDots = (segment: string): boolean => /^\.+$/.test(segment.replaceAll(/[\p{C}\p{Z}]/gu, ""));

export const looseOf = (text: string): string =>
  text
    .normalize("NFKC")
    .replaceAll(/[\p{C}\p{Z}]/gu, "")
    .toLowerCase();

/** `/docs` and `docs` are one place where a root is a folder. */
export const pathOf = (loose: string): string =>
  loose
    .replaceAll("\\", "/")
    .replace(/^file:/, "")
    .replaceAll(/\/+/g, "/")
    .replace(/^\//, "");
