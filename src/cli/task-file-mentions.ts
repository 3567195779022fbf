/**
 * A task may stand in a file twice: as a box in a list, and as a row of a table or a heading without a mark, which say
 * more about it. Such a mention is no second task: it gives what the task itself lacks.
 */
import { dedupeKeyOf } from "../features/tasks/dedupe-key.ts";
import type { FileTask, Warning } from "./task-file.ts";
import type { Draft } from "./task-file-draft.ts";

type Reading = { readonly tasks: FileTask[]; readonly warnings: Warning[] };

export function foldMentions(drafts: readonly Draft[]): Reading {
  const warnings: Warning[] = [];
  const all = drafts.map((draft) => ({ draft, task: draft.task() }));
  const written = new Map<string, FileTask>();
  for (const { draft, task } of all) {
    const key = draft.isMarked && task.task_ref !== null ? keyOf(task) : null;
    if (key !== null && !written.has(key)) written.set(key, task);
  }
  const tasks: FileTask[] = [];
  for (const { draft, task } of all) {
    const { line } = draft;
    const own = draft.isMarked ? undefined : written.get(keyOf(task) ?? "");
    if (own !== undefined) {
      fill(own, task);
      const message = `says ${task.status}, but line ${own.line} says ${own.status}, which counts`;
      if (draft.hasStatus && task.status !== own.status) warnings.push({ line, message });
    } else if (task.title === "" || (!draft.isMarked && !draft.hasTitle)) {
      warnings.push({ line, message: `${task.task_ref ?? "a task"} has no title here; it was left out` });
    } else tasks.push(task);
  }
  return { tasks, warnings };
}

function fill(task: FileTask, mention: FileTask): void {
  task.acceptance_criteria ??= mention.acceptance_criteria;
  if (task.mapped_files.length === 0) task.mapped_files = mention.mapped_files;
  if (task.mapped_tests.length === 0) task.mapped_tests = mention.mapped_tests;
}

/** What the gateway, too, knows a task by. */
export const keyOf = (task: FileTask): string | null =>
  dedupeKeyOf({
    taskRef: task.task_ref,
    title: task.title,
    originatingSpec: task.originating_spec,
    acceptanceCriteria: task.acceptance_criteria,
  });
