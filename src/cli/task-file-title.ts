/**
 * A task's own line, taken apart: `**SSP-WEB-003-TASK-007 [P0]**: Title [US1]` is a ref, two tags and a title.
 *
 * Refs come in a few forms: with TASK or TSK in them, Spec-Kit's `T001`, a counted `Task 3`, the number that Kiro puts
 * behind the box, and any `ABC-12` that a colon, a dash or emphasis sets off (`UTF-8 names` is a title).
 */
import { unwrap, withoutLinks } from "./task-file-inline.ts";

export type Tag = readonly [name: string, value: string];

export type Ref = {
  readonly ref: string | null;
  /** It names a task and can be nothing else. */
  readonly isTaskRef: boolean;
  /** A colon, a dash or the line's end follows. */
  readonly isSetOff: boolean;
  readonly tags: readonly Tag[];
  readonly rest: string;
};

/** A title of at most 500 characters, with room for the links in it. */
const rawMax = 10_000;

/** `isMarked`: a box or an emoji stood before `text`, so that a bare number may be a ref. */
export function takeRef(text: string, isMarked: boolean): Ref {
  if (text.length > rawMax) return { ref: null, isTaskRef: false, isSetOff: false, tags: [], rest: text };
  const before = takeTags(text.trim());
  const found = refAt(before.rest, isMarked);
  if (found === null) return { ref: null, isTaskRef: false, isSetOff: false, ...before };
  return { ...found, tags: [...before.tags, ...found.tags] };
}

