/**
 * One message to a gateway's /mcp over Streamable HTTP, and what comes back, message by message.
 *
 * What comes back is passed on as it was received, and only if it is a JSON-RPC message: between here and the gateway
 * there may be proxies, which have words of their own.
 */
import { EventSourceParserStream } from "eventsource-parser/stream";
import { Failure } from "../platform/failure.ts";
import { type Envelope, isObject, type Message, openMessage } from "./connect-envelope.ts";
import { printable } from "./print.ts";
import type { SignedIn } from "./sign-in.ts";
import { unreachable } from "./sign-in-gateway.ts";

export type Sending = {
  readonly line: string;
  readonly id: Envelope["id"];
  /** Without the credential. */
  readonly headers: Headers;
  readonly access: SignedIn;
  readonly signal: AbortSignal;
  /** What this program can answer itself: a gateway in trouble is then as good as none. */
  readonly isGreeting: boolean;
};

/** The gateway, or something before it, said no without a JSON-RPC answer to this request. */
export class Refused extends Failure {
  constructor(
    readonly httpStatus: number,
    message: string,
  ) {
    super(httpStatus === 401 ? "unauthenticated" : "upstream", "refused", message);
  }
}

/** Nobody answers, or a proxy whose gateway is gone, or a gateway that is just going. */
export function isAway(error: unknown): boolean {
  if (error instanceof Refused) return error.httpStatus >= 500;
  return error instanceof Failure && ["unreachable", "sign_in_failed"].includes(error.code);
}

const answerBytesMax = 64 << 20;
const tooLong = `The answer has more than ${answerBytesMax} bytes; it was not read to its end.`;

/**
 * The answer, after which nothing more is read; null where none is owed and the gateway has taken the message. `say` gets
 * what else comes before it. Throws when a request was left without an answer, or a notification refused.
 */
export async function send(sending: Sending, say: (text: string) => void): Promise<Message | null> {
  const { id, access, isGreeting } = sending;
  const response = await post(sending);
  const isNone = response.status === 401 || (isGreeting && response.status >= 500);
  let others = "";
  try {
    for await (const received of textsOf(response)) {
      const message = openMessage(received);
      if (message !== null && message.kind !== "answer") {
        say(message.text);
        continue;
      }
      const answer = isNone || message === null ? null : answerTo(id, message);
      if (answer !== null) return answer;
      others ||= received;
    }
  } catch (error) {
    if (error instanceof Failure || sending.signal.aborted) throw error;
    throw new Refused(response.status, `${access.url} broke off in the middle of its answer`);
  }
  if (id === undefined && response.ok) return null;
  throw new Refused(response.status, refusalOf(response, access, others));
}

async function post({ line, headers, access, signal }: Sending): Promise<Response> {
  const withCredential = new Headers(headers);
  withCredential.set("authorization", `Bearer ${access.token.reveal()}`);
  const request = { method: "POST", headers: withCredential, body: line, signal } as const;
  // A redirect would carry the credential to wherever it points.
  return fetch(`${access.url}/mcp`, { ...request, redirect: "manual" }).catch((cause: unknown) => {
    throw unreachable(access.url, cause);
  });
}

/** Null for what answers another request, or none. */
function answerTo(id: Envelope["id"], message: Message): Message | null {
  if (id === undefined) return null;
  const said = message.value.id ?? null;
  if (said === id) return message;
  if (said !== null) return null;
  // What could not be read far enough to find its id is about the one request that was sent.
  const value = { ...message.value, id };
  return { ...message, value, text: JSON.stringify(value) };
}

async function* textsOf(response: Response): AsyncGenerator<string> {
  if (response.body === null) return;
  const type = response.headers.get("content-type") ?? "";
  const texts = response.body.pipeThrough(new TextDecoderStream("utf-8", { fatal: true }));
  if (!type.startsWith("text/event-stream")) {
    const whole = await wholeOf(texts);
    if (whole !== "") yield whole;
    return;
  }
  const events = texts.pipeThrough(new EventSourceParserStream({ maxBufferSize: answerBytesMax }));
  for await (const { data } of events) if (data !== "") yield data;
}

async function wholeOf(texts: AsyncIterable<string>): Promise<string> {
  const parts: string[] = [];
  let length = 0;
  for await (const part of texts) {
    length += part.length;
    if (length > answerBytesMax) throw new Failure("upstream", "refused", tooLong);
    parts.push(part);
  }
  return parts.join("");
}

function refusalOf({ status }: Response, { url }: SignedIn, text: string): string {
  const reason = reasonIn(text);
  if (status === 401) return reason ?? `${url} does not take this credential`;
  return `${url} answered ${status}${reason === null ? " and no more" : `: ${reason}`}`;
}

const reasonCharactersMax = 300;

/** In the words of JSON-RPC, of OAuth, of a problem (RFC 9457), or of whatever proxy it is. */
function reasonIn(text: string): string | null {
  const value = objectIn(text);
  const inner = isObject(value.error) ? value.error : {};
  const all = [inner.message, value.error_description, value.detail, value.title, value.message, value.error];
  const reason = all.find((one): one is string => typeof one === "string" && one !== "");
  return reason === undefined ? null : printable(reason.slice(0, reasonCharactersMax)).toWellFormed();
}

function objectIn(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}
