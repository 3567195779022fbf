/**
 * Runs a tool that may be called: reads its arguments, enters its place, lets it do its deed, and bounds what it answers.
 *
 * What goes wrong in a tool is the tool's result, which a model reads and learns from; what could not be written down
 * beforehand is not done at all.
 */
import { ProtocolError, type ServerContext } from "@modelcontextprotocol/server";
import type { McpRecords } from "../../db/mcp-decision.ts";
import { asFailure, Failure } from "../../platform/failure.ts";
import { enterPlace, type Locate } from "../../platform/guard.ts";
import type { Log } from "../../platform/log.ts";
import type { ProtocolTool } from "../../platform/mcp-sources.ts";
import type { OpenedTool, Tool } from "../../platform/tool.ts";
import type { Upstreams, UpstreamTool } from "../../platform/upstream.ts";
import { readArguments } from "./arguments.ts";
import { type Answer, bytesOf, fit, fitList } from "./bounds.ts";
import type { Admitted, Exchange } from "./exchange.ts";
import { insufficientScope, refusedBy } from "./refusals.ts";

export type RunningNeeds = {
  upstreams: Upstreams;
  records: McpRecords;
  locate: Locate;
  log: Log;
  resourceMetadata: (asked: URL) => string;
};

/** The result as the protocol has it, `isError` and all. */
type Result = Readonly<Record<string, unknown>>;
type Project = (result: Result) => Result;

export class Running {
  readonly #needs: RunningNeeds;

  constructor(needs: RunningNeeds) {
    this.#needs = needs;
  }

  /**
   * `project` gives an upstream's result the form of the caller's era. Throws a `ProtocolError` for an upstream's own, and a
   * `Refused` when the call could not be written down.
   */
  async run(
    exchange: Exchange,
    admitted: Admitted,
    context: ServerContext,
    project: Project,
  ): Promise<Result> {
    const { call } = exchange;
    const { name } = admitted.offered;
    const { revisions = {} } = exchange.judge ?? {};
    call.via = {
      details: { tool: name, era: exchange.era, revisions, rule: exchange.rule },
      isRecorded: false,
    };
    try {
      const result = await this.#resultOf(exchange, admitted, context, project);
      exchange.tool = result.isError === true ? "error" : "ok";
      return result;
    } catch (error) {
      exchange.tool = "error";
      if (error instanceof ProtocolError || exchange.instead !== null) throw error;
      const { signal } = context.mcpReq;
      const failure = signal.aborted && error === signal.reason ? nobodyWaits() : asFailure(error);
      exchange.failure = failure.code;
      this.#askForScopes(exchange, failure);
      if (failure.status >= 500) this.#needs.log.failure(failure, call);
      return failedWith(failure, call.id);
    }
  }

