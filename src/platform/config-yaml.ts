/**
 * A YAML page read by hand, so that every mistake can name its line: parsed by the library, walked here.
 *
 * Only maps, lists and plain values are taken: no aliases, tags or repeated keys. `${NAME}` in a text comes from the
 * environment. What is wrong is said with the key's path; a value is repeated only where it cannot be a secret.
 */
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type Scalar } from "yaml";
import type { Parsed } from "./config-values.ts";
import { hint } from "./nearest.ts";

/** One value of the page: where it stands, and what it is. */
export type Entry = {
  readonly path: string;
  readonly line: number;
  readonly node: Node | null;
};

export type Page = {
  readonly mistakes: string[];
  /** Null when the page is empty, or too broken to be read on. */
  readonly root: Entry | null;
  wrong(entry: Entry, sentence: string): void;
  /** A map with free names, in their order. */
  entries(entry: Entry): [string, Entry][];
  /** A map with known names; others are mistakes. `later` are those that this version does not have. */
  fields<K extends string>(
    entry: Entry,
    known: readonly K[],
    later?: readonly string[],
  ): { [N in K]?: Entry };
  /** What names nothing is a mistake, except where nothing is a thing to say. */
  items(entry: Entry, empty?: "refused" | "taken"): Entry[];
  text(entry: Entry): string | null;
  /** `beside` is what the caller would also take, for the sentence of a mistake. */
  integer(entry: Entry, min: number, max: number, beside?: string): number | null;
  flag(entry: Entry): boolean | null;
  isNull(entry: Entry): boolean;
  /** A plain number as it is written, for exact decimals. */
  decimalSource(entry: Entry): string | null;
};

/** `shown` is the file's name in mistakes; `lookup` finds the value of `${NAME}`, or null when it is not set. */
export function openPage(
  source: string,
  shown: string,
  lookup: (name: string) => Parsed<string> | null,
): Page {
  const lines = new LineCounter();
  const document = parseDocument(source, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
  });
  const mistakes: string[] = [];
  const lineOf = (offset: number | undefined) => lines.linePos(offset ?? 0).line;
  for (const error of [...document.errors, ...document.warnings])
    mistakes.push(`${shown}:${lineOf(error.pos[0])}: ${sentences[error.code] ?? "not valid YAML"}`);
  const wrong = (entry: Entry, sentence: string) =>
    void mistakes.push(`${shown}:${entry.line}: ${entry.path === "" ? "" : `${entry.path}: `}${sentence}`);
  const walk = new Walk(wrong, lineOf, lookup);
  const broken = document.errors.some((error) => error.code !== "DUPLICATE_KEY");
  const root = broken || document.contents === null ? null : { path: "", line: 1, node: document.contents };
  return {
    mistakes,
    root,
    wrong,
    entries: (entry) => walk.entries(entry),
    fields: (entry, known, later) => walk.fields(entry, known, later ?? []),
    items: (entry, empty) => walk.items(entry, empty ?? "refused"),
    text: (entry) => walk.text(entry),
    integer: (entry, min, max, beside) => walk.integer(entry, min, max, beside),
    flag: (entry) => walk.flag(entry),
    isNull: (entry) => isScalar(entry.node) && entry.node.value === null,
    decimalSource: (entry) => walk.decimalSource(entry),
  };
}

/** The library's own messages quote the text around, which may be a key. */
const sentences: Record<string, string> = {
  DUPLICATE_KEY: "a key that stands twice in one map; would be there once",
  BAD_INDENT: "wrong indentation; a map's keys would be in one column",
  TAB_AS_INDENT: "indented by a tab; would be spaces",
  MISSING_CHAR: "something is not closed or not separated: a quote, a bracket, a comma or a colon",
  MULTIPLE_DOCS: "a second document; would be one",
  UNEXPECTED_TOKEN: "something that does not belong there",
  NON_STRING_KEY: "a key that is not text",
  TAG_RESOLVE_FAILED: "a tag; would be a plain value",
  BAD_ALIAS: "an alias; would be the value written out",
};

