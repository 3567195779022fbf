/**
 * Options and arguments that the commands over HTTP share, and how their help ends.
 *
 * An id is checked for its kind before it is sent: to take a session for an iteration is a misuse, and would otherwise be
 * answered as something that is not there.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { isId, type Prefix } from "../platform/ids.ts";
import type { Control } from "./control-api.ts";
import { clientHelp, type GatewayFlags } from "./sign-in-gateway.ts";
import { Misuse } from "./world.ts";

export type ControlFlags = GatewayFlags & { json?: boolean };

/** Adds where the command goes, as whom, and how it prints; to be called after its own options, so that they come first. */
export function overGateway(command: Command, help: { notes?: string; examples: string[] }): Command {
  const examples = help.examples.map((line) => `  $ ${line}\n`).join("");
  const notes = help.notes === undefined ? "" : `${help.notes}\n\n`;
  return command
    .option("--url <url>", "the gateway")
    .option("--token <token>", "a bearer to use instead of the sign-in; other processes can read it here")
    .option("--json", "print JSON, as the API answers")
    .addHelpText("after", clientHelp(`${notes}Example${help.examples.length > 1 ? "s" : ""}:\n${examples}`));
}

const kinds = {
  prj: "a project",
  ses: "a session",
  itr: "an iteration",
  tsk: "a task",
  rpt: "a report",
  apv: "an approval",
  art: "an artifact",
} as const satisfies Partial<Record<Prefix, string>>;

export function parseId(prefix: keyof typeof kinds): (text: string) => string {
  return (text) => {
    if (isId(prefix, text)) return text;
    throw new InvalidArgumentError(
      `It takes the id of ${kinds[prefix]}: ${prefix}_ and 32 hexadecimal digits.`,
    );
  };
}

export const parseProject = parseId("prj");
export const parseSession = parseId("ses");
export const parseIteration = parseId("itr");

export const choice = (flags: string, meaning: string, values: readonly string[]): Option =>
  new Option(flags, meaning).choices([...values]);

/** For options that take a number with or without a fraction; bounds are the gateway's to say. */
export function parseNumber(text: string): number {
  if (/^\d{1,9}(\.\d{1,9})?$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It takes a number, such as 80 or 92.5.");
}

type Me = { principal: { project_id: string | null } };

/** The project that was named, else the one that the credential is bound to. */
export async function projectOf(control: Control, named: string | undefined): Promise<string> {
  if (named !== undefined) return named;
  const { principal } = await control.get<Me>("/me");
  if (principal.project_id !== null) return principal.project_id;
  throw new Misuse([
    "--project is missing: this credential is bound to no project; would be --project prj_…",
  ]);
}

/** Throws when a change names nothing. */
export function requireSome(changes: object, options: string): void {
  if (Object.values(changes).some((value) => value !== undefined)) return;
  throw new Misuse([`there is nothing to change; would be one or more of ${options}`]);
}
