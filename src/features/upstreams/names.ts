/**
 * What an upstream lists, sorted out: what can be offered under `alias__tool`, and what cannot, with why.
 *
 * Nothing is renamed, cut or repaired: a name that clients or models could not take, one that stands twice, or a definition
 * that would spoil the list for a client is refused and said to be. An alias never holds `__` and never ends with `_`,
 * so that no two upstreams can make the same name.
 */
import { storable } from "../../db/storable.ts";
import type { ToolDefinition } from "../../platform/upstream.ts";
import { canonicalJson, depthMax, pinOf } from "./canonical.ts";
import { definitionForm } from "./contract.ts";
import { wrongInOutputSchema } from "./output-schema.ts";

/** A tool as it was listed. */
export type Seen = {
  readonly tool: string;
  readonly definition: ToolDefinition;
  readonly pin: string;
  /** Of its canonical text. */
  readonly bytes: number;
};
/** `tool` is for reading: cut, and without what no database keeps. */
export type Refused = { readonly tool: string; readonly reason: string };

/** Clients put a prefix of their own before it, and model APIs take 64. */
export const nameCharactersMax = 48;
const toolsMax = 512;
const definitionBytesMax = 65_536;
/** Of all tools of one upstream: every list that a client asks for carries them. */
const listBytesMax = 2_097_152;
const nameForm = /^[A-Za-z0-9_-]+$/;

export const offeredName = (alias: string, tool: string): string => `${alias}__${tool}`;
export const ownName = (alias: string, offered: string): string => offered.slice(alias.length + 2);

/** `redact` takes the gateway's secrets out: what is kept, shown and pinned has none. */
export function sortOut(
  alias: string,
  definitions: readonly unknown[],
  redact: <Value>(value: Value) => Value,
): { tools: ReadonlyMap<string, Seen>; refused: Refused[] } {
  const tools = new Map<string, Seen>();
  const refused: Refused[] = [];
  let bytes = 0;
  const twice = repeatedIn(definitions.map(nameIn));
  for (const definition of definitions) {
    const name = nameIn(definition);
    const reason = wrongName(alias, name) ?? (twice.has(name) ? repeated : null);
    const seen = reason ?? see(name, definition, redact);
    if (typeof seen === "string") refused.push({ tool: storable(redact(name).slice(0, 128)), reason: seen });
    else if (tools.size >= toolsMax) refused.push({ tool: name, reason: tooMany });
    else if (bytes + seen.bytes > listBytesMax) refused.push({ tool: name, reason: tooLarge });
    else {
      bytes += seen.bytes;
      tools.set(name, seen);
    }
  }
  return { tools, refused };
}

const repeated = "its name stands in the list more than once";
const tooLarge = `at most ${listBytesMax} bytes of definitions of one upstream are offered`;
const tooMany = `at most ${toolsMax} tools of one upstream are offered`;

const nameIn = (definition: unknown): string =>
  typeof definition === "object" &&
  definition !== null &&
  "name" in definition &&
  typeof definition.name === "string"
    ? definition.name
    : "";

function repeatedIn(names: readonly string[]): Set<string> {
  const met = new Set<string>();
  return new Set(names.filter((name) => met.size === met.add(name).size));
}

function wrongName(alias: string, name: string): string | null {
  if (name === "") return "it has no name";
  if (!nameForm.test(name)) return "its name holds other characters than A-Z, a-z, 0-9, _ and -";
  const { length } = offeredName(alias, name);
  if (length <= nameCharactersMax) return null;
  return `its name with the alias has ${length} characters; ${nameCharactersMax} are the most`;
}

/** Or why not. */
function see(tool: string, given: unknown, redact: <Value>(value: Value) => Value): Seen | string {
  const parsed = definitionForm.safeParse(given);
  if (!parsed.success) {
    const path = parsed.error.issues[0]?.path.join(".").slice(0, 100) ?? "";
    return `its definition is not one of a tool, at ${storable(path)}`;
  }
  if (canonicalOf(given) === null) return `its definition is nested deeper than ${depthMax} levels`;
  const { outputSchema } = given as ToolDefinition;
  const wrong = outputSchema === undefined ? null : wrongInOutputSchema(outputSchema);
  if (wrong !== null)
    return `its outputSchema is none that clients compile, at ${storable(wrong.slice(0, 100))}`;
  const definition = redact(given as ToolDefinition);
  if (definition.name !== tool) return "its name holds a secret of this gateway";
  const canonical = canonicalJson(definition);
  const bytes = Buffer.byteLength(canonical);
  if (bytes > definitionBytesMax) return `its definition has more than ${definitionBytesMax} bytes`;
  // As JSON.stringify spells NUL and lone halves of surrogate pairs, behind an even number of backslashes.
  if (/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/.test(canonical))
    return "its definition holds NUL or half a character, which cannot be kept";
  return { tool, definition, pin: pinOf(canonical), bytes };
}

/** Null for what is nested too deep. */
function canonicalOf(value: unknown): string | null {
  try {
    return canonicalJson(value);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}
