/**
 * The headers in which an HTTP client of the modern era repeats what its body says: an app on a pipe sends none, so they
 * are made here. Arguments that a tool's schema wants to see in one (`x-mcp-header`) are known from the lists that pass.
 */
import { type DeclaredHeader, declaredHeaders } from "../features/mcp/headers.ts";
import { type Envelope, isObject } from "./connect-envelope.ts";

/** Of the message alone; `version` is what was agreed in the legacy era. */
export function headersOf({ modernVersion, method, name }: Envelope, version: string | null): Headers {
  const headers = new Headers({
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
  });
  const spoken = modernVersion ?? version;
  if (spoken !== null) headers.set("mcp-protocol-version", headerText(spoken));
  if (modernVersion === null) return headers;
  if (method !== null) headers.set("mcp-method", headerText(method));
  if (name !== null) headers.set("mcp-name", headerText(name));
  return headers;
}

export class DeclaredParams {
  readonly #byTool = new Map<string, DeclaredHeader[]>();

  /** From the result of `tools/list`; gives back whom it was about. */
  learn(result: unknown): Set<string> {
    const tools = isObject(result) && Array.isArray(result.tools) ? (result.tools as unknown[]) : [];
    const names = new Set<string>();
    for (const tool of tools) {
      if (!isObject(tool) || typeof tool.name !== "string") continue;
      names.add(tool.name);
      const declared = declaredHeaders(tool.inputSchema);
      if (declared.length > 0) this.#byTool.set(tool.name, declared);
      else this.#byTool.delete(tool.name);
    }
    return names;
  }

  knows(tool: string): boolean {
    return this.#byTool.has(tool);
  }

  addTo(headers: Headers, { modernVersion, tool, value: { params } }: Envelope): void {
    if (modernVersion === null || tool === null || !isObject(params)) return;
    for (const { header, path } of this.#byTool.get(tool) ?? []) {
      const value = valueAt(params.arguments, path);
      if (typeof value === "string" || typeof value === "number" || typeof value === "boolean")
        headers.set(header, headerText(String(value)));
    }
  }
}

function valueAt(args: unknown, path: readonly string[]): unknown {
  let value = args;
  for (const key of path) value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}

/** MCP 2026-07-28, Streamable HTTP: what no header can hold as it is goes in base64. */
function headerText(value: string): string {
  const isPlain = /^[\x20-\x7e]+$/.test(value) && value === value.trim() && !/^=\?base64\?.*\?=$/.test(value);
  return isPlain ? value : `=?base64?${Buffer.from(value).toString("base64")}?=`;
}
