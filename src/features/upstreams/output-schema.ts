/**
 * Whether every client can make something of a tool's `outputSchema`.
 *
 * Widespread ones compile all output schemas of a list at once, and one that does not compile costs them the whole list:
 * a broken server would take everybody's tools away, also the gateway's own. So what a compiler of JSON Schema (draft-07,
 * as those clients use) stumbles over is found here first: wrong types of keywords, patterns that are none, references
 * that lead nowhere or away. It is looked at, not compiled: to compile a hostile one takes seconds.
 */

type Rule = (value: unknown) => boolean;

const isNumber: Rule = (value) => typeof value === "number";
const isText: Rule = (value) => typeof value === "string";
const isFlag: Rule = (value) => typeof value === "boolean";
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isSchema: Rule = (value) => isObject(value) || isFlag(value);
const isSchemas: Rule = (value) =>
  Array.isArray(value) && value.length > 0 && value.length <= branchesMax && value.every(isSchema);
const isNamed: Rule = (value) => isObject(value) && Object.values(value).every(isSchema);
const isNames: Rule = (value) => Array.isArray(value) && value.every(isText);
const never: Rule = () => false;

/** More make compilers slow, or run out of stack. */
const branchesMax = 100;
const schemasMax = 1_000;

const typeNames = new Set(["string", "number", "integer", "boolean", "array", "object", "null"]);
const isTypes: Rule = (value) => {
  const types = Array.isArray(value) ? value : [value];
  return (
    types.length > 0 && types.every((type) => typeNames.has(type)) && new Set(types).size === types.length
  );
};

function isPattern(value: unknown): boolean {
  try {
    return isText(value) && new RegExp(value as string, "u") !== null;
  } catch {
    return false;
  }
}

/** What each keyword must be; those that are not here say nothing to such a compiler. */
const rules: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ["type", isTypes],
  ...["maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum", "multipleOf"].map(numeric),
  ...["maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"].map(numeric),
  ["pattern", isPattern],
  ["format", isText],
  ["$id", isText],
  ["uniqueItems", isFlag],
  ["required", isNames],
  ["enum", (value) => Array.isArray(value) && value.length > 0],
  ["items", (value) => isSchema(value) || isSchemas(value)],
  ...["not", "if", "then", "else", "contains", "propertyNames"].map(ofSchema),
  ...["additionalItems", "additionalProperties"].map(ofSchema),
  ["allOf", isSchemas],
  ["anyOf", isSchemas],
  ["oneOf", isSchemas],
  ["properties", isNamed],
  ["definitions", isNamed],
  ["$defs", isNamed],
  ["patternProperties", (value) => isNamed(value) && Object.keys(value as object).every(isPattern)],
  [
    "dependencies",
    (value) => isObject(value) && Object.values(value).every((one) => isSchema(one) || isNames(one)),
  ],
  // What means something else to each compiler, or stops it.
  ...["id", "$async", "nullable", "discriminator"].map((word): [string, Rule] => [word, never]),
  ...["formatMaximum", "formatMinimum", "formatExclusiveMaximum", "formatExclusiveMinimum"].map(
    (word): [string, Rule] => [word, never],
  ),
]);

function numeric(word: string): [string, Rule] {
  return [word, isNumber];
}
function ofSchema(word: string): [string, Rule] {
  return [word, isSchema];
}

/** Where it is wrong, as a JSON pointer; null when it is not. It must not be nested without end. */
export function wrongInOutputSchema(root: Record<string, unknown>): string | null {
  return namedWithin(root, "", true) ?? walk(root);
}

/** Names are found at any depth, whatever they stand in. A property may be called so, and is no text then. */
function namedWithin(value: unknown, path: string, isRoot = false): string | null {
  if (typeof value !== "object" || value === null) return null;
  for (const [key, member] of Object.entries(value)) {
    const at = `${path}/${escaped(key)}`;
    const isName = key === "$id" || key === "$anchor" || key === "$dynamicAnchor";
    if (isName && isText(member) && !(isRoot && key === "$id" && plainUrl.test(member as string))) return at;
    const wrong = namedWithin(member, at);
    if (wrong !== null) return wrong;
  }
  return null;
}

const plainUrl = /^https?:\/\/[A-Za-z0-9.-]+\/[A-Za-z0-9._/-]*$/;

function walk(root: Record<string, unknown>): string | null {
  const waiting: [schema: unknown, path: string][] = [[root, ""]];
  const met = new Set<unknown>();
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [schema, path] = next;
    if (!isObject(schema) || met.has(schema)) continue;
    met.add(schema);
    if (met.size > schemasMax) return path;
    for (const [word, value] of Object.entries(schema)) {
      const at = `${path}/${escaped(word)}`;
      if (word === "$ref") {
        const target = targetOf(root, value);
        if (target === undefined) return at;
        waiting.push([target, (value as string).slice(1)]);
      } else if (rules.get(word)?.(value) === false) return at;
      else if (rules.has(word)) waiting.push(...schemasIn(value, at, word));
    }
  }
  return null;
}

const withSchemas = new Set(["properties", "definitions", "$defs", "patternProperties", "dependencies"]);
const notSchemas = new Set(["enum", "required", "type"]);

function schemasIn(value: unknown, path: string, word: string): [unknown, string][] {
  if (typeof value !== "object" || value === null || notSchemas.has(word)) return [];
  if (!Array.isArray(value) && !withSchemas.has(word)) return [[value, path]];
  return Object.entries(value).map(([key, member]) => [member, `${path}/${escaped(key)}`]);
}

/** A schema within the same document; undefined for anything else. */
function targetOf(root: Record<string, unknown>, ref: unknown): unknown {
  if (ref === "#") return root;
  if (typeof ref !== "string" || !/^#(?:\/[A-Za-z0-9$_.~-]+)+$/.test(ref)) return undefined;
  let target: unknown = root;
  for (const part of ref.slice(2).split("/")) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof target !== "object" || target === null || !Object.hasOwn(target, key)) return undefined;
    target = (target as Record<string, unknown>)[key];
  }
  return isSchema(target) ? target : undefined;
}

const escaped = (key: string): string => key.replaceAll("~", "~0").replaceAll("/", "~1");
