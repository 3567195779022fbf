/**
 * The few things that an app hears otherwise than a gateway said them, or beside: a sign-in that is kept here may end,
 * unlike a key, and may be asked for more. A tool offers both, and the lists change with it.
 */
import { type Envelope, isObject } from "./connect-envelope.ts";

type Value = Readonly<Record<string, unknown>>;

const lists = ["tools", "prompts", "resources"];
const streamKey = "io.modelcontextprotocol/subscriptionId";

export const signInTool = {
  name: "sign_in",
  title: "Sign in to the gateway",
  description:
    "Nobody is signed in to the SpecGate gateway yet. Answers with a link for the person to open in a browser; once they have signed in there, the gateway's own tools appear here.",
  inputSchema: { type: "object" as const, properties: {}, additionalProperties: false },
  annotations: { readOnlyHint: false, destructiveHint: false, idempotentHint: true, openWorldHint: true },
};

const askMoreTool = {
  ...signInTool,
  title: "Ask for more scopes",
  description:
    "The person's sign-in lets this app do less than it may ask for. Call this when a call was refused for a scope that is lacking: it answers with a link for the person to open in a browser; once they have agreed there, call again what was refused.",
};

/** The gateway's lists are fixed for an app of the legacy era; here they change when the sign-in ends. */
export function withListChanged(value: Value): string | null {
  const { result } = value;
  if (!isObject(result) || !isObject(result.capabilities)) return null;
  const { capabilities } = result;
  const changing = lists.filter((list) => isObject(capabilities[list]));
  const told = changing.map((list) => [list, { ...(capabilities[list] as object), listChanged: true }]);
  const all = { ...capabilities, ...Object.fromEntries(told) };
  return JSON.stringify({ ...value, result: { ...result, capabilities: all } });
}

/** At the end of the last page: what is not listed, an app lets no model call. */
export function withSignIn(value: Value): string | null {
  const { result } = value;
  if (!isObject(result) || !Array.isArray(result.tools) || result.nextCursor !== undefined) return null;
  return JSON.stringify({ ...value, result: { ...result, tools: [...result.tools, askMoreTool] } });
}

export function withHint(value: Value): string | null {
  const { error } = value;
  if (!isObject(error)) return null;
  const message = `${error.message} Call the tool sign_in to ask the person for it.`;
  return JSON.stringify({ ...value, error: { ...error, message } });
}

const listChanged = (list: string, params?: object): string =>
  JSON.stringify({ jsonrpc: "2.0", method: `notifications/${list}/list_changed`, params });

/** To an app of the legacy era. */
export const listChanges: readonly string[] = lists.map((list) => listChanged(list));

/** To one of the modern era, on a stream that it has opened, of what it wanted to hear there. */
export function changesFor({ id, value: { params } }: Envelope): string[] {
  const wanted = isObject(params) && isObject(params.notifications) ? params.notifications : {};
  const heard = lists.filter((list) => wanted[`${list}ListChanged`] === true);
  return heard.map((list) => listChanged(list, { _meta: { [streamKey]: id } }));
}
