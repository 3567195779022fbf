/**
 * What a request's headers say must be what its body says: whoever stands in between, a proxy with rules or a log, reads
 * the headers alone. The body decides here; a header that says something else stops the request.
 *
 * 2026-07-28 asks for the headers, and for these values (Streamable HTTP, standard request headers). Earlier revisions
 * know none of them, so there they may be missing, and still may not lie.
 */
import { isObject, type Message } from "./message.ts";

/** JSON-RPC error of 2026-07-28, `HeaderMismatch`; its status is 400. */
export const headerMismatch = -32_020;

export type Mismatch = { readonly header: string; readonly message: string };

/** Which member of the params the header `Mcp-Name` repeats. */
const namesOf = new Map([
  ["tools/call", "name"],
  ["prompts/get", "name"],
  ["resources/read", "uri"],
  ["tasks/get", "taskId"],
  ["tasks/update", "taskId"],
  ["tasks/cancel", "taskId"],
]);

/** Null when they agree. `isRequired`: those of 2026-07-28 must be there on a request. */
export function findMismatch(
  headers: Headers,
  { kind, method, params }: Pick<Message, "kind" | "method" | "params">,
  isRequired: boolean,
): Mismatch | null {
  const isAsked = isRequired && kind === "request";
  if (isAsked && headers.get("mcp-protocol-version") === null) return missing("MCP-Protocol-Version");
  const saidMethod = headers.get("mcp-method");
  if (saidMethod === null && isAsked) return missing("Mcp-Method");
  if (saidMethod !== null && saidMethod !== method) return differs("Mcp-Method", "method");
  return findNameMismatch(headers.get("mcp-name"), method, params, isAsked);
}

function findNameMismatch(
  said: string | null,
  method: string | null,
  params: Readonly<Record<string, unknown>>,
  isAsked: boolean,
): Mismatch | null {
  const member = namesOf.get(method ?? "");
  const name = member === undefined ? undefined : params[member];
  const hasName = typeof name === "string";
  if (said === null) return hasName && isAsked ? missing("Mcp-Name") : null;
  if (hasName && decoded(said) === name) return null;
  return differs("Mcp-Name", member === undefined ? "params: it names nothing" : `params.${member}`);
}

const sentinel = /^=\?base64\?(.*)\?=$/;
const canonical = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** What a header cannot carry as it is comes in Base64. Undefined for what is none, or no UTF-8. */
function decoded(said: string): string | undefined {
  const encoded = sentinel.exec(said)?.[1];
  if (encoded === undefined) return said;
  if (!canonical.test(encoded)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(encoded, "base64"));
  } catch {
    return undefined;
  }
}

/** An argument that a tool's schema wants to see in a header, too: `x-mcp-header`. */
export type DeclaredHeader = { readonly header: string; readonly path: readonly string[] };

const declaredLevelsMax = 16;
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Those that stand on properties alone; any other place declares nothing (2026-07-28, custom request headers). */
export function declaredHeaders(schema: unknown, path: readonly string[] = []): DeclaredHeader[] {
  if (!isObject(schema) || path.length > declaredLevelsMax) return [];
  const name = path.length > 0 ? schema["x-mcp-header"] : undefined;
  const own = typeof name === "string" && token.test(name) ? [{ header: `Mcp-Param-${name}`, path }] : [];
  const inner = isObject(schema.properties) ? Object.entries(schema.properties) : [];
  return [...own, ...inner.flatMap(([key, property]) => declaredHeaders(property, [...path, key]))];
}

/** `isRequired`: an argument that is there must be in its header. A header for what is not there says nothing. */
export function findArgumentMismatch(
  headers: Headers,
  declared: readonly DeclaredHeader[],
  args: unknown,
  isRequired: boolean,
): Mismatch | null {
  for (const { header, path } of declared) {
    const value = valueAt(args, path);
    if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean") continue;
    const said = headers.get(header);
    if (said === null && isRequired) return missing(header);
    if (said !== null && !agrees(decoded(said), value)) return differs(header, `arguments.${path.join(".")}`);
  }
  return null;
}

function valueAt(args: unknown, path: readonly string[]): unknown {
  let value = args;
  for (const key of path) value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}

const decimal = /^-?\d+(?:\.\d+)?$/;

const agrees = (said: string | undefined, value: string | number | boolean): boolean =>
  said === String(value) ||
  (typeof value === "number" && said !== undefined && decimal.test(said) && Number(said) === value);

const missing = (header: string): Mismatch => ({
  header,
  message: `The header ${header} is missing: 2026-07-28 asks for it on such a request.`,
});

/** Neither value is repeated: they may be long, and the caller knows both. */
const differs = (header: string, where: string): Mismatch => ({
  header,
  message: `The header ${header} does not say what stands in the body's ${where}.`,
});
