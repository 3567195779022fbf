/**
 * How data is shown: one JSON document on one line with `--json`, else a table that a person reads and `awk` splits.
 */
import type { World } from "./world.ts";

export type Row = Record<string, unknown>;

/** One thing: its fields below each other, those without a value left out. */
export function printOne(world: World, json: boolean, value: Row): void {
  if (json) {
    printJson(world, value);
    return;
  }
  const fields = Object.entries(value).filter(([, field]) => field !== undefined && field !== null);
  const width = Math.max(...fields.map(([name]) => name.length));
  world.stdout(fields.map(([name, field]) => `${name.padEnd(width)}  ${cell(field)}\n`).join(""));
}

/** Many things: with `--json` the API's list. */
export function printList<R extends Row>(
  world: World,
  json: boolean,
  rows: R[],
  columns: (keyof R & string)[],
): void {
  if (json) printJson(world, { data: rows, next_cursor: null });
  else world.stdout(table(rows, columns));
}

export const printJson = (world: World, value: unknown): void => world.stdout(`${JSON.stringify(value)}\n`);

/** Columns of numbers are set right, the last column is not padded. */
export function table<R extends Row>(rows: R[], columns: (keyof R & string)[]): string {
  const cells = rows.map((row) => columns.map((column) => cell(row[column])));
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...cells.map((line) => line[index]?.length ?? 0)),
  );
  const right = columns.map((_, index) => isNumeric(cells.map((line) => line[index] ?? none)));
  const render = (line: string[]) =>
    line
      .map((text, index) =>
        right[index] ? text.padStart(widths[index] ?? 0) : text.padEnd(widths[index] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return `${[columns.map((column) => column.toUpperCase()), ...cells].map(render).join("\n")}\n`;
}

const none = "-";
const numberForm = /^-?\d+(\.\d+)?$/;

const isNumeric = (column: string[]): boolean =>
  column.some((text) => text !== none) && column.every((text) => text === none || numberForm.test(text));

function cell(value: unknown): string {
  if (value === null || value === undefined) return none;
  if (Array.isArray(value)) return value.length === 0 ? none : value.map(cell).join(" ");
  // A name may hold anything; a terminal obeys what a table prints.
  return printable(String(value));
}

export const printable = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this takes out
  text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "?");
