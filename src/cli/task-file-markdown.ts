/**
 * Markdown, line by line: which task a line begins, or belongs to.
 *
 * A line first leaves what it no longer stands in. Then it is the first of these that it can be: an entry of the list
 * that a label heads, a task, a label, or text of the innermost task. What belongs to no task is left alone.
 */
import type { FileTask, Warning } from "./task-file.ts";
import { contradiction, Draft, short } from "./task-file-draft.ts";
import { readHeading } from "./task-file-heading.ts";
import { single } from "./task-file-inline.ts";
import {
  beginsScenario,
  continuesScenario,
  type Item,
  isMarkedTask,
  isNumberedCriterion,
  isRule,
  itemOf,
  type Marks,
} from "./task-file-item.ts";
import { kindOfName, type LabelKind, takeLabel } from "./task-file-labels.ts";
import { type Line, readLines } from "./task-file-lines.ts";
import { foldMentions } from "./task-file-mentions.ts";
import { Outline } from "./task-file-outline.ts";
import { cellsOf, columnsOf, isDelimiter, type Row, readRow } from "./task-file-table.ts";
import { type Ref, takeRef } from "./task-file-title.ts";

export function readMarkdown(source: string): { tasks: FileTask[]; warnings: Warning[] } {
  const page = readLines(source);
  const scan = new Scan(page.spec);
  for (let at = 0; at < page.lines.length; ) at += scan.read(page.lines, at);
  const { tasks, warnings } = foldMentions(scan.finish());
  return { tasks, warnings: [...page.warnings, ...scan.warnings, ...warnings] };
}

type OpenLabel = {
  readonly kind: LabelKind;
  readonly owner: Draft | null;
  readonly line: number;
  /** -1 for a heading, which all columns stand below. */
  readonly column: number;
  /** The heading's; 7 for other labels. */
  readonly level: number;
  /** It stands alone in its line, so that what it heads may begin in its own column. */
  readonly isAlone: boolean;
  /** The column of its list, once that has begun. */
  listColumn: number | null;
  hasLeftOut: boolean;
};

/** Labels that lists stand below. */
const heads: ReadonlySet<LabelKind> = new Set(["criteria", "files", "tests", "aside", "legend"]);

class Scan {
  readonly warnings: Warning[] = [];
  readonly #outline: Outline;
  #label: OpenLabel | null = null;
  /** The task whose title may go on in the next line. */
  #titled: Draft | null = null;
  #isInParagraph = false;
  #isInScenario = false;
  /** Where the first `[-]` stands, and whether the file is one of Kiro's. */
  #dash: number | null = null;
  #isKiros = false;

  constructor(spec: string | null) {
    this.#outline = new Outline(spec);
  }

