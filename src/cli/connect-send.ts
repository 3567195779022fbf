/**
 * One message to a gateway's /mcp over Streamable HTTP, and what comes back, message by message.
 */
import { EventSourceParserStream } from "eventsource-parser/stream";
import { Failure } from "../platform/failure.ts";
import { type Envelope, openEnvelope } from "./connect-envelope.ts";
import type { SignedIn } from "./sign-in.ts";
import { unreachable } from "./sign-in-gateway.ts";

export type Sending = Envelope & {
  readonly line: string;
  readonly access: SignedIn;
  /** Agreed in the legacy era; null before. */
  readonly version: string | null;
  readonly agent: string;
  readonly signal: AbortSignal;
};

/** The gateway said no without a JSON-RPC answer to this request. */
export class Refused extends Failure {
  constructor(
    readonly httpStatus: number,
    message: string,
  ) {
    super(httpStatus === 401 ? "unauthenticated" : "upstream", "refused", message);
  }
}

const eventBytesMax = 64 << 20;

/** Resolves when all has been said. Throws when a request was left without an answer. */
export async function send(sending: Sending, say: (message: Record<string, unknown>) => void): Promise<void> {
  const { access, id } = sending;
  const response = await fetch(`${access.url}/mcp`, {
    method: "POST",
    headers: headersOf(sending),
    body: sending.line,
    signal: sending.signal,
    // A redirect would carry the credential to wherever it points.
    redirect: "manual",
  }).catch((cause: unknown) => {
    throw unreachable(access.url, cause);
  });
  if (response.status === 401) throw new Refused(401, await reasonOf(response, access));
  let isAnswered = id === undefined;
  for await (const text of messagesOf(response)) {
    const message = openEnvelope(text)?.value;
    if (message === undefined) continue;
    isAnswered ||= message.id === id && message.method === undefined;
    if (message.id !== null && message.id !== undefined) say(message);
    else if (typeof message.method === "string") say(message);
    else if (id !== undefined && !isAnswered) {
      // What could not be read far enough to find its id is about the one request that was sent.
      isAnswered = true;
      say({ ...message, id });
    }
  }
  if (!isAnswered)
    throw new Refused(response.status, `${access.url} answered ${response.status} and no more`);
}

function headersOf({ access, agent, modernVersion, version, method, name }: Sending): Headers {
  const headers = new Headers({
    authorization: `Bearer ${access.token.reveal()}`,
    "user-agent": `specgate/${agent}`,
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

/** MCP 2026-07-28, Streamable HTTP: what no header can hold as it is goes in base64. */
function headerText(value: string): string {
  const isPlain = /^[\x20-\x7e]*$/.test(value) && value === value.trim() && !/^=\?base64\?.*\?=$/.test(value);
  return isPlain ? value : `=?base64?${Buffer.from(value).toString("base64")}?=`;
}

async function* messagesOf(response: Response): AsyncGenerator<string> {
  const type = response.headers.get("content-type") ?? "";
  if (!type.startsWith("text/event-stream")) {
    const text = await response.text();
    if (text !== "") yield text;
    return;
  }
  if (response.body === null) return;
  const events = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream({ maxBufferSize: eventBytesMax }));
  for await (const { data } of events) if (data !== "") yield data;
}

async function reasonOf(response: Response, { url }: SignedIn): Promise<string> {
  const body = openEnvelope(await response.text().catch(() => ""))?.value;
  const { message } = (body?.error ?? {}) as { message?: unknown };
  return typeof message === "string" ? message : `${url} does not take this credential`;
}
