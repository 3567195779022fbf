/**
 * The door for MCP clients: both eras of the protocol on one URL, without sessions.
 *
 * A request is read once, decided once on what was read, and only then handed to the protocol's library. One record says
 * what became of it, and is durable before the answer leaves; where it cannot be written the answer is withheld. Nothing
 * here knows what any tool does, and no tool knows who may call it.
 */
import { classifyInboundRequest } from "@modelcontextprotocol/server";
import type { McpRecords, McpVerdict } from "../../db/mcp-decision.ts";
import type { GatewayConfig } from "../../platform/config.ts";
import { asFailure, Failure } from "../../platform/failure.ts";
import { type OpenedBy, unauthenticated } from "../../platform/guard.ts";
import { isEndedBy } from "../../platform/principal.ts";
import type { Allowlist } from "./allowlist.ts";
import { Answers, type AnswersNeeds } from "./answers.ts";
import { Bodies } from "./bodies.ts";
import type { Catalogue } from "./catalogue.ts";
import { Eras, gone } from "./eras.ts";
import { type Admitted, Exchange } from "./exchange.ts";
import { findArgumentMismatch, findMismatch } from "./headers.ts";
import { Listening, type ListenNeeds } from "./listen.ts";
import { idOf, isObject, type Message, messageOf, readSent, servedRevision } from "./message.ts";
import { isAnswered, readInitialize, readParams } from "./params.ts";
import {
  argumentsDenied,
  bodyOf,
  errorIn,
  headersDisagree,
  inShort,
  insufficientScope,
  Refused,
  refusedBy,
  responseOf,
  resultTooLarge,
  revisionNotServed,
  shuttingDown,
  unknownTool,
  wrongParams,
} from "./refusals.ts";
import { countCalls } from "./standing-for.ts";
import { callTurns } from "./turns.ts";

export type McpNeeds = AnswersNeeds &
  ListenNeeds & {
    gateway: () => GatewayConfig;
    catalogue: Catalogue;
    allowlist: Allowlist;
    records: McpRecords;
    resourceMetadata: (asked: URL) => string;
  };

/** Nothing is asked for and nothing told in these, so that there is nothing to write down. */
const unrecorded = new Set(["initialize", "ping", "server/discover", "logging/setLevel"]);
/** The most that Bun waits for a connection on which nothing happens, short of for ever; an upstream has its own limit. */
const quietSecondsMax = 255;
const methodNotFound = -32_601;
/** A page of a list holds one tool at least, however small an answer may be. */
const listBytesMax = 131_072;
/** For what the protocol adds around a result. */
const frameBytes = 4_096;

const endedMeanwhile = (): Failure =>
  unauthenticated("This credential ended, or what it may do has changed, while this was under way.");

export class Mcp {
  readonly #needs: McpNeeds;
  readonly #answers: Answers;
  readonly #eras: Eras;
  readonly #listening: Listening;
  readonly #bodies = new Bodies();
  readonly #turns = callTurns();
  #underWay = 0;
  #isClosing = false;

  constructor(needs: McpNeeds) {
    this.#needs = needs;
    this.#answers = new Answers(needs);
    this.#eras = new Eras((exchange) => this.#answers.serverFor(exchange));
    this.#listening = new Listening(needs);
  }

  /** Throws 401 alone; every other refusal is an answer under the request's own id. */
  answer(opened: OpenedBy): Promise<Response> {
    return this.#through(opened, (exchange) => this.#answer(exchange));
  }