  finish(): Draft[] {
    if (this.#isKiros && this.#dash !== null)
      this.#warn(this.#dash, "[-] is read as cancelled; a task that is being worked on would be [~]");
    return this.#outline.drafts;
  }

  /** Reads what begins at `at`, and says how many lines it was. */
  read(lines: readonly Line[], at: number): number {
    const line = lines[at];
    const titled = this.#titled;
    this.#titled = null;
    if (line === undefined || line.text === "" || isRule(line.text)) this.#pause(line?.text !== "");
    else if (line.text.startsWith("#") && this.#heading(line)) this.#isInParagraph = false;
    else {
      const item = itemOf(line);
      this.#leave(item);
      if (line.text.includes("|") && isDelimiter(lines[at + 1]?.text ?? "")) return this.#table(lines, at);
      if (!this.#listed(item) && !this.#task(item) && !this.#labelled(item)) this.#text(item, titled);
      this.#isInParagraph = true;
    }
    return 1;
  }

  #pause(isRuled: boolean): void {
    this.#isInParagraph = false;
    if (!isRuled) return;
    this.#outline.closeList();
    if (this.#label?.column !== -1) this.#label = null;
  }

  #leave(item: Item): void {
    this.#outline.closeList(item.indent);
    const label = this.#label;
    if (label === null || label.column < item.indent) return;
    const isEntry = item.hasBullet || this.#isInParagraph;
    const isHeaded = label.isAlone && item.indent === label.column && item.indent >= (label.listColumn ?? 0);
    if (!isEntry || !isHeaded || item.label?.kind) this.#label = null;
  }

  #heading({ number: line, text }: Line): boolean {
    const outline = this.#outline;
    const heading = readHeading(text, (kind, level) => this.#headsList(kind, outline.ownerAbove(level)));
    if (heading === null) return false;
    const { level } = heading;
    outline.closeHeadings(level);
    this.#isInScenario = false;
    if (this.#label !== null && this.#label.level >= level) this.#label = null;
    if (heading.as === "label") {
      this.#openLabel(heading.kind, line, { column: -1, level, isAlone: true });
      outline.openHeading(level, {});
    } else if (heading.as === "task") {
      const { named, status, marks } = heading;
      this.#judge(line, marks);
      const task = new Draft({ line, column: -1, named, status, isMarked: status !== null });
      outline.openHeading(level, { task });
    } else if (heading.as === "section") {
      if (heading.section !== null) outline.owner?.notes.add(heading.section, 0);
      outline.openHeading(level, { section: heading.section });
    } else outline.openHeading(level, { spec: heading.spec });
    return true;
  }

  #headsList(kind: LabelKind, owner: Draft | null): boolean {
    return heads.has(kind) && (owner !== null || (kind !== "files" && kind !== "tests"));
  }

  #openLabel(kind: LabelKind, line: number, place: Pick<OpenLabel, "column" | "level" | "isAlone">): void {
    this.#label = { kind, owner: this.#outline.owner, line, listColumn: null, hasLeftOut: false, ...place };
  }

  /** An entry of the list below a label: a criterion, paths, or a box that is no task. */
  #listed(item: Item): boolean {
    const label = this.#label;
    if (label === null) return false;
    label.listColumn ??= item.indent;
    const inner = item.label;
    if (label.kind === "files" || label.kind === "tests") {
      const kind = inner?.kind ?? label.kind;
      if (item.status !== null || (kind !== "files" && kind !== "tests")) return false;
      label.owner?.map(kind, inner?.kind ? inner.rest : item.plain);
      return true;
    }
    const isOtherLabel =
      label.column === -1 && inner !== null && inner.kind !== null && inner.kind !== "criteria";
    if (isOtherLabel) return false;
    if (label.kind === "criteria" && item.status !== null && takeRef(item.body, true).isTaskRef) return false;
    if (label.kind !== "criteria" || label.owner === null) this.#leaveOut(label, item);
    else label.owner.criteria.add(item.status === null ? item.plain : item.body, item.indent);
    return true;
  }

