/**
 * A server that is spoken to over HTTP (Streamable HTTP of 2026-07-28, and of 2025-03-26 to 2025-11-25).
 *
 * What goes out is made here, all of it: headers and envelope are the gateway's, the credential is the configured one,
 * and of the caller's there are only the arguments. Redirects are not followed. A session of the older era is one for
 * all callers, because it stands for the gateway: no caller's identity is in it.
 */

import type { UpstreamLink } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { GuardedFetch } from "../../platform/guarded-fetch.ts";
import type { Log } from "../../platform/log.ts";
import { type Asked, readAnswer, readWhole } from "./answer.ts";
import { envelopeOf, greetingOf, judgeDiscovery, judgeGreeting, modernVersion, type Speech } from "./era.ts";
import { handshake, type Line, type Notices, type OpenLine, type Question, UnderWay } from "./line.ts";
import { type Incoming, type RpcAnswer, readMessage, rpcCodes } from "./rpc.ts";
import {
  broken,
  busy,
  LineOver,
  lineOver,
  nonsense,
  UpstreamFailure,
  unavailable,
  unreachable,
} from "./upstream-failure.ts";

export type HttpNeeds = { fetch: GuardedFetch; version: string; notices: Notices; log: Log };
type Http = Extract<UpstreamLink, { kind: "http" }>;
type Headers = Record<Lowercase<string>, string>;

const connectMs = 5_000;
const errorBytesMax = 65_536;
/** What nobody waits for: a cancellation, the end of a session. */
const partingMs = 2_000;
const doubtMs = 30_000;
/** Each is answered by a request of its own; a server that asks more often wants something else. */
const pingsMax = 16;

export function httpOpener(config: Http, needs: HttpNeeds): OpenLine {
  const post = new Post(config, needs);
  return async (signal) => {
    const modern = new HttpLine(post, { era: "modern", version: modernVersion }, null);
    const discovered = await discover(modern, handshake(signal, "server/discover", {}));
    if (discovered !== null) return modern;
    const greeting = handshake(signal, "initialize", greetingOf(needs.version));
    const { answer, response } = await post.ask(greeting, {}, greeting.params);
    const legacy = new HttpLine(post, judgeGreeting(answer), sessionOf(response));
    await legacy.begin(signal);
    return legacy;
  };
}

/** Null: this one is of the older era. Who refuses the credential, or is down, is of neither. */
async function discover(line: HttpLine, question: Question): Promise<Speech | null> {
  try {
    return judgeDiscovery(await line.ask(question));
  } catch (error) {
    if (error instanceof NotSpoken) return null;
    if (error instanceof LineOver) return error.answer === null ? null : judgeDiscovery(error.answer);
    throw error;
  }
}

/** An answer that says: whoever is there does not speak like this. */
class NotSpoken extends UpstreamFailure {}
const notSpoken = (status: number): NotSpoken =>
  new NotSpoken("upstream", "upstream_failed", `The upstream server answered with HTTP ${status}.`, {
    isSick: status >= 500,
  });

function sessionOf(response: Response): string | null {
  const session = response.headers.get("mcp-session-id");
  if (session !== null && !/^[\x21-\x7e]{1,1024}$/.test(session))
    throw nonsense("began a session whose id is not visible ASCII");
  return session;
}

class HttpLine implements Line {
  readonly era: Line["era"];
  readonly #post: Post;
  readonly #session: string | null;
  readonly #headers: Headers;
  readonly #beganAt = performance.now();
  readonly #underWay = new UnderWay();
  #isOver = false;