class Walk {
  constructor(
    private readonly wrong: (entry: Entry, sentence: string) => void,
    private readonly lineOf: (offset: number | undefined) => number,
    private readonly lookup: (name: string) => Parsed<string> | null,
  ) {}

  entries(entry: Entry): [string, Entry][] {
    if (!isMap<Scalar<string>, Node | null>(entry.node)) {
      this.wrong(entry, this.otherThan(entry, "a map, such as { key: value }"));
      return [];
    }
    return entry.node.items.map(({ key, value }) => {
      const name = String(key.value);
      const path = entry.path === "" ? name : `${entry.path}.${name}`;
      return [name, { path, line: this.lineOf(key.range?.[0]), node: value }];
    });
  }

  fields<K extends string>(
    entry: Entry,
    known: readonly K[],
    later: readonly string[],
  ): { [N in K]?: Entry } {
    const found: { [N in K]?: Entry } = {};
    for (const [name, field] of this.entries(entry)) {
      const match = known.find((candidate) => candidate === name);
      if (match !== undefined) found[match] = field;
      else if (later.includes(name)) this.wrong(field, "is not in this version; leave it out");
      else this.wrong(field, `no such key${hint(name, known)}`);
    }
    return found;
  }

  items(entry: Entry, empty: "refused" | "taken"): Entry[] {
    if (!isSeq<Node>(entry.node)) {
      this.wrong(entry, this.otherThan(entry, "a list, such as [ … ]"));
      return [];
    }
    if (entry.node.items.length === 0 && empty === "refused")
      this.wrong(entry, "an empty list; would name at least one");
    return entry.node.items.map((node, index) => ({
      path: `${entry.path}[${index}]`,
      line: this.lineOf(node.range?.[0]),
      node,
    }));
  }

  text(entry: Entry): string | null {
    const value = isScalar(entry.node) ? entry.node.value : undefined;
    if (typeof value === "string" && value.trim() !== "") return this.filled(entry, value);
    this.wrong(entry, value === "" ? "empty; would be a text" : this.otherThan(entry, "a text"));
    return null;
  }

  integer(entry: Entry, min: number, max: number, beside?: string): number | null {
    const value = isScalar(entry.node) ? entry.node.value : undefined;
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    const or = beside === undefined ? "" : `, or ${beside}`;
    this.wrong(entry, this.otherThan(entry, `a whole number from ${min} to ${max}${or}`));
    return null;
  }

  flag(entry: Entry): boolean | null {
    const value = isScalar(entry.node) ? entry.node.value : undefined;
    if (typeof value === "boolean") return value;
    this.wrong(entry, this.otherThan(entry, "true or false"));
    return null;
  }

  decimalSource(entry: Entry): string | null {
    const node = entry.node;
    if (isScalar(node) && typeof node.value === "number") return node.source ?? String(node.value);
    return isScalar(node) && typeof node.value === "string" ? node.value : null;
  }

  private otherThan(entry: Entry, right: string): string {
    if (isAlias(entry.node)) return `${sentences.BAD_ALIAS}`;
    const empty = entry.node === null || (isScalar(entry.node) && entry.node.value === null);
    return `${empty ? "empty" : "of another kind"}; would be ${right}`;
  }

  private filled(entry: Entry, text: string): string | null {
    let failed = false;
    const whole = text.replace(/\$\{([^}]*)\}?/g, (reference, name: string) => {
      const found = /^\$\{[A-Za-z_]\w*\}$/.test(reference) ? this.lookup(name) : { wrong: "" };
      if (found !== null && "value" in found) return found.value;
      failed = true;
      if (found === null)
        this.wrong(entry, `${name} is not set in the environment, and \${${name}} needs it`);
      else
        this.wrong(
          entry,
          found.wrong === "" ? "a broken reference; would be $, {, a name, }" : `${name} is ${found.wrong}`,
        );
      return "";
    });
    return failed ? null : whole;
  }
}
