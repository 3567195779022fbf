/** Tools' answers, held against what the list says that they answer. */
import { z } from "zod";
import type { Actor } from "./gateway.ts";
import { callTool, rpc, toolAnswer } from "./mcp.ts";

type Caller = Pick<Actor, "fetch">;

/** As `toolAnswer`, and fails when the answer is not what the tool's own output schema promises, or holds more. */
export async function promisedAnswer<Answer = Record<string, unknown>>(
  actor: Caller,
  name: string,
  args: Record<string, unknown> = {},
): Promise<Answer> {
  const answer = await toolAnswer<Answer>(actor, name, args);
  const { result } = await rpc(actor, "tools/list");
  const tool = result?.tools.find((listed) => listed.name === name);
  if (tool === undefined) throw new Error(`${name} answers, but is not listed`);
  z.fromJSONSchema(tool.outputSchema as Parameters<typeof z.fromJSONSchema>[0]).parse(answer);
  return answer;
}

/** How a call was refused: HTTP's status, and JSON-RPC's code or the tool's own first word. */
export async function toolRefusal(
  actor: Caller,
  name: string,
  args: Record<string, unknown> = {},
): Promise<string> {
  const { status, error, result } = await callTool(actor, name, args);
  if (error !== undefined) return `${status} ${error.data?.code ?? error.code}`;
  if (result?.isError !== true) throw new Error(`${name} was not refused`);
  return `${status} ${/^[a-z_]+/.exec(result.content[0]?.text ?? "")?.[0] ?? "?"}`;
}
