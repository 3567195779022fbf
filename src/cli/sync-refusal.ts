/**
 * What the gateway found wrong with a task list, said with the lines of the file that it came from.
 */
import { printable } from "./print.ts";
import { ApiRefusal } from "./sign-in-api.ts";
import type { Source } from "./sync-source.ts";
import { type FileTask, shown } from "./task-file.ts";
import { Ended, Misuse, type World } from "./world.ts";

export type Sent = {
  readonly source: Source;
  /** What was refused, behind `written` tasks of the file that were not. */
  readonly piece: readonly FileTask[];
  readonly written: number;
};

/** What is to be thrown: a misuse for mistakes of the file; what else stands in the way has been said by then. */
export function refusalOf(world: World, { source, piece, written }: Sent, error: unknown): unknown {
  if (written > 0) {
    const count = `${written} of ${source.tasks.length} tasks`;
    world.stderr(`${source.name}: ${count} are written, and the rest is not:\n`);
  }
  if (!(error instanceof ApiRefusal) || error.problem.errors.length === 0) return error;
  const { detail, errors } = error.problem;
  const lines = shown(errors.map((mistake) => inFile(source, piece, mistake)));
  if (error.httpStatus === 422) return new Misuse(lines);
  world.stderr(`specgate: ${printable(detail)}\n`);
  for (const line of lines) world.stderr(`  ${printable(line)}\n`);
  return new Ended(1);
}

function inFile(
  { placeOf }: Source,
  piece: readonly FileTask[],
  { path, message }: { path: string; message: string },
): string {
  const place = (index: string): string | null => {
    const task = piece[Number(index)];
    return task === undefined ? null : placeOf(task.line);
  };
  const words = message.replace(/\btasks\.(\d+)/g, (name, index: string) => place(index) ?? name);
  const [, index = "", field] = /^tasks\.(\d+)(?:\.(.+))?$/.exec(path) ?? [];
  const stands = index === "" ? null : place(index);
  if (stands === null) return `${path}: ${words}`;
  return field === undefined ? `${stands}: ${words}` : `${stands}: ${field}: ${words}`;
}