function refAt(text: string, isMarked: boolean): Ref | null {
  const opening = /^(?:\*{1,3}|_{1,3}|~~|`|\[|\()?/.exec(text)?.[0] ?? "";
  const inner = text.slice(opening.length);
  const word = wordAt(inner);
  const form = formOf(word, isMarked);
  if (form === null) return null;
  const behind = afterRef(inner.slice(word.length), closings[opening] ?? opening);
  const isWrapped = opening !== "";
  if (isWrapped && !behind.isClosed && !/^[*_~]/.test(opening)) return null;
  const isSetOff = behind.delimiter !== "" || behind.rest === "";
  const isNumbered = word.includes(".") || /[.)]/.test(behind.delimiter);
  if (form === "number" && !isNumbered) return null;
  if ((form === "counted" || form === "other") && !isSetOff && !behind.isClosed) return null;
  return {
    ref: word,
    isTaskRef: form === "task",
    isSetOff,
    tags: behind.tags,
    // Emphasis that goes on over the title is the title's.
    rest: isWrapped && !behind.isClosed ? opening + behind.rest : behind.rest,
  };
}

const closings: Record<string, string> = { "[": "]", "(": ")" };

/** Longer than a ref may be, so that one that is too long is not cut but refused. */
const wordMax = 300;

/** The first word, and the number behind it where it only counts: `Task 3`, `งาน 2.1`. */
function wordAt(text: string): string {
  const word = /^[\p{L}\p{M}\p{N}._/-]+/u.exec(text.slice(0, wordMax))?.[0] ?? "";
  let end = word.length;
  while (end > 0 && "._/-".includes(word[end - 1] ?? "")) end--;
  const bare = word.slice(0, end);
  if (!/^(?:task|งาน|งานที่|ภารกิจ)$/iu.test(bare)) return bare;
  const behind = text.slice(end, end + 40);
  return bare + (/^ #?\d+(?:\.\d+)*[a-z]?(?![\p{L}\p{N}])/iu.exec(behind)?.[0] ?? "");
}

type Form = "task" | "counted" | "number" | "other";

function formOf(word: string, isMarked: boolean): Form | null {
  if (!/\d/.test(word)) return null;
  if (isTaskRef(word)) return "task";
  if (/^\p{L}[\p{L}\p{M}]* #?\d/u.test(word)) return "counted";
  if (/^\d{1,3}(?:\.\d{1,3}){0,5}$/.test(word)) return isMarked ? "number" : null;
  const isOther = /^[\p{Lu}\p{Lo}][\p{Lu}\p{Lo}\p{M}\p{N}]*(?:-[\p{Lu}\p{Lo}\p{M}\p{N}]+)*-\d+[a-z]?$/u;
  return isOther.test(word) || /^T\d+$/.test(word) ? "other" : null;
}

/** `SSP-WEB-003-TASK-007`, `TSK-AUTH-032`, `TASK_7`, `task-7`, `T001`, `T1.2`. */
function isTaskRef(word: string): boolean {
  if (/^T(?:\d{3,}[a-z]?|\d+(?:\.\d+)+)$/.test(word)) return true;
  const parts = word.split(/[-_]/);
  const number = parts.at(-1)?.replace(/^(?:TASK|TSK)(?=\d)/, "") ?? "";
  if (!/^\d+(?:\.\d+)*[a-z]?$/.test(number)) return false;
  if (/^(?:[Tt]ask|tsk)[-_]/.test(word)) return parts.length === 2;
  return parts.some((part) => /^(?:TASK|TSK)\d*$/.test(part)) && parts.every(isUpper);
}

const isUpper = (part: string, at: number, all: string[]): boolean =>
  at === all.length - 1 || /^[\p{Lu}\p{Lo}\p{M}\p{N}]+$/u.test(part);

/** What may stand between a ref and its title, in any order: tags, the end of the emphasis, one delimiter. */
function afterRef(text: string, closing: string) {
  const tags: Tag[] = [];
  let rest = text;
  let isClosed = false;
  let delimiter = "";
  for (;;) {
    const found = takeTags(rest.trimStart());
    tags.push(...found.tags);
    const cut = /^(?:[:：—–]|-(?=\s)|[.)](?=\s|$))/.exec(found.rest)?.[0] ?? "";
    if (closing !== "" && !isClosed && found.rest.startsWith(closing)) {
      isClosed = true;
      rest = afterLink(found.rest.slice(closing.length), closing);
    } else if (delimiter === "" && cut !== "") {
      delimiter = cut;
      rest = found.rest.slice(cut.length);
    } else return { tags, rest: found.rest, isClosed, delimiter };
  }
}

/** `[TASK-007](tasks/007.md)`: the target is not part of the title. */
function afterLink(text: string, closing: string): string {
  const end = closing === "]" && text.startsWith("(") ? text.indexOf(")") : -1;
  return text.slice(end + 1);
}

const tagMax = 40;

/** Tags at the start: `[P0]`, `(P1)`, `[P]`, `[US1]`, `[priority: high]`. */
function takeTags(text: string): { tags: Tag[]; rest: string } {
  const tags: Tag[] = [];
  let rest = text;
  while (rest.startsWith("[") || rest.startsWith("(")) {
    const end = rest.slice(0, tagMax).search(/[\])]/);
    const tag = end < 0 ? null : tagOf(rest.slice(0, end + 1));
    if (tag === null) break;
    tags.push(tag);
    rest = rest.slice(end + 1).trimStart();
  }
  return { tags, rest };
}

function tagOf(bracketed: string): Tag | null {
  if (!/^(?:\[[^\]]*\]|\([^)]*\))$/.test(bracketed)) return null;
  const inner = bracketed.slice(1, -1).trim();
  if (/^P\d$/i.test(inner)) return ["priority", inner.toUpperCase()];
  if (inner === "P" && bracketed.startsWith("[")) return ["parallel", ""];
  if (/^US\d+$/i.test(inner)) return ["story", inner.toUpperCase()];
  const named = /^(?:priority|ความสำคัญ)\s*[:：]\s*(.+)$/iu.exec(inner)?.[1];
  return named === undefined ? null : ["priority", named];
}

export type Title = {
  readonly title: string;
  readonly tags: readonly Tag[];
  /** What stood behind it as `*(…)*`. */
  readonly remark: string | null;
  readonly isStruck: boolean;
};

/** The title without links, the marks around it, and the tags and the remark at its end. */
export function readTitle(raw: string): Title {
  let title = raw.replaceAll("\t", " ").trim();
  if (title.length > rawMax) return { title, tags: [], remark: null, isStruck: false };
  title = withoutLinks(title);
  const tags: Tag[] = [];
  let remark: string | null = null;
  let isStruck = false;
  for (let last = ""; last !== title; ) {
    last = title;
    const remarked: { title: string; remark: string } | null = remark === null ? takeRemark(title) : null;
    if (remarked !== null) ({ title, remark } = remarked);
    const tagged = takeLastTag(title);
    if (tagged !== null) {
      tags.unshift(tagged.tag);
      title = tagged.title;
    }
    const bare = unwrap(title);
    isStruck ||= bare?.mark === "~~";
    title = bare?.text ?? title;
  }
  return { title, tags, remark, isStruck };
}

function takeLastTag(title: string): { title: string; tag: Tag } | null {
  const tail = title.slice(-tagMax);
  const start = Math.max(tail.lastIndexOf("["), tail.lastIndexOf("("));
  const tag = start < 0 ? null : tagOf(tail.slice(start));
  const rest = title.slice(0, title.length - tail.length + start).trimEnd();
  return tag === null || rest === "" ? null : { title: rest, tag };
}

function takeRemark(title: string): { title: string; remark: string } | null {
  const mark = title.at(-1) ?? "";
  if ((mark !== "*" && mark !== "_") || title.at(-2) !== ")") return null;
  const start = title.lastIndexOf(`${mark}(`);
  if (start <= 0 || !/\s/.test(title[start - 1] ?? "")) return null;
  return { title: title.slice(0, start).trimEnd(), remark: title.slice(start + 2, -2).trim() };
}

/** `SSP-WEB-003` of `SSP-WEB-003-TASK-007`, `AUTH` of `TSK-AUTH-032`, null of `TASK-007`. */
export function specOfRef(ref: string): string | null {
  const parts = ref.split("-");
  const at = parts.findIndex((part) => /^(?:TASK|TSK)$/i.test(part));
  if (at < 0) return null;
  const spec = at > 0 ? parts.slice(0, at) : parts.slice(1, -1);
  return spec.length === 0 ? null : spec.join("-");
}