  #leaveOut(label: OpenLabel, item: Item): void {
    if (item.box === null || label.hasLeftOut || label.kind === "legend") return;
    label.hasLeftOut = true;
    const what = label.kind === "criteria" ? "acceptance criteria of no task" : "a checklist, not tasks";
    this.#warn(label.line, `the boxes below are ${what}; they were left out`);
  }

  #task(item: Item): boolean {
    const isMarked = item.status !== null;
    if (!isMarked && !this.#mayBeNamed(item)) return false;
    const named = takeRef(item.body, isMarked);
    if (isMarked ? !isMarkedTask(item, named) : !isNamedTask(named)) return false;
    const { number: line, indent: column, status } = item;
    const draft = new Draft({ line, column, named, status, isMarked });
    if (item.box?.isOptional) draft.tag(["optional", ""]);
    this.#judge(line, item);
    this.#outline.openListTask(draft);
    this.#label = null;
    this.#isInScenario = false;
    if (!item.isBroken) this.#titled = draft;
    return true;
  }

  /** Without a mark a line is a task only where it cannot be part of another. */
  #mayBeNamed({ text }: Item): boolean {
    return this.#outline.owner === null && this.#label === null && /TASK|TSK/i.test(text.slice(0, 300));
  }

  #judge(line: number, { box, emojiStatus, status, isContradictory }: Marks): void {
    if (box?.isKnown === false)
      this.#warn(
        line,
        `[${box.sign}] is no known mark; read as planned. Known are [ ] [x] [/] [~] [>] [!] [-]`,
      );
    if (box?.sign === "-") this.#dash ??= line;
    if (isContradictory && box !== null && emojiStatus !== null)
      this.#warn(line, contradiction(box.status, emojiStatus, status));
  }

  #labelled(item: Item): boolean {
    const label = item.status === null ? item.label : takeLabel(item.body);
    const owner = this.#outline.owner;
    if (label === null || label.kind === null || (label.kind === "input" && owner !== null)) return false;
    const { kind, rest } = label;
    if (owner === null) this.#nameSpec(kind, rest);
    else {
      const mistake = owner.label(kind, rest, item.indent);
      if (mistake !== null) this.#warn(item.number, mistake);
      this.#isKiros ||= kind === "requirements" && item.plain.startsWith("_");
    }
    const place = { column: item.indent, level: 7, isAlone: !item.hasBullet && rest === "" };
    if (this.#headsList(kind, owner)) this.#openLabel(kind, item.number, place);
    return true;
  }

  /** `Linked Spec: SSP-WEB-003` above the tasks, or the folder in Spec-Kit's `Input`. */
  #nameSpec(kind: LabelKind, text: string): void {
    const spec = kind === "spec" || kind === "input" ? single(text) : null;
    if (spec !== null && (kind === "spec" || /^\/?specs\//.test(spec))) this.#outline.nameSpec(spec);
  }

  /** More of a title, a line of a scenario, or a line of notes. */
  #text(item: Item, titled: Draft | null): void {
    const owner = this.#outline.owner;
    if (owner === null) return;
    if (titled === owner && !item.hasBullet && item.label === null) {
      owner.goOn(item.text);
      this.#titled = item.isBroken ? null : owner;
      return;
    }
    this.#isInScenario = beginsScenario(item.plain) || (this.#isInScenario && continuesScenario(item.plain));
    if (this.#isInScenario || isNumberedCriterion(item.plain)) owner.criteria.add(item.plain, item.indent);
    else owner.notes.add(item.text, item.indent);
  }

  #table(lines: readonly Line[], at: number): number {
    const header = cellsOf(lines[at]?.text ?? "");
    let end = at + 2;
    while (lines[end]?.text.includes("|")) end++;
    const rows = lines.slice(at + 2, end);
    const columns = this.#label === null ? columnsOf(header) : null;
    const owner = this.#outline.owner;
    const specAt = header.findIndex((name) => kindOfName(name) === "spec");
    const spec = single(cellsOf(rows[0]?.text ?? "")[specAt] ?? "");
    if (columns !== null) {
      for (const { number, text } of rows) this.#row(number, readRow(columns, cellsOf(text)));
    } else if (owner !== null) {
      const into =
        this.#label?.kind === "criteria" && this.#label.owner === owner ? owner.criteria : owner.notes;
      for (const { text, indent } of lines.slice(at, end)) into.add(text, indent);
    } else if (spec !== null) this.#outline.nameSpec(spec);
    this.#isInParagraph = false;
    return end - at;
  }

  #row(line: number, row: Row | null): void {
    if (row === null) return;
    const { ref, tags, title, status } = row;
    if (row.unknown !== null) this.#warn(line, `"${short(row.unknown)}" is no known status; read as planned`);
    const named = { ref, tags, rest: title };
    const draft = new Draft({ line, column: 0, named, status: status ?? "planned", isMarked: false });
    for (const [kind, text] of row.labels) draft.label(kind, text, 0);
    for (const note of row.notes) draft.notes.add(note, 0);
    this.#outline.add(draft);
  }

  #warn(line: number, message: string): void {
    this.warnings.push({ line, message });
  }
}

/** `TASK-007: …`, without a mark. */
const isNamedTask = ({ ref, isTaskRef, isSetOff, rest }: Ref): boolean =>
  isTaskRef && isSetOff && rest !== "" && /TASK|TSK/i.test(ref ?? "");
