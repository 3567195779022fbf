/**
 * All pages of a server's list of tools. A server that never comes to an end is stopped; a definition that no client
 * could use is left out, and the log says so.
 */
import type { ToolDefinition } from "../../platform/upstream.ts";
import { checkComplete, isObject, type RpcAnswer } from "./rpc.ts";
import { nonsense } from "./upstream-failure.ts";

const pagesMax = 100;
const toolsMax = 2_000;

export type Listing = { readonly tools: ToolDefinition[]; readonly unusable: string[] };

/** `ask` puts one page's question. Throws `upstream_failed` for what is no list. */
export async function listAll(
  ask: (params: Readonly<Record<string, unknown>>) => Promise<RpcAnswer>,
): Promise<Listing> {
  const tools: ToolDefinition[] = [];
  const unusable: string[] = [];
  const seen = new Set<string>();
  for (let params = {}, page = 0; ; page++) {
    if (page === pagesMax) throw nonsense(`lists its tools on more than ${pagesMax} pages`);
    const answer = await ask(params);
    if ("error" in answer) throw nonsense(`refused to list its tools (JSON-RPC error ${answer.error.code})`);
    const { tools: found, nextCursor, resultType } = answer.result;
    checkComplete(resultType);
    if (!Array.isArray(found)) throw nonsense("answered with a list of tools that is none");
    for (const tool of found) {
      if (isDefinition(tool)) tools.push(tool);
      else unusable.push(nameIn(tool));
    }
    if (tools.length > toolsMax) throw nonsense(`lists more than ${toolsMax} tools`);
    if (nextCursor === undefined || nextCursor === null) return { tools, unusable };
    if (typeof nextCursor !== "string" || seen.has(nextCursor))
      throw nonsense("lists its tools on pages that lead nowhere");
    seen.add(nextCursor);
    params = { cursor: nextCursor };
  }
}

function isDefinition(tool: unknown): tool is ToolDefinition {
  if (!isObject(tool) || typeof tool.name !== "string" || tool.name === "") return false;
  if (!isObject(tool.inputSchema) || tool.inputSchema.type !== "object") return false;
  const isTextOrAbsent = (value: unknown) => value === undefined || typeof value === "string";
  const isObjectOrAbsent = (value: unknown) => value === undefined || isObject(value);
  return (
    isTextOrAbsent(tool.title) &&
    isTextOrAbsent(tool.description) &&
    isObjectOrAbsent(tool.outputSchema) &&
    isObjectOrAbsent(tool.annotations)
  );
}

const nameIn = (tool: unknown): string =>
  isObject(tool) && typeof tool.name === "string" ? tool.name.slice(0, 64) : "a tool without a name";
