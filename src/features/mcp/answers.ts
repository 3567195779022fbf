/**
 * What each method answers: the lists, the reads, and the call of a tool that was admitted before. The protocol's library
 * asks for it through a server made for the one request, which knows the one method that it is for.
 */
import {
  type CallToolResult,
  ProtocolError,
  Server,
  type ServerContext,
  type ServerOptions,
} from "@modelcontextprotocol/server";
import type { GatewayConfig } from "../../platform/config.ts";
import type { Counter } from "../../platform/counter.ts";
import { rpcBody } from "../../platform/dialects.ts";
import { asFailure } from "../../platform/failure.ts";
import type { Asking, McpExtras } from "../../platform/mcp-sources.ts";
import type { Cursors } from "../../platform/page.ts";
import type { Catalogue } from "./catalogue.ts";
import { rankOf } from "./catalogue.ts";
import type { Exchange } from "./exchange.ts";
import { servedRevision } from "./message.ts";
import { type Answered, isAnswered, type ParamsOf, readParams } from "./params.ts";
import { invalidParams, Refused } from "./refusals.ts";
import { Running, type RunningNeeds } from "./running.ts";
import { openCursor, Sources, type SourcesNeeds } from "./sources.ts";
import { sightOf } from "./standing-for.ts";

export type AnswersNeeds = RunningNeeds &
  SourcesNeeds & {
    gateway: () => GatewayConfig;
    version: string;
    catalogue: Catalogue;
    cursors: Cursors;
    /** Counts calls under the rules that limit them. */
    rates: Counter;
    prepare: McpExtras["prepare"];
  };

type Result = Readonly<Record<string, unknown>>;

const toolsPerPage = 200;
/** For what the protocol adds around a page. */
const frameBytes = 1_024;

const instructions =
  "SpecGate keeps a team's work: projects, sessions, iterations, tasks, reports, gates, approvals, artifacts and spend. " +
  "Call whoami first to learn who you are and what you may do, then project_list and session_list to find where to work. " +
  "Lists answer pages: give next_cursor back as cursor. An answer that was too large says what was left out in `truncated`.";

export class Answers {
  readonly #needs: AnswersNeeds;
  readonly #running: Running;
  readonly #sources: Sources;
  readonly #options: { readonly modern: ServerOptions; readonly legacy: ServerOptions };

  constructor(needs: AnswersNeeds) {
    this.#needs = needs;
    this.#running = new Running(needs);
    this.#sources = new Sources(needs);
    this.#options = { modern: this.#optionsOf(true), legacy: this.#optionsOf(false) };
  }

