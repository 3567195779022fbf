/** The task list that a person named, and how its lines are called. */
import { readText } from "./input-file.ts";
import { type FileTask, readTaskFile, type Warning } from "./task-file.ts";
import type { World } from "./world.ts";

export type Source = {
  readonly name: string;
  readonly isJson: boolean;
  readonly tasks: FileTask[];
  readonly warnings: Warning[];
  /** `tasks.md:12`, or `tasks.json: task 3`. */
  placeOf(line: number): string;
};

export async function readSource(world: World, file: string): Promise<Source> {
  const text = await readText(world, file);
  const name = file === "-" ? nameFor(text) : file;
  const isJson = /\.json$/i.test(name);
  const placeOf = (line: number) => (isJson ? `${name}: task ${line}` : `${name}:${line}`);
  return { name, isJson, ...readTaskFile(name, text), placeOf };
}

/** A Markdown list may begin with a box or a link, but then neither goes on nor ends like a list of JSON. */
const nameFor = (text: string): string =>
  /^\s*(?:\{|\[\s*(?:\{|\]\s*$))/.test(text) ? "stdin.json" : "stdin.md";