  constructor(post: Post, { era, version }: Speech, session: string | null) {
    this.era = era;
    this.#post = post;
    this.#session = session;
    this.#headers = {
      "mcp-protocol-version": version,
      ...(session !== null && { "mcp-session-id": session }),
    };
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** A refusal that is no JSON-RPC may mean another era, or just this call; who asks at once again is not believed. */
  get #isOld(): boolean {
    return performance.now() - this.#beganAt > doubtMs;
  }

  async ask(question: Question): Promise<RpcAnswer> {
    return this.#underWay.during(() => this.#ask(question));
  }

  async #ask(question: Question): Promise<RpcAnswer> {
    const isModern = this.era === "modern";
    const { method, params } = question;
    const headers = isModern
      ? { ...this.#headers, "mcp-method": method, ...question.headers }
      : this.#headers;
    try {
      const body = isModern ? { ...params, _meta: this.#post.envelope } : params;
      const { answer } = await this.#post.ask(question, headers, body, this.#session !== null);
      return answer;
    } catch (error) {
      const isDoubtful = error instanceof NotSpoken && !error.isSick && this.#isOld;
      if (isDoubtful) this.#isOver = true;
      throw error;
    }
  }

  /** The last word of the greeting, without which nothing else may be asked. */
  async begin(signal: AbortSignal): Promise<void> {
    const response = await this.#post.send(
      { jsonrpc: "2.0", method: "notifications/initialized" },
      this.#headers,
      signal,
    );
    void response.body?.cancel().catch(() => {});
    if (!response.ok) throw nonsense(`answered the greeting's last word with HTTP ${response.status}`);
  }

  async retire(): Promise<void> {
    await this.#underWay.none();
    await this.close();
  }

  async close(): Promise<void> {
    const hasEnded = this.#isOver;
    this.#isOver = true;
    if (this.#session !== null && !hasEnded) await this.#post.part("DELETE", null, this.#headers);
  }
}

/** Requests to one URL. */
class Post {
  readonly envelope: Readonly<Record<string, unknown>>;
  readonly #config: Http;
  readonly #needs: HttpNeeds;
  readonly #headers: Headers;
  readonly #ids = new Ids();
  #pings = 0;
  #pinged = Promise.resolve();

  constructor(config: Http, needs: HttpNeeds) {
    this.#config = config;
    this.#needs = needs;
    this.envelope = envelopeOf(needs.version);
    this.#headers = {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...(config.bearer !== null && { authorization: `Bearer ${config.bearer.reveal()}` }),
    };
  }

  /** `hasSession`: then 404 says that the session is over. */
  async ask(
    question: Question,
    headers: Headers,
    params: Readonly<Record<string, unknown>>,
    hasSession = false,
  ): Promise<{ answer: RpcAnswer; response: Response }> {
    const { method, signal, bytesMax, traceparent } = question;
    const id = this.#ids.next();
    const connection = new AbortController();
    const drop = () => connection.abort(signal.reason);
    signal.addEventListener("abort", drop, { once: true });
    if (signal.aborted) drop();
    let pings = 0;
    const heard = (message: Exclude<Incoming, { kind: "answer" }>) => {
      if (message.kind === "request" && ++pings > pingsMax)
        throw nonsense(`pinged more than ${pingsMax} times before its answer`);
      this.#hear(message, headers);
    };
    const asked: Asked = { id, bytesMax, drop: () => connection.abort(), heard };
    try {
      const traced = traceparent === null ? headers : { ...headers, traceparent };
      const response = await this.send({ jsonrpc: "2.0", id, method, params }, traced, connection.signal);
      const answer = response.ok
        ? await readAnswer(response, asked)
        : await readRefusal(response, id, hasSession);
      return { answer, response };
    } catch (error) {
      // Whatever still comes is for nobody.
      connection.abort();
      if (signal.aborted) {
        this.#cancel(headers, id);
        throw signal.reason;
      }
      throw error instanceof UpstreamFailure ? error : failureOf(error);
    } finally {
      signal.removeEventListener("abort", drop);
    }
  }

  send(message: object, headers: Headers, signal: AbortSignal): Promise<Response> {
    return this.#request("POST", JSON.stringify(message), headers, signal);
  }

  /** Nobody waits for what comes of it, and it is not tried again. */
  async part(method: "POST" | "DELETE", message: object | null, headers: Headers): Promise<void> {
    try {
      const body = message === null ? null : JSON.stringify(message);
      const response = await this.#request(method, body, headers, AbortSignal.timeout(partingMs));
      await response.body?.cancel();
    } catch (error) {
      this.#needs.log.debug("an upstream server could not be told", { error });
    }
  }

  #request(method: string, body: string | null, headers: Headers, signal: AbortSignal): Promise<Response> {
    const { url, allowPrivateNetwork } = this.#config;
    return this.#needs.fetch(
      url,
      { method, headers: { ...this.#headers, ...headers }, body, signal },
      { reach: allowPrivateNetwork ? "private" : "operator", bytesMax: null, timeoutMs: null, connectMs },
    );
  }

  #hear(message: Exclude<Incoming, { kind: "answer" }>, headers: Headers): void {
    if (message.kind === "request") this.#answerPing(message.id, headers);
    else if (message.method === "notifications/tools/list_changed") this.#needs.notices.listChanged();
  }

  /** One after the other; those of many streams at once are not all answered. */
  #answerPing(id: string | number, headers: Headers): void {
    if (this.#pings >= pingsMax) return;
    this.#pings++;
    this.#pinged = this.#pinged
      .then(() => this.part("POST", { jsonrpc: "2.0", id, result: {} }, headers))
      .finally(() => void this.#pings--);
  }

  /** In the newer era the end of the connection says it. */
  #cancel(headers: Headers, id: number): void {
    if (headers["mcp-protocol-version"] === undefined || headers["mcp-method"] !== undefined) return;
    const params = { requestId: id, reason: "the caller has left or waited too long" };
    void this.part("POST", { jsonrpc: "2.0", method: "notifications/cancelled", params }, headers);
  }
}

