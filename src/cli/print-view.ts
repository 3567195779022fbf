/**
 * How one thing of the gateway's is shown: its short fields below each other, then each text of several lines under its
 * name. Texts come from strangers, and a terminal obeys what it is sent: control characters are shown as `?`.
 */
import { printJson, printOne } from "./print.ts";
import type { World } from "./world.ts";

export function printView(world: World, json: boolean | undefined, view: object): void {
  if (json === true) {
    printJson(world, view);
    return;
  }
  const fields = Object.entries(view);
  printOne(world, false, Object.fromEntries(fields.filter(([, value]) => !isLong(value))));
  for (const [name, value] of fields) if (isLong(value)) world.stdout(`\n${name}\n${indented(value)}`);
}

const isLong = (value: unknown): value is string => typeof value === "string" && value.includes("\n");

const indented = (text: string): string =>
  readable(text)
    .trimEnd()
    .split("\n")
    .map((line) => (line === "" ? "\n" : `  ${line}\n`))
    .join("");

/** Several lines as a terminal may show them. */
export const readable = (text: string): string =>
  text.replaceAll("\r\n", "\n").replace(/(?![\n\t])\p{Cc}/gu, "?");
