/**
 * Where in the file a line stands: below which headings, in which list tasks; and the tasks found so far.
 */
import type { Draft } from "./task-file-draft.ts";

type Heading = {
  readonly level: number;
  /** The spec that it, or a line below it, names. */
  spec: string | null;
  section: string | null;
  task: Draft | null;
};

export class Outline {
  readonly #drafts: Draft[] = [];
  readonly #headings: [Heading, ...Heading[]];
  /** List tasks, each inside the one before. */
  readonly #list: Draft[] = [];

  /** `spec` is that of the whole file. */
  constructor(spec: string | null) {
    this.#headings = [{ level: 0, spec, section: null, task: null }];
  }

  get drafts(): Draft[] {
    return this.#drafts.filter(({ isDropped }) => !isDropped);
  }

  /** The task that a line belongs to. */
  get owner(): Draft | null {
    return this.#list.at(-1) ?? this.ownerAbove(7);
  }

  /** The task whose heading a heading of this level stands below. */
  ownerAbove(level: number): Draft | null {
    return this.#headings.findLast((heading) => heading.task !== null && heading.level < level)?.task ?? null;
  }

  /** Leaves the list tasks that a line at `column` is no part of. */
  closeList(column = 0): void {
    while ((this.#list.at(-1)?.column ?? -1) >= column) this.#list.pop();
  }

  /** Leaves the headings that one of this level ends. */
  closeHeadings(level: number): void {
    this.closeList();
    while (this.#headings.length > 1 && (this.#headings.at(-1)?.level ?? 0) >= level) this.#headings.pop();
  }

  openHeading(level: number, what: { spec?: string | null; section?: string | null; task?: Draft }): void {
    const { spec = null, section = null, task = null } = what;
    if (task !== null) this.add(task);
    this.#headings.push({ level, spec, section, task });
  }

  openListTask(draft: Draft): void {
    this.add(draft);
    this.#list.push(draft);
  }

  /** The first name counts: what comes later may only mention another spec. */
  nameSpec(spec: string): void {
    const heading = this.#headings.at(-1);
    if (heading !== undefined) heading.spec ??= spec;
  }

  add(draft: Draft): void {
    draft.specAbove = this.#headings.findLast(({ spec }) => spec !== null)?.spec ?? null;
    const parent = this.#list.at(-1);
    const heading = this.#headings.findLast(({ task, section }) => task !== null || section !== null);
    if (heading?.task?.ref === null) makeSection(heading, heading.task);
    if (parent !== undefined) draft.tag(["part of", parent.name]);
    else if (heading?.task) {
      draft.tag(["part of", heading.task.name]);
      heading.task.parts.push(draft);
    } else if (heading?.section) draft.tag(["section", heading.section]);
    this.#drafts.push(draft);
  }
}

/** A marked heading without a ref that has tasks below it is the title of a section. */
function makeSection(heading: Heading, task: Draft): void {
  task.isDropped = true;
  heading.section = task.name;
  heading.task = null;
}