/** A refusal is an answer only when it is one to this question. */
async function readRefusal(response: Response, id: number, hasSession: boolean): Promise<RpcAnswer> {
  const { status } = response;
  if (status >= 300 && status < 400) throw nonsense("answered with a redirect, which is not followed");
  if (status === 401 || status === 403)
    throw nonsense(`refused the credential that is configured for it (HTTP ${status})`);
  if (status === 404 && hasSession) throw lineOver("The upstream server has ended the session.");
  if (status === 429)
    throw busy("The upstream server asks for fewer calls (HTTP 429).", retryAfterOf(response));
  if (status === 502 || status === 503 || status === 504) throw broken(`is down (HTTP ${status})`);
  const refusal = await refusalIn(response);
  if (refusal !== null && "error" in refusal.answer) {
    if (refusal.answer.error.code === rpcCodes.unsupportedVersion)
      throw lineOver(
        "The upstream server no longer speaks the version of MCP that it spoke.",
        refusal.answer,
      );
    if (refusal.id === id && status < 500) return refusal.answer;
  }
  throw notSpoken(status);
}

async function refusalIn(response: Response) {
  try {
    const message = readMessage(await readWhole(response, errorBytesMax));
    return message.kind === "answer" ? message : null;
  } catch (error) {
    if (error instanceof UpstreamFailure) return null;
    throw error;
  }
}

function retryAfterOf(response: Response): number {
  const seconds = Number(response.headers.get("retry-after"));
  return Number.isSafeInteger(seconds) && seconds > 0 ? Math.min(seconds, 3_600) : 1;
}

/** What the guarded fetch throws, or the reading of a body that breaks off. */
function failureOf(error: unknown): UpstreamFailure {
  if (!(error instanceof Failure)) return broken("broke off its answer", error);
  if (error.code === "url_not_allowed")
    return unavailable(
      `has a URL that may not be called. ${error.message.replace(/\.$/, "")}`,
      60_000,
      error,
    );
  const code = String((Object(error.cause) as { code?: unknown }).code);
  if (/CERT|TLS|SSL|SIGNATURE/.test(code))
    return unreachable(error, `has no certificate that can be trusted (${code})`);
  return error.code === "url_unresolved" || notConnected.has(code)
    ? unreachable(error)
    : broken("broke off its answer", error);
}

const notConnected = new Set([
  "ECONNREFUSED",
  "ConnectionRefused",
  "FailedToOpenSocket",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "connect_timeout",
]);

/** Not to be guessed: what somebody slips into a connection is no answer to the next question on it. */
class Ids {
  readonly #pool = new Uint32Array(1_024);
  #at = this.#pool.length;

  next(): number {
    if (this.#at === this.#pool.length) {
      crypto.getRandomValues(this.#pool);
      this.#at = 0;
    }
    return (this.#pool[this.#at++] as number) + 1;
  }
}
