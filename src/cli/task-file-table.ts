/**
 * Tables of tasks: a header that names a task or an id, and a status; one task in each row.
 *
 * `Task` may be the id or the title, as its cells say. Other columns belong to the task as labels do, or are notes.
 */
import { kindOfName, type LabelKind, plainName } from "./task-file-labels.ts";
import { completionOf, type Status, statusOf } from "./task-file-marks.ts";
import { type Tag, takeRef } from "./task-file-title.ts";

const names = {
  id: ["id", "ref", "task id", "task ref", "taskid", "tsk id", "รหัส", "รหัสงาน"],
  title: ["title", "task name", "name", "summary", "ชื่องาน", "รายการ", "หัวข้อ", "ชื่อ"],
  task: ["task", "tasks", "งาน"],
  description: ["description", "details", "รายละเอียด", "คำอธิบาย"],
  completed: ["completed", "complete", "done", "เสร็จ", "เสร็จแล้ว"],
};

/** Columns that only number the rows. */
const counting = new Set(["", "no", "no.", "ลำดับ", "ลำดับที่"]);

export type Columns = {
  readonly header: readonly string[];
  /** Where each column stands, -1 where there is none. */
  readonly at: Readonly<Record<keyof typeof names | "status", number>>;
};

export type Row = {
  readonly ref: string | null;
  readonly tags: readonly Tag[];
  readonly title: string;
  readonly status: Status | null;
  /** What the status cell says, where it is no known status. */
  readonly unknown: string | null;
  readonly labels: readonly [kind: LabelKind, text: string][];
  readonly notes: readonly string[];
};

/** Whether `text`, below a header, makes a table of it. */
export const isDelimiter = (text: string): boolean =>
  /^[|:-][\s|:-]*$/.test(text) && text.includes("-") && text.includes("|");

/** `\|` is a bar inside a cell, in code too (GFM). */
export function cellsOf(text: string): string[] {
  const cells = text.replace(/^\|/, "").split("|");
  const whole: string[] = [];
  let begun = "";
  for (const cell of cells) {
    if (cell.endsWith("\\")) begun += `${cell.slice(0, -1)}|`;
    else {
      whole.push((begun + cell).trim());
      begun = "";
    }
  }
  if (begun !== "") whole.push(begun.trim());
  else if (text.endsWith("|")) whole.pop();
  return whole;
}

/** Null for a table that holds no tasks. */
export function columnsOf(header: readonly string[]): Columns | null {
  const plain = header.map(plainName);
  const find = (wanted: readonly string[]) => plain.findIndex((name) => wanted.includes(name));
  const at = {
    id: find(names.id),
    title: find(names.title),
    task: find(names.task),
    description: find(names.description),
    completed: find(names.completed),
    status: header.findIndex((name) => kindOfName(name) === "status"),
  };
  const isOfTasks = (at.id >= 0 || at.task >= 0) && (at.status >= 0 || at.completed >= 0);
  return isOfTasks ? { header, at } : null;
}

/** Null for a row that only heads others. */
export function readRow({ header, at }: Columns, cells: readonly string[]): Row | null {
  if (cells.filter((cell) => cell !== "").length < 2) return null;
  const cell = (column: number) => cells[column] ?? "";
  const hasId = at.id >= 0;
  const named = takeRef(cell(hasId ? at.id : at.task), true);
  const isRefAlone = hasId || named.rest === "";
  const titles = [at.title, hasId ? at.task : -1, at.description];
  const titled = isRefAlone ? titles.find((column) => cell(column) !== "") : at.task;
  const said = at.status >= 0 ? at.status : at.completed;
  const status = at.status >= 0 ? statusOf(cell(said)) : completionOf(cell(said));
  return {
    ref: named.ref ?? (hasId ? wholeCell(cell(at.id)) : null),
    tags: named.tags,
    title: isRefAlone ? cell(titled ?? -1) : named.rest,
    status,
    unknown: status === null && cell(said) !== "" ? cell(said) : null,
    ...others(header, cells, new Set([hasId ? at.id : at.task, titled, said])),
  };
}

const wholeCell = (cell: string): string | null => (/^(?:[-–—]|n\/a)?$/i.test(cell) ? null : cell);

function others(header: readonly string[], cells: readonly string[], used: ReadonlySet<number | undefined>) {
  const labels: [LabelKind, string][] = [];
  const notes: string[] = [];
  header.forEach((name, column) => {
    const cell = cells[column] ?? "";
    if (used.has(column) || cell === "" || counting.has(plainName(name))) return;
    const kind = kindOfName(name);
    if (kind !== null && kind !== "status") labels.push([kind, cell]);
    else notes.push(`${name}: ${cell}`);
  });
  return { labels, notes };
}
