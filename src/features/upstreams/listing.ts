/**
 * All pages of a server's list of tools, each as it came. A server that never comes to an end, or lists more than anybody
 * could be offered, is stopped.
 */
import { checkComplete, type RpcAnswer } from "./rpc.ts";
import { nonsense } from "./upstream-failure.ts";

const pagesMax = 100;
const toolsMax = 2_000;
const pageBytesMax = 4_194_304;
/** Of all pages. */
const listBytesMax = 8_388_608;
const cursorCharactersMax = 8_192;

/** `ask` puts one page's question, whose answer may have so many bytes. Throws `upstream_failed` for what is no list. */
export async function listAll(
  ask: (params: Readonly<Record<string, unknown>>, bytesMax: number) => Promise<RpcAnswer>,
): Promise<unknown[]> {
  const tools: unknown[] = [];
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
    if (tools.length + found.length > toolsMax) throw nonsense(`lists more than ${toolsMax} tools`);
    tools.push(...found);
    if (nextCursor === undefined || nextCursor === null) return tools;
    const isCursor = typeof nextCursor === "string" && nextCursor.length <= cursorCharactersMax;
    if (!isCursor || seen.has(nextCursor)) throw nonsense("lists its tools on pages that lead nowhere");
    seen.add(nextCursor);
    params = { cursor: nextCursor };
  }
}
