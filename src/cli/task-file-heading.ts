/**
 * What a heading of Markdown is: a task, a spec's name, a label for what is below it, or a section.
 *
 * It is a task when a mark stands before it, or a ref with TASK in it; `## ✅ Done` is neither.
 */
import { short } from "./task-file-draft.ts";
import { single } from "./task-file-inline.ts";
import { type Marks, marksOf } from "./task-file-item.ts";
import { kindOfName, type LabelKind, plainName, takeLabel } from "./task-file-labels.ts";
import { type Status, statusOfWord, takeLastMark } from "./task-file-marks.ts";
import { type Ref, takeRef } from "./task-file-title.ts";

export type Heading = { readonly level: number } & (
  | { readonly as: "label"; readonly kind: LabelKind }
  | { readonly as: "spec"; readonly spec: string | null }
  | { readonly as: "task"; readonly named: Ref; readonly status: Status | null; readonly marks: Marks }
  | { readonly as: "section"; readonly section: string | null }
);

/** Headings that say nothing about what is below them. */
const plainSections = new Set(["", "tasks", "task list", "todo", "to do", "งาน", "รายการงาน", "รายการ"]);

/** Ids like a spec's, for parts of one. */
const partsOfSpecs = /^(?:US|REQ|FR|NFR|AC|SEC|GOAL|PHASE|SPRINT|MILESTONE|EPIC)-/;

/** Null for a line that is no heading. `mayHead` says which labels are of use here. */
export function readHeading(
  line: string,
  mayHead: (kind: LabelKind, level: number) => boolean,
): Heading | null {
  const level = /^#{1,6}(?=\s|$)/.exec(line)?.[0].length;
  if (level === undefined) return null;
  const text = withoutClosing(line.slice(level).trim());
  const marks = marksOf(text, true);
  const kind = kindOfName(marks.body.replace(/[:：]$/, ""));
  if (kind !== null && mayHead(kind, level)) return { level, as: "label", kind };
  const label = takeLabel(marks.body);
  if (label?.kind === "spec") return { level, as: "spec", spec: single(label.rest) };
  const named = takeRef(marks.body, marks.status !== null);
  if (isTask(marks.status !== null, named))
    return { level, as: "task", ...lastMark(named, marks.status), marks };
  if (isSpec(level, named)) return { level, as: "spec", spec: named.ref };
  const isSection = level > 1 && !plainSections.has(plainName(text));
  return { level, as: "section", section: isSection ? short(text, 120) : null };
}

/** `## Tasks ##`; `C#` ends in its own sign. */
function withoutClosing(text: string): string {
  let end = text.length;
  while (text[end - 1] === "#") end--;
  return end === 0 || text[end - 1] === " " ? text.slice(0, end).trim() : text;
}

/** `### TASK-7: Login ✅`. */
function lastMark(named: Ref, status: Status | null): { named: Ref; status: Status | null } {
  const last = status === null ? takeLastMark(named.rest) : null;
  return last === null ? { named, status } : { named: { ...named, rest: last.rest }, status: last.status };
}

function isTask(isMarked: boolean, { ref, rest }: Ref): boolean {
  if (isMarked) return ref !== null || (rest !== "" && statusOfWord(rest) === null);
  return ref !== null && /task|tsk|งาน|ภารกิจ/i.test(ref);
}

/** `# SSP-WEB-003: Login`. */
const isSpec = (level: number, { ref, isTaskRef, isSetOff }: Ref): boolean =>
  level <= 2 && ref !== null && !isTaskRef && isSetOff && ref.includes("-") && !partsOfSpecs.test(ref);
