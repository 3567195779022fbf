import type { TaskChange } from "./contract.ts";
import type { TaskState } from "./states.ts";

/** What callers write. */
export type TaskFields = {
  readonly taskRef: string | null;
  readonly title: string;
  readonly originatingSpec: string | null;
  readonly acceptanceCriteria: string | null;
  readonly mappedFiles: readonly string[];
  readonly mappedTests: readonly string[];
  readonly status: TaskState;
  readonly notes: string | null;
};
export type Task = TaskFields & {
  readonly id: string;
  readonly dedupeKey: string;
  readonly position: number;
  readonly version: number;
};

/** By the field's name on the wire: what it was, and what it became. */
export type FieldChanges = Record<string, { from: unknown; to: unknown }>;

/** One task before and after; without changes both are the same. */
export type Revision = {
  readonly before: Task | null;
  readonly after: Task;
  readonly changes: FieldChanges;
};

const unwritten = {
  taskRef: null,
  originatingSpec: null,
  acceptanceCriteria: null,
  mappedFiles: [],
  mappedTests: [],
  status: "planned",
  notes: null,
} as const;

/** Its first version; of what it holds, the history begins with the status. */
export function firstOf(
  place: Pick<Task, "id" | "dedupeKey" | "position">,
  fields: Partial<TaskFields> & Pick<TaskFields, "title">,
): Revision {
  const after = { ...unwritten, ...fields, ...place, version: 1 };
  return { before: null, after, changes: { status: { from: null, to: after.status } } };
}

/** The next version, if anything named is not so already. */
export function nextOf(before: Task, named: Partial<TaskFields & Pick<Task, "position">>): Revision {
  const changes: FieldChanges = {};
  for (const [name, onWire] of Object.entries(wireNames) as [keyof typeof wireNames, string][]) {
    const from = before[name];
    const to = named[name];
    if (to === undefined || to === from || (Array.isArray(to) && Bun.deepEquals(to, from))) continue;
    changes[onWire] = { from, to };
  }
  if (!hasChanges(changes)) return { before, after: before, changes };
  return { before, after: { ...before, ...named, version: before.version + 1 }, changes };
}

export function hasChanges(changes: FieldChanges): boolean {
  for (const _ in changes) return true;
  return false;
}

/** Of the fields that were sent, under their names here. */
export function fieldsOf(sent: TaskChange): Partial<TaskFields> {
  const fields: Record<string, unknown> = {};
  for (const [name, onWire] of Object.entries(wireNames)) {
    const value = sent[onWire as keyof TaskChange];
    if (value !== undefined) fields[name] = value;
  }
  return fields;
}

const wireNames = {
  taskRef: "task_ref",
  title: "title",
  originatingSpec: "originating_spec",
  acceptanceCriteria: "acceptance_criteria",
  mappedFiles: "mapped_files",
  mappedTests: "mapped_tests",
  status: "status",
  notes: "notes",
  position: "position",
} as const satisfies Record<keyof TaskFields | "position", string>;