  /** A tool that takes one of several scopes asks for them itself: a better token would help, so the client must hear it. */
  #askForScopes(exchange: Exchange, failure: Failure): void {
    const { principal, call } = exchange;
    const asked = /\bscope="([^"]*)"/.exec(failure.headers?.["www-authenticate"] ?? "")?.[1] ?? "";
    const scopes = [...principal.reach].filter((scope) => asked.split(" ").includes(scope));
    if (failure.code !== "insufficient_scope" || scopes.every((scope) => principal.scopes.has(scope))) return;
    exchange.instead = insufficientScope(scopes, principal.scopes, this.#needs.resourceMetadata(call.url));
    throw exchange.instead;
  }

  async #resultOf(
    exchange: Exchange,
    admitted: Admitted,
    context: ServerContext,
    project: Project,
  ): Promise<Result> {
    const { offered } = admitted;
    if (offered.kind === "own") return this.#runOwn(offered.tool, exchange, admitted, context.mcpReq.signal);
    if (offered.kind === "protocol") return this.#runProtocol(offered.tool, exchange, admitted, context);
    const result = project(await this.#runUpstream(offered.tool, exchange, admitted, context.mcpReq.signal));
    requireRoom(result, admitted.resultBytesMax);
    return result;
  }

  async #runOwn(
    tool: Tool,
    exchange: Exchange,
    { args, resultBytesMax }: Admitted,
    signal: AbortSignal,
  ): Promise<Result> {
    const { call, principal } = exchange;
    const asked = readArguments(tool.input, args);
    const place = await this.#enter(tool, exchange, asked);
    exchange.place = place;
    const ask = async (given: Readonly<Record<string, unknown>>): Promise<Answer> => {
      const opened: OpenedTool = { call, principal, place, asked: given, resultBytesMax, signal };
      // By its own shape: what a tool did not say it would tell does not leave.
      return tool.output.parse(await tool.run(opened));
    };
    const { limit } = asked;
    const { shape } = tool.input;
    if (tool.writes || typeof limit !== "number" || !("cursor" in shape))
      return fit(await ask(asked), resultBytesMax, null);
    const { cursor: from } = asked;
    const read = (rows: number, cursor: unknown = from) =>
      ask({ ...asked, limit: rows, ...(cursor === undefined ? {} : { cursor }) });
    return fitList(read, limit, resultBytesMax);
  }

  async #enter(tool: Tool, { principal }: Exchange, asked: Record<string, unknown>) {
    if (tool.place === undefined) return null;
    const { least, at, argument } = tool.place;
    const door = { scopes: tool.scopes, least, at, id: String(asked[argument]), isRead: !tool.writes };
    return enterPlace(principal, door, this.#needs.locate);
  }

  async #runProtocol(
    tool: ProtocolTool,
    { call, principal }: Exchange,
    { args, resultBytesMax }: Admitted,
    context: ServerContext,
  ): Promise<Result> {
    const asking = { call, principal, signal: context.mcpReq.signal };
    const result = await tool.answer({ ...args }, context, asking);
    requireRoom(result, resultBytesMax);
    return result;
  }

  async #runUpstream(
    tool: UpstreamTool,
    exchange: Exchange,
    { args, resultBytesMax }: Admitted,
    signal: AbortSignal,
  ): Promise<Result> {
    const { upstreams, records } = this.#needs;
    const { call } = exchange;
    if (tool.writes) {
      await records.intend(exchange.intent()).catch((error: unknown) => {
        exchange.instead = refusedBy(asFailure(error), exchange.verdict, call);
        throw error;
      });
    }
    const caller = exchange.principal.id;
    const asking = { caller, signal, resultBytesMax, traceparent: call.traceparent };
    const answer = await upstreams.call(tool, args, asking);
    if (answer.kind === "error") throw upstreamError(answer.code, answer.message);
    requireAnswer(answer.result);
    return answer.isError ? { ...answer.result, isError: true } : answer.result;
  }
}

/** A question to the person who asked (2026-07-28, `input_required`) would come to them as if it were the gateway's. */
function requireAnswer({ resultType = "complete" }: Result): void {
  if (resultType === "complete") return;
  const message = "The server behind this tool did not answer: it asks something, which is not passed on.";
  throw new Failure("upstream", "upstream_failed", message);
}

function requireRoom(result: Result, bytesMax: number): void {
  const bytes = bytesOf(result);
  if (bytes <= bytesMax) return;
  throw new Failure(
    "upstream",
    "result_too_large",
    `The tool answered with ${bytes} bytes; at most ${bytesMax} may leave here.`,
  );
}

/** Whoever asked has left, or what it may do has: the daily business of agents, and no failure of the gateway's. */
const nobodyWaits = (): Failure =>
  new Failure("too_slow", "caller_left", "Nobody waits for this answer any more.");

const messageCharactersMax = 2_000;

/** Codes that mean something to a client's transport are not an upstream's to give. */
function upstreamError(code: number, message: string): ProtocolError {
  const isPlain = Number.isSafeInteger(code) && (code === -32_602 || code === -32_603 || code > -32_000);
  return new ProtocolError(isPlain ? code : -32_603, message.slice(0, messageCharactersMax));
}

/**
 * No `structuredContent`: it would not be of the tool's output schema, and clients throw such an answer away (the SDK 1.x
 * validates errors, too). The problem, as the HTTP plane would say it, goes beside.
 */
function failedWith(failure: Failure, requestId: string): Result {
  const { code, message, errors, members, status, retryAfterSeconds } = failure;
  const problem = {
    code,
    detail: message,
    status,
    ...(errors === undefined ? {} : { errors }),
    ...members,
    ...(retryAfterSeconds === undefined ? {} : { retry_after_seconds: retryAfterSeconds }),
    request_id: requestId,
  };
  // A model sees the text alone.
  const wait = retryAfterSeconds === undefined ? "" : ` Try again in ${retryAfterSeconds} s.`;
  const lines = [
    `${code}: ${message}${wait}`,
    ...(errors ?? []).map(({ path, message }) => `- ${path}: ${message}`),
  ];
  if (failure.kind === "internal") lines.push(`request_id: ${requestId}`);
  const facts = members === undefined ? [] : [{ type: "text", text: JSON.stringify(members) }];
  return {
    isError: true,
    content: [{ type: "text", text: lines.join("\n") }, ...facts],
    _meta: { "specgate/problem": problem },
  };
}