  /** For this request alone. */
  serverFor(exchange: Exchange): Server {
    const named = { name: "specgate", title: "SpecGate", version: this.#needs.version };
    const server = new Server(named, this.#options[exchange.era ?? "modern"]);
    const method = exchange.message?.method ?? null;
    if (isAnswered(method) && this.#offers(method))
      server.setRequestHandler(method, ((_request: unknown, context: ServerContext) => {
        const schema = exchange.offered?.definition.outputSchema;
        const project = (result: Result) => server.projectCallToolResult(result as CallToolResult, schema);
        const work = this.#perform(exchange, method, context, project);
        exchange.work = work.then(
          () => undefined,
          () => undefined,
        );
        return work;
      }) as never);
    this.#needs.prepare?.(server, exchange.era ?? "modern");
    return server;
  }

  /**
   * Changes are told on streams of 2026-07-28 alone: those before it would need a session. Clients before it also set the
   * level of log messages as a matter of course; any is kept, since none are sent.
   */
  #optionsOf(isModern: boolean): ServerOptions {
    const { resources, prompts } = this.#needs;
    return {
      instructions,
      capabilities: {
        tools: { listChanged: isModern },
        ...(resources.length === 0 ? {} : { resources: { listChanged: isModern, subscribe: isModern } }),
        ...(prompts.length === 0 ? {} : { prompts: { listChanged: false } }),
        ...(resources.length + prompts.length === 0 ? {} : { completions: {} }),
        ...(!isModern || this.#needs.catalogue.hasProtocolTools ? { logging: {} } : {}),
      },
      ...(isModern ? { supportedProtocolVersions: [servedRevision] } : {}),
      cacheHints: {
        "tools/list": { ttlMs: 30_000, cacheScope: "private" },
        "prompts/list": { ttlMs: 300_000, cacheScope: "private" },
        "resources/templates/list": { ttlMs: 300_000, cacheScope: "private" },
        "server/discover": { ttlMs: 300_000, cacheScope: "private" },
      },
      jsonSchemaValidator: noElicitation,
    };
  }

  #offers(method: Answered): boolean {
    const { resources, prompts } = this.#needs;
    if (method.startsWith("resources/")) return resources.length > 0;
    if (method.startsWith("prompts/")) return prompts.length > 0;
    return method !== "completion/complete" || resources.length + prompts.length > 0;
  }

  async #perform(
    exchange: Exchange,
    method: Answered,
    context: ServerContext,
    project: (result: Result) => Result,
  ): Promise<Result> {
    // The caller left, or its rights did, before anything was begun.
    if (context.mcpReq.signal.aborted) throw new ProtocolError(-32_603, "The caller has left.");
    exchange.isPerformed = true;
    exchange.verdict = "allowed";
    try {
      const result = await this.#answer(exchange, method, context, project);
      this.#requireRoom(exchange, method, result);
      // Of a list, others may have been left.
      if (method === "completion/complete") exchange.verdict = exchange.deniedAs ?? "allowed";
      if (exchange.isStreamed) await this.#recordStreamed(exchange, result);
      return result;
    } catch (error) {
      const thrown = protocolErrorOf(exchange, error);
      exchange.rpc = thrown.code;
      if (exchange.isStreamed && !exchange.isRecorded) await this.#recordStreamed(exchange, {});
      throw thrown;
    }
  }

  async #answer(
    exchange: Exchange,
    method: Answered,
    context: ServerContext,
    project: (result: Result) => Result,
  ): Promise<Result> {
    const { message, era, call, principal, admitted, judge } = exchange;
    if (message === null || judge === null) throw new Error("a request that nobody has judged");
    const sight = sightOf(exchange, judge, this.#needs);
    const asking: Asking = { call, principal, signal: context.mcpReq.signal };
    const asked = <Method extends Answered>(of: Method): ParamsOf<Method> => readParams(of, message);
    switch (method) {
      case "tools/list":
        return this.#listTools(exchange, asked(method).cursor);
      case "tools/call":
        if (admitted === null) throw new Error("a tool was called that nobody admitted");
        return this.#running.run(exchange, admitted, context, project);
      case "resources/list":
        return this.#sources.listResources(asking, sight, {
          cursor: asked(method).cursor,
          // Known once the tool that lists the same is admitted.
          bytesMax: () => this.#bytesMaxFor(exchange) - frameBytes,
        });
      case "resources/templates/list":
        return this.#sources.listTemplates(sight, asked(method).cursor);
      case "resources/read":
        return this.#sources.readResource(asked(method).uri, asking, sight, era === "modern");
      case "prompts/list":
        return this.#sources.listPrompts(sight, asked(method).cursor);
      case "prompts/get": {
        const { name, arguments: given = {} } = asked(method);
        return this.#sources.getPrompt(name, given, { ...asking, sight, context });
      }
      case "completion/complete":
        return this.#sources.complete(asked(method), asking, sight);
    }
  }

  /** In one order, whoever asks: what a cursor names is the place of a tool in it, which another's may not be in. */
  #listTools({ judge, principal }: Exchange, cursor: string | undefined): Result {
    if (judge === null) throw new Error("a list for nobody");
    const { cursors, catalogue, gateway } = this.#needs;
    const list = `mcp.tools ${principal.id}`;
    const [after = ""] = cursor === undefined ? [] : openCursor(cursors, list, cursor);
    const seen = catalogue.seenBy(judge);
    const start = seen.findIndex((offered) => rankOf(offered) > after);
    const rest = start === -1 ? [] : seen.slice(start);
    let room = gateway().limits.mcp.resultBytesMax - frameBytes;
    let length = 0;
    for (const { bytes } of rest.slice(0, toolsPerPage)) {
      room -= bytes + 1;
      if (room < 0 && length > 0) break;
      length += 1;
    }
    const last = length < rest.length ? rest[length - 1] : undefined;
    return {
      tools: rest.slice(0, length).map(({ definition }) => definition),
      ...(last === undefined ? {} : { nextCursor: cursors.seal(list, [rankOf(last)]) }),
    };
  }

  /** What is no tool's answer cannot be cut without becoming another thing. */
  #requireRoom(exchange: Exchange, method: Answered, result: Result): void {
    if (method === "tools/call" || method === "tools/list") return;
    const { call } = exchange;
    const bytesMax = this.#bytesMaxFor(exchange);
    const bytes = Buffer.byteLength(JSON.stringify(result));
    if (bytes <= bytesMax) return;
    throw new ProtocolError(
      -32_603,
      `This has ${bytes} bytes, and at most ${bytesMax} may leave here. Tools answer the same in pages, or cut.`,
      { code: "result_too_large", request_id: call.id },
    );
  }

  #bytesMaxFor({ resultBytesMax }: Exchange): number {
    return Math.min(this.#needs.gateway().limits.mcp.resultBytesMax, resultBytesMax);
  }

  async #recordStreamed(exchange: Exchange, result: Result): Promise<void> {
    exchange.isRecorded = true;
    const bytesOut = Buffer.byteLength(JSON.stringify(result));
    await this.#needs.records.record(exchange.decision({ transport: 200, rpc: exchange.rpc, bytesOut }));
  }
}

/** Clients of sessions could be asked questions; here there are none, so that no answer is ever checked. */
const noElicitation: NonNullable<ServerOptions["jsonSchemaValidator"]> = {
  getValidator: () => () => ({
    valid: false,
    data: undefined,
    errorMessage: "This server asks its clients nothing.",
  }),
};

function protocolErrorOf(exchange: Exchange, error: unknown): ProtocolError {
  if (error instanceof ProtocolError) return error;
  if (error instanceof Refused) {
    const { refusal } = error;
    // Told in the words for what is not there, and written down as what it is.
    const verdict = error.verdict === "unknown" ? (exchange.deniedAs ?? "unknown") : error.verdict;
    exchange.verdict = verdict;
    // Its code may be one that the library spells otherwise.
    exchange.instead = new Refused(verdict, refusal);
    return new ProtocolError(refusal.code, error.message, refusal.details);
  }
  const failure = asFailure(error);
  const { error: said } = rpcBody(failure, exchange.call.id) as { error: { code: number; data: unknown } };
  const isAskedWrong = failure.status >= 400 && failure.status < 500 && failure.kind !== "rate";
  return new ProtocolError(isAskedWrong ? invalidParams : said.code, failure.message, said.data);
}
