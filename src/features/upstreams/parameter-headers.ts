/**
 * Arguments that a tool's schema wants repeated in headers (`x-mcp-header`, MCP 2026-07-28, Streamable HTTP), and how a
 * value becomes a header.
 *
 * Every such header begins with `mcp-param-`, so none can pass for one of the gateway's own.
 */
import { isObject } from "./rpc.ts";

/** Where the value stands in the arguments, and in which header it is repeated. */
export type ParameterHeader = { readonly path: readonly string[]; readonly header: Lowercase<string> };

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}$/;
const types = new Set(["string", "integer", "boolean"]);
const depthMax = 20;
const key = "x-mcp-header";

/** Null when the schema declares one where none may be: such a tool is not to be used. */
export function parameterHeadersOf(inputSchema: Readonly<Record<string, unknown>>): ParameterHeader[] | null {
  const found: ParameterHeader[] = [];
  const isFine = collect(inputSchema, [], found);
  const isUnique = new Set(found.map(({ header }) => header)).size === found.length;
  // Each declaration has to be one that was reached; any other stands where it must not.
  return isFine && isUnique && found.length === declarationsIn(inputSchema) ? found : null;
}

function collect(
  schema: Readonly<Record<string, unknown>>,
  path: string[],
  found: ParameterHeader[],
): boolean {
  if (path.length > depthMax) return false;
  if (key in schema && path.length > 0) {
    const name = schema[key];
    if (typeof name !== "string" || !token.test(name) || !types.has(String(schema.type))) return false;
    found.push({ path, header: `mcp-param-${name.toLowerCase()}` as Lowercase<string> });
  }
  if (!isObject(schema.properties)) return true;
  return Object.entries(schema.properties).every(
    ([name, inner]) => !isObject(inner) || collect(inner, [...path, name], found),
  );
}

/** Of schemas and not of properties that are called so; a value that is quoted in one may count, which refuses the tool. */
function declarationsIn(node: unknown, isNames = false): number {
  if (Array.isArray(node)) return node.reduce<number>((sum, inner) => sum + declarationsIn(inner), 0);
  if (!isObject(node)) return 0;
  let count = !isNames && key in node ? 1 : 0;
  for (const [name, inner] of Object.entries(node))
    count += declarationsIn(inner, !isNames && name === "properties");
  return count;
}

/** For the arguments that are there and are plain values. */
export function headersFor(
  declared: readonly ParameterHeader[],
  args: Readonly<Record<string, unknown>>,
): Record<Lowercase<string>, string> {
  const headers: Record<Lowercase<string>, string> = {};
  for (const { path, header } of declared) {
    const value = path.reduce<unknown>((inner, name) => (isObject(inner) ? inner[name] : undefined), args);
    const isPlain = typeof value === "string" || typeof value === "boolean" || Number.isSafeInteger(value);
    if (isPlain) headers[header] = headerValue(String(value));
  }
  return headers;
}

/** As it is where a header can hold it, and otherwise in the base64 form that MCP gives for it. */
export function headerValue(value: string): string {
  const isPlain = /^[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?$/.test(value);
  if (isPlain && !(value.startsWith("=?base64?") && value.endsWith("?="))) return value;
  return `=?base64?${Buffer.from(value, "utf8").toString("base64")}?=`;
}