  /** There are no sessions here, so there is none to listen to or to end (MCP 2025-11-25, Streamable HTTP). */
  refuseMethod(opened: OpenedBy): Promise<Response> {
    return this.#through(opened, () => {
      throw new Failure(
        "method",
        "method_not_allowed",
        "Send messages with POST: this server keeps no sessions.",
        { headers: { allow: "POST" } },
      );
    });
  }

  async #through(opened: OpenedBy, work: (exchange: Exchange) => Promise<Response>): Promise<Response> {
    const exchange = new Exchange(opened);
    const { principal } = exchange;
    const stop = this.#needs.onRevoked((subject) => {
      if (isEndedBy(principal, subject) || subject.startsWith(`${principal.userId} `)) exchange.end();
    });
    this.#underWay += 1;
    try {
      this.#requireEntry(exchange);
      return await work(exchange);
    } catch (error) {
      return await this.#refuse(exchange, error);
    } finally {
      this.#underWay -= 1;
      stop();
    }
  }

  /** Lets nobody in, ends the streams, and waits for the calls under way; what then still runs is cut by `close`. */
  async drain(milliseconds: number): Promise<void> {
    this.#isClosing = true;
    this.#listening.endAll();
    const deadline = performance.now() + milliseconds;
    while (this.#underWay > 0 && performance.now() < deadline) await Bun.sleep(20);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#listening.close();
    this.#eras.close();
  }

  /** Nothing is read of what somebody sends who may not even look. */
  #requireEntry({ principal, call }: Exchange): void {
    // The router takes `//mcp` and `/mcp/` for the same, and a rule in front of it may not.
    if (call.url.pathname !== "/mcp") throw new Failure("missing", "not_found", "Send messages to /mcp.");
    if (!principal.scopes.has("mcp:read"))
      throw insufficientScope(["mcp:read"], principal.scopes, this.#needs.resourceMetadata(call.url));
  }

  async #answer(exchange: Exchange): Promise<Response> {
    if (this.#isClosing) throw shuttingDown();
    const message = await this.#read(exchange);
    const { isModern, revision } = this.#classify(exchange, message);
    if (message.kind !== "request") return new Response(null, { status: 202 });
    const judge = await this.#needs.allowlist.for(exchange.principal);
    this.#requireLive(exchange);
    exchange.judge = judge;
    if (isModern && revision !== servedRevision) throw revisionNotServed(revision);
    if (message.method === "tools/call") exchange.admitted = await this.#admit(exchange, message);
    else if (isAnswered(message.method)) readParams(message.method, message);
    else if (message.method === "initialize" && !isModern) await readInitialize(message);
    if (isModern && message.method === "subscriptions/listen") return this.#listen(exchange);
    return this.#settle(exchange, await this.#work(exchange));
  }

  /** In its turn; that the record becomes durable takes nothing from others any more. */
  async #work(exchange: Exchange): Promise<Response> {
    const endTurn = takesTurn(exchange) ? await this.#turns.take(exchange.principal.holderId) : null;
    try {
      // A tool may take longer than a quiet connection is kept.
      if (exchange.offered?.kind === "upstream") exchange.call.stayOpen();
      else if (exchange.admitted !== null) exchange.call.stayOpen(quietSecondsMax);
      return await this.#eras.answer(exchange);
    } finally {
      endTurn?.();
    }
  }

  async #read(exchange: Exchange): Promise<Message> {
    const { bodyBytesMax } = this.#needs.gateway().limits.mcp;
    const holder = exchange.principal.holderId;
    const sent = await readSent(exchange.request, (request) =>
      this.#bodies.read(request, holder, bodyBytesMax),
    );
    exchange.bytesIn = sent.bytes;
    exchange.id = idOf(sent);
    // A body may take its time, and rights may end meanwhile.
    this.#requireLive(exchange);
    const message = messageOf(sent);
    exchange.message = message;
    return message;
  }

  #requireLive({ isOver, principal }: Exchange): void {
    if (isOver || principal.expiresAt <= this.#needs.clock.now()) throw endedMeanwhile();
  }

  /** Which revision it speaks. Throws for headers that say something else than the body. */
  #classify(exchange: Exchange, message: Message): { isModern: boolean; revision: string | undefined } {
    const { headers } = exchange.request;
    const header = (name: string) => headers.get(name) ?? undefined;
    const outcome = classifyInboundRequest({
      httpMethod: "POST",
      body: message.value,
      ...defined({
        protocolVersionHeader: header("mcp-protocol-version"),
        mcpMethodHeader: header("mcp-method"),
        mcpNameHeader: header("mcp-name"),
      }),
    });
    exchange.era = outcome.kind === "legacy" ? "legacy" : "modern";
    nameIn(exchange, message);
    if (outcome.kind === "reject") {
      const { httpStatus: status, code, message: said, data } = outcome;
      throw new Refused("malformed", { status, code, message: said, details: data });
    }
    const isModern = outcome.kind === "modern";
    const revision = isModern ? outcome.classification.revision : undefined;
    const isServed = !isModern || revision === servedRevision;
    const mismatch = isServed ? findMismatch(headers, message, isModern) : null;
    if (mismatch !== null) throw headersDisagree(mismatch);
    return { isModern, revision };
  }

  /** Find, judge, scopes, rate: in this order, so that nothing about a hidden tool is told before it is hidden. */
  async #admit(exchange: Exchange, message: Message): Promise<Admitted> {
    const { principal, call, request } = exchange;
    const { name, arguments: args = {} } = message.params;
    exchange.args = args;
    if (typeof name !== "string") throw wrongParams("`name` must be a string.");
    const offered = this.#needs.catalogue.find(name);
    if (offered === undefined || exchange.judge === null) throw unknownTool("unknown", exchange.name);
    exchange.offered = offered;
    const judged = exchange.judge.judge(offered, args);
    exchange.rule = judged.rule;
    if (judged.verdict === "hidden") throw unknownTool("hidden", exchange.name);
    const mismatch = findArgumentMismatch(request.headers, offered.headers, args, exchange.era === "modern");
    if (mismatch !== null) throw headersDisagree(mismatch);
    if (!isObject(args)) throw wrongParams("`arguments` must be an object.");
    if (judged.verdict !== "allowed") throw argumentsDenied(judged.message);
    if (!offered.scopes.every((scope) => principal.scopes.has(scope)))
      throw insufficientScope(offered.scopes, principal.scopes, this.#needs.resourceMetadata(call.url));
    await countCalls(this.#needs.rates, judged.rates);
    const { resultBytesMax } = this.#needs.gateway().limits.mcp;
    return {
      offered,
      args,
      resultBytesMax: Math.min(resultBytesMax, judged.resultBytesMax ?? resultBytesMax),
    };
  }

  async #listen(exchange: Exchange): Promise<Response> {
    const { judge, call } = exchange;
    if (judge === null) throw shuttingDown();
    const stream = await this.#listening.open(exchange, judge, () => this.#answers.serverFor(exchange));
    exchange.isPerformed = true;
    if (stream.response.headers.get("content-type") !== "text/event-stream")
      return this.#settle(exchange, stream.response);
    exchange.verdict = "allowed";
    call.stayOpen();
    try {
      await this.#record(exchange, { transport: 200, rpc: null, bytesOut: 0 });
      this.#requireLive(exchange);
    } catch (error) {
      stream.end();
      throw error;
    }
    return stream.response;
  }

  /** The answer as it is, once its record is durable. */
  async #settle(exchange: Exchange, answered: Response): Promise<Response> {
    // Who speaks the protocol itself has written its record before its last word.
    if (exchange.isStreamed && answered.body !== null) return answered;
    if (answered.status === gone) await exchange.work;
    if (exchange.isOver) return this.#withhold(exchange);
    if (exchange.instead !== null) throw exchange.instead;
    const given = await answered.text();
    const error = errorIn(given);
    // What the library says by itself is said under the id that it was asked with, and in short.
    const text = error === null || exchange.isPerformed ? given : inShort(error, exchange.id);
    const rpc = exchange.rpc ?? error?.code ?? null;
    // What the library itself makes of a result that is none.
    if (exchange.isPerformed && rpc !== null && exchange.tool !== null) exchange.tool = "error";
    if (!exchange.isPerformed) exchange.verdict = verdictOf(rpc);
    const isQuiet = unrecorded.has(exchange.message?.method ?? "") && rpc === null && answered.ok;
    const bytesOut = Buffer.byteLength(text);
    this.#requireRoom(exchange, bytesOut);
    if (!isQuiet) await this.#record(exchange, { transport: answered.status, rpc, bytesOut });
    if (exchange.isOver) throw endedMeanwhile();
    answered.headers.set("cache-control", "no-store");
    return new Response(text, { status: answered.status, headers: answered.headers });
  }

  /** What was done stands and is written down; whose rights ended meanwhile does not hear of it. */
  async #withhold(exchange: Exchange): Promise<never> {
    const outcome = { transport: 401, rpc: exchange.rpc, bytesOut: 0 };
    if (exchange.isPerformed) await this.#record(exchange, outcome);
    throw endedMeanwhile();
  }

  /** The last look: whoever answers keeps within its own bytes, and should one not, that is no reason to send it. */
  #requireRoom(exchange: Exchange, bytes: number): void {
    const bytesMax = Math.max(this.#needs.gateway().limits.mcp.resultBytesMax, listBytesMax) + frameBytes;
    if (bytes > bytesMax)
      throw resultTooLarge(bytes, bytesMax, exchange.isPerformed ? exchange.verdict : "malformed");
  }

  async #refuse(exchange: Exchange, error: unknown): Promise<Response> {
    const { refusal, verdict } = this.#refusedBy(exchange, error);
    exchange.verdict = verdict;
    const body = bodyOf(refusal, exchange.id);
    const { status: transport, code: rpc } = refusal;
    // What failed before it was judged was refused by nobody; what could not be written down is not tried again.
    const isFailure = transport >= 500 && !exchange.isPerformed;
    if (!exchange.isRecorded && !isFailure)
      try {
        await this.#record(exchange, { transport, rpc, bytesOut: Buffer.byteLength(body) });
      } catch (unwritten) {
        return this.#refuse(exchange, unwritten);
      }
    // The guard says how to get a credential.
    if (transport === 401) throw error;
    return responseOf(body, refusal);
  }

  #refusedBy(exchange: Exchange, error: unknown): Refused {
    if (error instanceof Refused) return error;
    const failure = asFailure(error);
    if (failure.status >= 500) this.#needs.log.failure(failure, exchange.call);
    return refusedBy(failure, exchange.verdict, exchange.call);
  }

  /** Throws `journal_unavailable` or `no_room`, and then nothing of the answer may leave. */
  #record(exchange: Exchange, outcome: Parameters<Exchange["decision"]>[0]): Promise<void> {
    exchange.isRecorded = true;
    return this.#needs.records.record(exchange.decision(outcome));
  }
}

const reading = new Set(["resources/list", "resources/read", "prompts/get", "completion/complete"]);

/** Upstreams count for themselves, and who waits for people or a disk takes nothing from others. */
function takesTurn({ offered, message }: Exchange): boolean {
  if (offered !== null) return offered.kind === "own" && offered.tool.waits !== true;
  return reading.has(message?.method ?? "");
}

/** What it is about, for the record: a tool, a resource, a prompt. */
function nameIn(exchange: Exchange, { method, params }: Message): void {
  const { name, uri, ref } = params;
  if (method === "tools/call" || method === "prompts/get") exchange.names(name);
  else if (method === "resources/read") exchange.names(uri);
  else if (method === "completion/complete" && isObject(ref)) exchange.names(ref.name ?? ref.uri);
}

/** Of what the protocol's library answered by itself. */
function verdictOf(rpc: number | null): McpVerdict {
  if (rpc === null) return "allowed";
  return rpc === methodNotFound ? "unknown" : "malformed";
}

type Defined<T> = { [Key in keyof T]?: Exclude<T[Key], undefined> };

const defined = <T extends object>(members: T): Defined<T> =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Defined<T>;
