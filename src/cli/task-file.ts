/**
 * A task list as teams keep it beside their code, read into what `sync tasks` sends.
 *
 * Markdown: `- [ ] …`, `- ✅ **SSP-WEB-003-TASK-007 [P0]**: …`, `- [ ] T001 [P] [US1] …`, `- [ ] 1.2 …`,
 * `### ✅ TASK-007: …` and rows of tables. `[ ]` is planned, `[x]` done, `[/]` `[>]` `[~]` doing, `[!]` blocked, `[-]`
 * cancelled; the emoji stand in task-file-marks.ts, the labels below a task in task-file-labels.ts. JSON: the fields
 * of the API. It refuses what the gateway would refuse; what it can read, but perhaps not as it was meant, it warns of.
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
  const unit = isJson ? "task" : "line";
  const nul = text.indexOf("\0");
  if (nul >= 0) throw new Misuse([`${name}:${lineAt(text, nul)}: not text; would be a file in UTF-8`]);
  const { tasks, warnings } = isJson ? readJson(name, text) : readMarkdown(text);
  const mistakes = [...tooLong(tasks), ...repeated(tasks, unit)].sort((a, b) => a.line - b.line);
  if (mistakes.length > 0)
    throw new Misuse(shown(mistakes.map(({ line, message }) => `${at(line)}: ${message}`)));
  const doubts = [...warnings, ...alike(tasks, unit), ...(text.includes("\ufffd") ? broken(tasks) : [])];
  if (tasks.length === 0) doubts.push({ line: 1, message: "there are no tasks in it" });
  return { tasks, warnings: doubts.sort((a, b) => a.line - b.line) };
}

export function shown(mistakes: readonly string[]): string[] {
  const rest = mistakes.length - mistakesMax;
  return rest <= 0 ? [...mistakes] : [...mistakes.slice(0, mistakesMax), `and ${rest} more like these`];
}

const lineAt = (text: string, index: number): number => text.slice(0, index).split(/\r\n|\n|\r/).length;

/** The gateway's limits. */
const texts = [
  ["the ref", "task_ref", 200],
  ["the title", "title", 500],
  ["acceptance criteria", "acceptance_criteria", 20_000],
  ["notes", "notes", 20_000],
] as const;
const pathsMax = 500;
const pathMax = 500;

function* tooLong(tasks: readonly FileTask[]): Generator<Warning> {
  for (const task of tasks) {
    for (const [what, field, max] of texts) {
      const size = task[field]?.length ?? 0;
      if (size > max)
        yield { line: task.line, message: `${what} of ${size} characters; would be at most ${max}` };
    }
    for (const paths of [task.mapped_files, task.mapped_tests]) {
      const long = paths.find((path) => path.length > pathMax);
      if (paths.length > pathsMax)
        yield { line: task.line, message: `${paths.length} paths; would be at most ${pathsMax}` };
      if (long !== undefined)
        yield {
          line: task.line,
          message: `a path of ${long.length} characters; would be at most ${pathMax}`,
        };
    }
  }
}

function repeated(tasks: readonly FileTask[], unit: string): Warning[] {
  const first = new Map<string, number>();
  return tasks.flatMap((task) => {
    const key = keyOf(task);
    const before = key === null ? undefined : first.get(key);
    if (key !== null && before === undefined) first.set(key, task.line);
    if (before === undefined) return [];
    const message = `${short(task.task_ref ?? "")} again, after ${unit} ${before}; each ref would stand once`;
    return [{ line: task.line, message }];
  });
}

/** Without refs the gateway tells tasks apart by spec, title and criteria. */
function alike(tasks: readonly FileTask[], unit: string): Warning[] {
  const first = new Map<string, number>();
  return tasks.flatMap(({ task_ref, originating_spec, title, acceptance_criteria, line }) => {
    if (task_ref !== null) return [];
    const whole = [originating_spec, title, acceptance_criteria].join("\0").normalize("NFKC");
    const key = whole.toLowerCase().replace(/\s+/g, " ");
    const before = first.get(key);
    if (before === undefined) first.set(key, line);
    const message = `the same as ${unit} ${before}, by its title and criteria; a ref would tell them apart`;
    return before === undefined ? [] : [{ line, message }];
  });
}

function broken(tasks: readonly FileTask[]): Warning[] {
  const found = tasks.find((task) => JSON.stringify(task).includes("\ufffd"));
  if (found === undefined) return [];
  return [{ line: found.line, message: "has letters that are lost; the file would be in UTF-8" }];
}
