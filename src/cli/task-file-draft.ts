/**
 * A task while its file is still being read: lines are added to it, and at the end it is written out as a whole.
 *
 * What has no field of its own becomes notes, one line each and always in one order: priority, parallel, optional,
 * story, requirements, the section or task it is part of; then the lines below it as they were written.
 */
import type { FileTask } from "./task-file.ts";
import { listed, single } from "./task-file-inline.ts";
import type { LabelKind } from "./task-file-labels.ts";
import { type Status, settle, statusOf } from "./task-file-marks.ts";
import { type Ref, readTitle, specOfRef, type Tag } from "./task-file-title.ts";

/** Lines with what they are indented by beyond the first of them. */
class Block {
  readonly #lines: string[] = [];
  #indent: number | null = null;

  add(text: string, indent: number): void {
    this.#indent ??= indent;
    this.#lines.push(" ".repeat(Math.min(40, Math.max(0, indent - this.#indent))) + text);
  }

  get isEmpty(): boolean {
    return this.#lines.length === 0;
  }

  toString(): string {
    return this.#lines.join("\n");
  }
}

const tagOrder = ["priority", "parallel", "optional", "story", "requirements", "section", "part of"];
const titleMax = 500;

export type Start = {
  readonly line: number;
  /** -1 for a heading, whose task goes on to the next one. */
  readonly column: number;
  readonly named: Pick<Ref, "ref" | "tags" | "rest">;
  readonly status: Status | null;
  /** It is marked as a task where it stands; otherwise it may only name one that is written out elsewhere. */
  readonly isMarked: boolean;
};

export class Draft {
  readonly line: number;
  readonly column: number;
  readonly isMarked: boolean;
  readonly ref: string | null;
  readonly parts: Draft[] = [];
  readonly criteria = new Block();
  readonly notes = new Block();
  spec: string | null = null;
  /** The heading's spec, or that of the file. */
  specAbove: string | null = null;
  /** A heading that turned out to head other tasks. */
  isDropped = false;
  #status: Status | null;
  #name: string | null = null;
  readonly #title: string[];
  readonly #tags: Tag[];
  readonly #files: string[] = [];
  readonly #tests: string[] = [];

  constructor({ line, column, named, status, isMarked }: Start) {
    this.line = line;
    this.column = column;
    this.isMarked = isMarked;
    this.ref = named.ref;
    this.#title = [named.rest];
    this.#status = status;
    this.#tags = [...named.tags];
  }

  get hasStatus(): boolean {
    return this.#status !== null;
  }

  get hasTitle(): boolean {
    return this.#title[0] !== "";
  }

  /** Of a heading without a mark: what its parts say together. */
  get status(): Status | null {
    if (this.#status !== null || this.parts.length === 0) return this.#status;
    const open = this.parts.map(({ status }) => status).filter((status) => status !== "cancelled");
    if (open.every((status) => status === "done")) return open.length === 0 ? "cancelled" : "done";
    return open.some((status) => status === "done" || status === "doing") ? "doing" : "planned";
  }

  /** How what is part of it calls it. */
  get name(): string {
    this.#name ??= this.ref ?? short(this.#read().title);
    return this.#name;
  }

  goOn(text: string): void {
    this.#title.push(text);
  }

  tag(tag: Tag): void {
    this.#tags.push(tag);
  }

  /** What stands behind a label, or in a table's column of that name. Says what is wrong with it. */
  label(kind: LabelKind, text: string, indent: number): string | null {
    if (text === "") return null;
    if (kind === "criteria") this.criteria.add(text, indent);
    else if (kind === "files" || kind === "tests") this.map(kind, text);
    else if (kind === "spec") this.spec ??= single(text);
    else if (kind === "priority" || kind === "requirements") this.tag([kind, text]);
    else if (kind === "status") return this.#state(text);
    else if (kind === "evidence") this.#prove(text, indent);
    else this.notes.add(text, indent);
    return null;
  }

  map(kind: "files" | "tests", text: string): void {
    const into = kind === "files" ? this.#files : this.#tests;
    // One by one: a line may hold more paths than a call takes arguments.
    for (const path of listed(text)) into.push(path);
  }

  #state(text: string): string | null {
    const said = statusOf(text);
    if (said === null) return `"${short(text)}" is no known status; it was left out`;
    const own = this.#status;
    const { status, conflict } = settle(own, said);
    this.#status = status;
    return conflict && own !== null ? contradiction(own, said, status) : null;
  }

  /** SmartSpec's hooks: `code path=src/login.ts contains="…"`. */
  #prove(hook: string, indent: number): void {
    const [, quoted, bare] = /\bpath=(?:["'`]([^"'`]*)["'`]|(\S+))/.exec(hook) ?? [];
    const path = quoted ?? bare;
    if (path) (/^test\b/i.test(hook) ? this.#tests : this.#files).push(path);
    this.notes.add(`evidence: ${hook}`, indent);
  }

  /** A title that fills several lines is one, unless that would be too long for it. */
  #read() {
    const whole = readTitle(this.#title.join(" "));
    if (this.#title.length === 1 || whole.title.length <= titleMax) return { ...whole, overflow: [] };
    return { ...readTitle(this.#title[0] ?? ""), overflow: this.#title.slice(1) };
  }

  task(): FileTask {
    const { title, tags, remark, isStruck, overflow } = this.#read();
    const notes = tagLines([...this.#tags, ...tags]).concat(remark ?? [], overflow);
    if (!this.notes.isEmpty) notes.push(String(this.notes));
    const status = this.status ?? "planned";
    return {
      task_ref: this.ref,
      title: title === "" ? (this.ref ?? "") : title,
      originating_spec: this.spec ?? this.specAbove ?? (this.ref === null ? null : specOfRef(this.ref)),
      acceptance_criteria: this.criteria.isEmpty ? null : String(this.criteria),
      mapped_files: [...new Set(this.#files)],
      mapped_tests: [...new Set(this.#tests)],
      status: isStruck && status !== "done" ? "cancelled" : status,
      notes: notes.length === 0 ? null : notes.join("\n"),
      line: this.line,
    };
  }
}

/** One line for each name, in the order of `tagOrder`; what is said twice is said once. */
function tagLines(tags: readonly Tag[]): string[] {
  const lines: string[] = [];
  if (tags.length === 0) return lines;
  for (const name of tagOrder) {
    const values = tags.filter((tag) => tag[0] === name).map(([, value]) => value);
    const value = values.length > 1 ? [...new Set(values)].join(", ") : values[0];
    if (value !== undefined) lines.push(value === "" ? name : `${name}: ${value}`);
  }
  return lines;
}

export const contradiction = (first: Status, second: Status, settled: Status | null): string =>
  `one mark says ${first}, another ${second}; read as ${settled}`;

export const short = (text: string, max = 60): string =>
  text.length > max ? `${text.slice(0, max - 1)}…` : text;
