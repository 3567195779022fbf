/**
 * All pages of a server's list of tools. A server that never comes to an end, or lists more than anybody could be offered,
 * is stopped; a definition that no client could use is left out, and the log says so.
 */
import type { ToolDefinition } from "../../platform/upstream.ts";
import { checkComplete, isObject, type RpcAnswer } from "./rpc.ts";
import { nonsense } from "./upstream-failure.ts";

const pagesMax = 100;
/** Whatever they are: what is no definition takes room too. */
const toolsMax = 2_000;
const pageBytesMax = 4_194_304;
/** Of all pages. */
const listBytesMax = 8_388_608;
const cursorCharactersMax = 8_192;

export type Listing = { readonly tools: ToolDefinition[]; readonly unusable: string[] };

/** `ask` puts one page's question, whose answer may have so many bytes. Throws `upstream_failed` for what is no list. */
export async function listAll(
  ask: (params: Readonly<Record<string, unknown>>, bytesMax: number) => Promise<RpcAnswer>,
): Promise<Listing> {
  const tools: ToolDefinition[] = [];
  const unusable: string[] = [];
  const seen = new Set<string>();
  let bytes = 0;
  for (let params = {}, page = 0; ; page++) {
    if (page === pagesMax) throw nonsense(`lists its tools on more than ${pagesMax} pages`);
    const answer = await ask(params, pageBytesMax);
    bytes += answer.bytes;
    if (bytes > listBytesMax) throw nonsense(`lists more than ${listBytesMax} bytes of tools`);
    if ("error" in answer) throw nonsense(`refused to list its tools (JSON-RPC error ${answer.error.code})`);
    const { tools: found, nextCursor, resultType } = answer.result;
    checkComplete(resultType);
    if (!Array.isArray(found)) throw nonsense("answered with a list of tools that is none");
    if (tools.length + unusable.length + found.length > toolsMax)
      throw nonsense(`lists more than ${toolsMax} tools`);
    for (const tool of found) {
      if (isDefinition(tool)) tools.push(tool);
      else unusable.push(nameIn(tool));
    }
    if (nextCursor === undefined || nextCursor === null) return { tools, unusable };
    const isCursor = typeof nextCursor === "string" && nextCursor.length <= cursorCharactersMax;
    if (!isCursor || seen.has(nextCursor)) throw nonsense("lists its tools on pages that lead nowhere");
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
  isObject(tool) && typeof tool.name === "string" ? tool.name : "a tool without a name";
