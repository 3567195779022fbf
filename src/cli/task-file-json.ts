/**
 * Tasks as JSON: a list of objects, or `{"tasks": [ … ]}`, with the API's fields under their own names or in camelCase.
 *
 * A member that is not known is a mistake, since it would be lost. All mistakes are said at once, each with its task.
 */
import { hint } from "../platform/nearest.ts";
import { type FileTask, mistakesMax, shown } from "./task-file.ts";
import { short } from "./task-file-draft.ts";
import { breakOf } from "./task-file-json-syntax.ts";
import { statusOfWord, statusWords } from "./task-file-marks.ts";
import { specOfRef } from "./task-file-title.ts";
import { Misuse } from "./world.ts";

type Field = Exclude<keyof FileTask, "line">;

const names: Record<Field, string[]> = {
  task_ref: ["task_ref", "taskRef", "ref", "id"],
  title: ["title"],
  originating_spec: ["originating_spec", "originatingSpec", "spec"],
  acceptance_criteria: ["acceptance_criteria", "acceptanceCriteria"],
  mapped_files: ["mapped_files", "mappedFiles"],
  mapped_tests: ["mapped_tests", "mappedTests"],
  status: ["status"],
  notes: ["notes"],
};
const fieldOf = new Map(
  Object.entries(names).flatMap(([field, all]) => all.map((name) => [name, field as Field])),
);

/** Words a mistake only when it will be shown: to look for what was meant takes its time. */
type Say = (mistake: () => string) => void;

export function readJson(name: string, text: string): { tasks: FileTask[]; warnings: [] } {
  const found = listOf(parse(name, text.replace(/^\ufeff/, "")));
  if (typeof found === "string") throw new Misuse([`${name}: ${found}`]);
  const mistakes: string[] = [];
  const tasks = found.map((value, index) =>
    taskOf(value, index + 1, (mistake) => {
      const isShown = mistakes.length < mistakesMax;
      mistakes.push(isShown ? `${name}: task ${index + 1}: ${mistake()}` : "");
    }),
  );
  if (mistakes.length > 0) throw new Misuse(shown(mistakes));
  return { tasks, warnings: [] };
}

function parse(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const what = error instanceof Error ? error.message.replace(/^JSON Parse error: /, "") : "broken";
    const { line, column } = breakOf(text);
    throw new Misuse([`${name}:${line}:${column}: not JSON: ${what}`]);
  }
}

/** The tasks, or what is wrong. */
function listOf(value: unknown): unknown[] | string {
  if (Array.isArray(value)) return value;
  if (!isObject(value) || !("tasks" in value)) return 'no tasks; would be [ … ] or {"tasks": [ … ]}';
  const other = Object.keys(value).find((key) => key !== "tasks");
  if (other !== undefined) return noSuch(other, ["tasks"]);
  return Array.isArray(value.tasks) ? value.tasks : "tasks is not a list; would be [ … ]";
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const noSuch = (name: string, known: Iterable<string>): string =>
  `no such member "${short(name)}"${hint(name.slice(0, 100), known)}`;

function taskOf(value: unknown, line: number, say: Say): FileTask {
  if (!isObject(value)) say(() => "not an object");
  const given = isObject(value) ? byField(value, say) : new Map<Field, unknown>([["title", "-"]]);
  const task_ref = textOf(given, "task_ref", say);
  const title = textOf(given, "title", say) ?? "";
  if (title === "" && !isWrong(given.get("title"))) say(() => "has no title");
  return {
    task_ref,
    title,
    originating_spec: given.has("originating_spec")
      ? textOf(given, "originating_spec", say)
      : specOfRef(task_ref ?? ""),
    acceptance_criteria: textOf(given, "acceptance_criteria", say),
    mapped_files: pathsOf(given, "mapped_files", say),
    mapped_tests: pathsOf(given, "mapped_tests", say),
    status: statusIn(given.get("status"), say),
    notes: textOf(given, "notes", say),
    line,
  };
}

/** Of a kind that was a mistake already. */
const isWrong = (title: unknown): boolean =>
  title !== undefined && title !== null && typeof title !== "string";

function byField(value: Record<string, unknown>, say: Say): Map<Field, unknown> {
  const given = new Map<Field, unknown>();
  const named = new Map<Field, string>();
  for (const [name, member] of Object.entries(value)) {
    const field = fieldOf.get(name);
    const before = field === undefined ? undefined : named.get(field);
    if (field === undefined) say(() => noSuch(name, fieldOf.keys()));
    else if (before !== undefined) say(() => `"${before}" and "${name}" are the same; would be one of them`);
    else {
      given.set(field, member);
      named.set(field, name);
    }
  }
  return given;
}

/** Criteria and notes may be lists of lines, and a ref a number. An empty text is none; names are trimmed. */
function textOf(given: ReadonlyMap<Field, unknown>, field: Field, say: Say): string | null {
  const value = given.get(field);
  if (value === undefined || value === null) return null;
  const isLines = field === "acceptance_criteria" || field === "notes";
  if (typeof value === "string") return (isLines ? value : value.trim()) || null;
  if (field === "task_ref" && Number.isSafeInteger(value)) return String(value);
  if (isLines && isTexts(value)) return value.join("\n") || null;
  say(() => `${field} is not a text`);
  return null;
}

function pathsOf(given: ReadonlyMap<Field, unknown>, field: Field, say: Say): string[] {
  const value = given.get(field) ?? [];
  if (isTexts(value) && value.every((path) => path !== "")) return [...new Set(value)];
  say(() => `${field} is not a list of paths; would be such as ["src/login.ts"]`);
  return [];
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string");

function statusIn(value: unknown, say: Say): FileTask["status"] {
  if (value === undefined || value === null) return "planned";
  const status = typeof value === "string" ? statusOfWord(value) : null;
  const right = "planned, doing, blocked, done or cancelled";
  if (typeof value !== "string") say(() => `status is not a text; would be ${right}`);
  else if (status === null)
    say(
      () =>
        `"${short(value)}" is no status${hint(value.slice(0, 100), statusWords) || `; would be ${right}`}`,
    );
  return status ?? "planned";
}
