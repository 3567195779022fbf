/**
 * What an upstream lists, sorted out: what can be offered under `alias__tool`, and what cannot, with why.
 *
 * Nothing is renamed, cut or repaired: a name that clients or models could not take, one that stands twice, or a definition
 * that would spoil the list for a client is refused and said to be. An alias never holds `__` and never ends with `_`,
 * so that no two upstreams can make the same name.
 */
import { storable } from "../../db/storable.ts";
import type { ToolDefinition } from "../../platform/upstream.ts";
import { Breath } from "./breath.ts";
import { canonicalJson, depthMax, pinOf } from "./canonical.ts";
import { definitionForm } from "./contract.ts";
import { wrongInOutputSchema } from "./output-schema.ts";
import { parameterHeadersOf } from "./parameter-headers.ts";

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

type Redacting = <Value>(value: Value) => Value;
type Sorted = { readonly tools: ReadonlyMap<string, Seen>; readonly refused: readonly Refused[] };

/** `redact` takes the gateway's secrets out: what is kept and shown has none. Pinned is what the server said. */
export function sortOut(alias: string, definitions: readonly unknown[], redact: Redacting): Sorted {
  const sorting = new Sorting(alias, definitions, redact);
  for (const definition of definitions) sorting.take(definition);
  return sorting;
}

/** The same, and everybody else has a turn meanwhile. */
export async function sortOutInTurns(
  alias: string,
  definitions: readonly unknown[],
  redact: Redacting,
): Promise<Sorted> {
  const sorting = new Sorting(alias, definitions, redact);
  const breath = new Breath();
  for (const definition of definitions) {
    sorting.take(definition);
    await breath.take();
  }
  return sorting;
}

/** What could not be offered anyway is not looked into. */
class Sorting implements Sorted {
  readonly tools = new Map<string, Seen>();
  readonly refused: Refused[] = [];
  readonly #alias: string;
  readonly #twice: ReadonlySet<string>;
  readonly #redact: Redacting;
  #bytes = 0;

  constructor(alias: string, definitions: readonly unknown[], redact: Redacting) {
    this.#alias = alias;
    this.#twice = repeatedIn(definitions.map(nameIn));
    this.#redact = redact;
  }

  take(definition: unknown): void {
    const name = nameIn(definition);
    const seen = this.#wrong(definition, name) ?? see(name, definition, this.#redact);
    if (typeof seen === "string")
      this.refused.push({ tool: storable(this.#redact(name).slice(0, 128)), reason: seen });
    else if (this.#bytes + seen.bytes > listBytesMax) this.refused.push({ tool: name, reason: tooLarge });
    else {
      this.#bytes += seen.bytes;
      this.tools.set(name, seen);
    }
  }

  #wrong(definition: unknown, name: string): string | null {
    const wrong = wrongName(this.#alias, name) ?? (this.#twice.has(name) ? repeated : null);
    if (wrong !== null) return wrong;
    if (this.tools.size >= toolsMax) return tooMany;
    // By its own text, which costs a hundredth of the canonical one.
    const bytes = Buffer.byteLength(JSON.stringify(definition));
    if (bytes > definitionBytesMax) return definitionTooLarge;
    return this.#bytes + bytes > listBytesMax ? tooLarge : null;
  }
}

const repeated = "its name stands in the list more than once";
const tooLarge = `at most ${listBytesMax} bytes of definitions of one upstream are offered`;
const tooMany = `at most ${toolsMax} tools of one upstream are offered`;
const definitionTooLarge = `its definition has more than ${definitionBytesMax} bytes`;

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
  // Patterns are split there: `github__*` has to be all that comes from one upstream.
  if (name.includes("__")) return "its name holds __, which stands between an alias and a name";
  const { length } = offeredName(alias, name);
  if (length <= nameCharactersMax) return null;
  return `its name with the alias has ${length} characters; ${nameCharactersMax} are the most`;
}

/** Or why not. */
function see(tool: string, given: unknown, redact: <Value>(value: Value) => Value): Seen | string {
  const parsed = definitionForm.safeParse(given);
  if (!parsed.success) {
    const path = parsed.error.issues[0]?.path.join(".") ?? "";
    return `its definition is not one of a tool, at ${readable(path, redact)}`;
  }
  if (parameterHeadersOf(parsed.data.inputSchema) === null)
    return "an x-mcp-header of its inputSchema is none that a header can repeat";
  const canonical = canonicalOf(given);
  if (canonical === null) return `its definition is nested deeper than ${depthMax} levels`;
  const { outputSchema } = given as ToolDefinition;
  const wrong = outputSchema === undefined ? null : wrongInOutputSchema(outputSchema);
  if (wrong !== null) return `its outputSchema is none that clients compile, at ${readable(wrong, redact)}`;
  const definition = shown(given as ToolDefinition, redact);
  if (definition === null) return "its name or a schema of it holds a secret of this gateway";
  const bytes = Buffer.byteLength(canonical);
  if (bytes > definitionBytesMax) return definitionTooLarge;
  // As JSON.stringify spells NUL and lone halves of surrogate pairs, behind an even number of backslashes.
  if (/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/.test(canonical))
    return "its definition holds NUL or half a character, which cannot be kept";
  return { tool, definition, pin: pinOf(canonical), bytes };
}

/** Null where a secret stands in what callers have to send back: a name, or a schema, which would be another one without. */
export function shown(definition: ToolDefinition, redact: Redacting): ToolDefinition | null {
  const safe = redact(definition);
  const isSame =
    safe === definition ||
    (safe.name === definition.name &&
      safe.inputSchema === definition.inputSchema &&
      safe.outputSchema === definition.outputSchema);
  return isSame ? safe : null;
}

/** Cut last: half a secret is no longer found. */
const readable = (path: string, redact: (value: string) => string): string =>
  storable(redact(path).slice(0, 100));

/** Null for what is nested too deep. */
function canonicalOf(value: unknown): string | null {
  try {
    return canonicalJson(value);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}
