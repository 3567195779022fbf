/**
 * Where a text stops being JSON. The runtime's parser says what is wrong, but not where.
 *
 * It walks by hand and keeps its own stack, so that neither depth nor length can exhaust anything.
 */
export function breakOf(text: string): { line: number; column: number } {
  const before = text.slice(0, new Walk(text).end()).split("\n");
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const word = /true|false|null/y;
const space = /[ \t\r\n]*/y;
const escaped = /\\(?:["\\/bfnrt]|u[\da-fA-F]{4})/y;

class Walk {
  #at = 0;
  readonly #open: string[] = [];
  /** A container has just begun. */
  #isFresh = false;

  constructor(private readonly text: string) {}

  /** The first sign that cannot stand where it stands; the length of a text that is whole. */
  end(): number {
    let isRead = this.#value();
    while (isRead && this.#open.length > 0) isRead = this.#isClosed() || (this.#isNext() && this.#entry());
    // Not after a break: it may be the white space that is wrong.
    if (isRead) this.#take(space);
    return this.#at;
  }

  /** A plain value, or the beginning of a container. */
  #value(): boolean {
    this.#take(space);
    const sign = this.text[this.#at];
    if (sign === '"') return this.#string();
    if (sign !== "{" && sign !== "[") return this.#take(number) || this.#take(word);
    this.#at++;
    this.#open.push(sign);
    this.#isFresh = true;
    return true;
  }

  #isClosed(): boolean {
    this.#take(space);
    if (this.text[this.#at] !== (this.#open.at(-1) === "{" ? "}" : "]")) return false;
    this.#at++;
    this.#open.pop();
    this.#isFresh = false;
    return true;
  }

  /** Only the first entry stands without a comma before it. */
  #isNext(): boolean {
    const isFresh = this.#isFresh;
    this.#isFresh = false;
    if (isFresh) return true;
    if (this.text[this.#at] !== ",") return false;
    this.#at++;
    return true;
  }

  #entry(): boolean {
    if (this.#open.at(-1) === "[") return this.#value();
    this.#take(space);
    if (!this.#string()) return false;
    this.#take(space);
    if (this.text[this.#at] !== ":") return false;
    this.#at++;
    return this.#value();
  }

  #string(): boolean {
    if (this.text[this.#at] !== '"') return false;
    this.#at++;
    for (let sign = this.text[this.#at]; sign !== '"'; sign = this.text[this.#at]) {
      if (sign === undefined || sign < " ") return false;
      if (sign !== "\\") this.#at++;
      else if (!this.#take(escaped)) return false;
    }
    this.#at++;
    return true;
  }

  #take(form: RegExp): boolean {
    form.lastIndex = this.#at;
    const isThere = form.test(this.text);
    if (isThere) this.#at = form.lastIndex;
    return isThere;
  }
}
