/**
 * The lines of a Markdown file as the reader sees them: without front matter, code fences and HTML comments.
 *
 * What is skipped leaves blank lines behind, so that every line keeps its number. A fence or a comment that is never
 * closed hides the rest of the file, as it does wherever Markdown is shown; that is worth a warning.
 */
import type { Warning } from "./task-file.ts";
import { outsideCode } from "./task-file-inline.ts";
import { takeLabel } from "./task-file-labels.ts";

export type Line = {
  /** From 1. */
  readonly number: number;
  /** The column where the text begins; a tab goes to the next multiple of four. */
  readonly indent: number;
  /** Without the white space around it; empty in a blank line. */
  readonly text: string;
  /** Two spaces or a backslash at the end: what follows is not the same sentence. */
  readonly isBroken: boolean;
};

export type Page = {
  readonly lines: Line[];
  /** The spec that the front matter names. */
  readonly spec: string | null;
  readonly warnings: Warning[];
};

export function readLines(source: string): Page {
  const raw = source
    .replace(/^\ufeff/, "")
    .replaceAll("\r\n", "\n")
    .replaceAll("\r", "\n")
    .split("\n");
  const matter = frontMatter(raw);
  const skip = new Skipped();
  const lines = raw.map((text, index) =>
    lineOf(index + 1, index < matter.length ? "" : skip.shown(text, index + 1)),
  );
  return { lines, spec: matter.spec, warnings: skip.unclosed() };
}

function lineOf(number: number, shown: string): Line {
  let indent = 0;
  let at = 0;
  for (; shown[at] === " " || shown[at] === "\t"; at++)
    indent = shown[at] === "\t" ? indent - (indent % 4) + 4 : indent + 1;
  const text = shown.slice(at).trim();
  return { number, indent, text, isBroken: shown.endsWith("  ") || shown.endsWith("\\") };
}

/** Lines of front matter that are looked at. */
const matterMax = 200;

function frontMatter(raw: readonly string[]): { length: number; spec: string | null } {
  const end =
    raw[0]?.trimEnd() === "---"
      ? raw.findIndex((text, at) => at > 0 && /^(?:---|\.\.\.)\s*$/.test(text))
      : -1;
  const labels = raw.slice(1, Math.max(1, Math.min(end, matterMax))).map(takeLabel);
  const spec = labels.find((label) => label?.kind === "spec")?.rest.replace(/^(["'])(.*)\1$/, "$2");
  return { length: end + 1, spec: spec || null };
}

/** Follows fences and comments from line to line. */
class Skipped {
  #fence: { sign: string; length: number; line: number } | null = null;
  /** The line where a comment began. */
  #comment: number | null = null;

  shown(text: string, line: number): string {
    if (this.#fence !== null) {
      if (closes(text, this.#fence)) this.#fence = null;
      return "";
    }
    const bare = this.#withoutComments(text, line);
    const fence = bare.includes("```") || bare.includes("~~~") ? /^\s*(`{3,}|~{3,})(.*)$/s.exec(bare) : null;
    const [, signs = "", behind = ""] = fence ?? [];
    // Backticks behind backticks: a code span that fills a line.
    if (fence === null || (signs.startsWith("`") && behind.includes("`"))) return bare;
    this.#fence = { sign: signs.charAt(0), length: signs.length, line };
    return "";
  }

  unclosed(): Warning[] {
    const hides = "is never closed; nothing below it was read";
    if (this.#fence !== null)
      return [{ line: this.#fence.line, message: `the code fence that begins here ${hides}` }];
    if (this.#comment === null) return [];
    return [{ line: this.#comment, message: `the comment that begins here ${hides}` }];
  }

  #withoutComments(text: string, line: number): string {
    if (this.#comment === null && !text.includes("<!--")) return text;
    const next = outsideCode(text, "<!--");
    const kept: string[] = [];
    for (let at = 0; ; ) {
      if (this.#comment === null) {
        const start = next(at);
        kept.push(text.slice(at, start < 0 ? text.length : start));
        if (start < 0) break;
        this.#comment = line;
        // `<!-->` is a whole comment.
        at = start + 2;
      }
      const end = text.indexOf("-->", at);
      if (end < 0) break;
      this.#comment = null;
      at = end + 3;
    }
    return kept.join("");
  }
}

/** A fence ends by at least as many of its signs, and nothing else (CommonMark 4.5). */
function closes(text: string, fence: { sign: string; length: number }): boolean {
  const bare = text.trim();
  return bare.length >= fence.length && bare === fence.sign.repeat(bare.length);
}
