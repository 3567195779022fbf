/**
 * A task list as teams keep it beside their code, read into what `sync tasks` sends.
 *
 * Markdown: `- [ ] …`, `- ✅ **SSP-WEB-003-TASK-007 [P0]**: …`, `- [ ] T001 [P] [US1] …`, `- [ ] 1.2 …`,
 * `### ✅ TASK-007: …` and rows of tables. `[ ]` is planned, `[x]` done, `[/]` `[>]` `[~]` doing, `[!]` blocked, `[-]`
 * cancelled; the emoji stand in task-file-marks.ts, the labels below a task in task-file-labels.ts. JSON: the fields
 * of the API. A Misuse names what the gateway would refuse; a warning, what may not be read as it was meant, and tasks
 * without refs that the gateway cannot tell apart.
 */
import { short } from "./task-file-draft.ts";
import { readJson } from "./task-file-json.ts";
import { readMarkdown } from "./task-file-markdown.ts";
import { keyOf } from "./task-file-mentions.ts";
import { Misuse } from "./world.ts";

export type FileTask = {
  task_ref: string | null;
  title: string;
  originating_spec: string | null;
  acceptance_criteria: string | null;
  mapped_files: string[];
  mapped_tests: string[];
  status: "planned" | "doing" | "blocked" | "done" | "cancelled";
  notes: string | null;
  /** Where it begins, from 1: the line of a Markdown file, the task's place in a JSON file. */
  line: number;
};

export type Warning = { line: number; message: string };
export type TaskFile = { tasks: FileTask[]; warnings: Warning[] };

/** A broken file of thousands of lines makes its point in twenty. */
export const mistakesMax = 20;

/** `name` says what kind of file it is, and stands before every mistake. Throws a Misuse for what cannot be sent. */
export function readTaskFile(name: string, text: string): TaskFile {
  const kind = /\.(?:(json)|md|markdown)$/i.exec(name);
  if (kind === null) throw new Misuse([`${name}: neither Markdown nor JSON; would end in .md or .json`]);
  const isJson = kind[1] !== undefined;
  const at = (line: number) => (isJson ? `${name}: task ${line}` : `${name}:${line}`);
  const nul = text.indexOf("\0");
  if (nul >= 0) throw new Misuse([`${name}:${lineAt(text, nul)}: not text; would be a file in UTF-8`]);
  const { tasks, warnings } = isJson ? readJson(name, text) : readMarkdown(text);
  const twins = alike(tasks, isJson ? "task" : "line");
  const mistakes = [...refused(tasks), ...twins.mistakes].sort((a, b) => a.line - b.line);
  if (mistakes.length > 0)
    throw new Misuse(shown(mistakes.map(({ line, message }) => `${at(line)}: ${message}`)));
  const doubts = [...warnings, ...twins.doubts, ...(text.includes("\ufffd") ? broken(tasks) : [])];
  if (tasks.length === 0) doubts.push({ line: 1, message: "there are no tasks in it" });
  return { tasks, warnings: doubts.sort((a, b) => a.line - b.line) };
}

export function shown(mistakes: readonly string[]): string[] {
  const rest = mistakes.length - mistakesMax;
  return rest <= 0 ? [...mistakes] : [...mistakes.slice(0, mistakesMax), `and ${rest} more like these`];
}

const lineAt = (text: string, index: number): number => text.slice(0, index).split(/\r\n|\n|\r/).length;

/** The gateway's limits. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\u0000-\u001f\u007f]/;
const texts = [
  ["the ref", "task_ref", 200, control],
  ["the title", "title", 500, control],
  ["the spec", "originating_spec", 200, control],
  ["acceptance criteria", "acceptance_criteria", 20_000, /\0/],
  ["notes", "notes", 20_000, /\0/],
] as const;
const pathsMax = 500;
const pathMax = 500;

function* refused(tasks: readonly FileTask[]): Generator<Warning> {
  for (const task of tasks) {
    const { line } = task;
    for (const [what, field, max, wrong] of texts) {
      const size = task[field]?.length ?? 0;
      if (size > max) yield { line, message: `${what} of ${size} characters; would be at most ${max}` };
      if (wrong.test(task[field] ?? ""))
        yield { line, message: `a control character in ${what}; would be plain text` };
    }
    for (const paths of [task.mapped_files, task.mapped_tests]) {
      const long = paths.find((path) => path.length > pathMax);
      if (paths.length > pathsMax)
        yield { line, message: `${paths.length} paths; would be at most ${pathsMax}` };
      if (long !== undefined)
        yield { line, message: `a path of ${long.length} characters; would be at most ${pathMax}` };
      if (paths.some((path) => control.test(path)))
        yield { line, message: "a control character in a path; would be plain text" };
    }
  }
}

/** Tasks that the gateway could not tell apart: two of one ref are a mistake, two that say the same may be one. */
function alike(tasks: readonly FileTask[], unit: string): { mistakes: Warning[]; doubts: Warning[] } {
  const first = new Map<string | null, number>();
  const mistakes: Warning[] = [];
  const doubts: Warning[] = [];
  for (const task of tasks) {
    const { line, task_ref } = task;
    const key = keyOf(task);
    const before = first.get(key);
    if (before === undefined) first.set(key, line);
    else if (task_ref !== null)
      mistakes.push({ line, message: `${short(task_ref)} again, after ${unit} ${before}; would stand once` });
    else {
      const message = `the same as ${unit} ${before}, by title and criteria; kept apart by their order, where a ref would be surer`;
      doubts.push({ line, message });
    }
  }
  return { mistakes, doubts };
}

function broken(tasks: readonly FileTask[]): Warning[] {
  const found = tasks.find((task) => JSON.stringify(task).includes("\ufffd"));
  if (found === undefined) return [];
  return [{ line: found.line, message: "has letters that are lost; the file would be in UTF-8" }];
}
