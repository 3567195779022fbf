/**
 * The door for MCP clients: both eras of the protocol on one URL, without sessions.
 *
 * A request is read once, decided once, and only then handed to the protocol's library. What a tool answers leaves only
 * when its record is durable. Nothing here knows what any tool does.
 */
import {
  createMcpHandler,
  type McpHttpHandler,
  type McpRequestContext,
  ProtocolError,
  Server,
} from "@modelcontextprotocol/server";
import type { McpDecision, McpRecords } from "../../db/mcp-decision.ts";
import type { GatewayConfig } from "../../platform/config.ts";
import { rpcBody } from "../../platform/dialects.ts";
import { asFailure, Failure } from "../../platform/failure.ts";
import { enterPlace, type Locate, type OpenedBy } from "../../platform/guard.ts";
import type { Log } from "../../platform/log.ts";
import type { Tool } from "../../platform/tool.ts";
import type { Upstreams } from "../../platform/upstream.ts";
import type { Allowlist, Judge } from "./allowlist.ts";
import { Catalogue, type Offered } from "./catalogue.ts";
import { type Message, readMessage } from "./message.ts";

export type McpNeeds = {
  gateway: () => GatewayConfig;
  version: string;
  tools: readonly Tool[];
  upstreams: Upstreams;
  allowlist: Allowlist;
  records: McpRecords;
  locate: Locate;
  log: Log;
};

/** One request under way. */
type Exchange = OpenedBy & { readonly message: Message; readonly judge: Judge };

const keepAliveMs = 8_000;

export class Mcp {
  readonly #needs: McpNeeds;
  readonly #catalogue: Catalogue;
  readonly #handler: McpHttpHandler;

  constructor(needs: McpNeeds) {
    this.#needs = needs;
    this.#catalogue = new Catalogue(needs.tools, needs.upstreams);
    this.#handler = createMcpHandler((context) => this.#serve(exchangeOf(context)), { keepAliveMs });
  }

  async answer(opened: OpenedBy): Promise<Response> {
    const { allowlist, gateway } = this.#needs;
    const message = await readMessage(opened.request, gateway().limits.mcp.bodyBytesMax);
    const judge = await allowlist.for(opened.principal);
    const exchange: Exchange = { ...opened, message, judge };
    const refusal = this.#scopeRefusal(exchange);
    if (refusal !== null) return refusal;
    const authInfo = { token: "", clientId: opened.principal.id, scopes: [], extra: { exchange } };
    return this.#handler.fetch(opened.request, { parsedBody: message.value, authInfo });
  }

  close(): Promise<void> {
    return this.#handler.close();
  }

  #serve(exchange: Exchange): Server {
    const server = new Server(
      { name: "specgate", title: "SpecGate", version: this.#needs.version },
      { capabilities: { tools: { listChanged: true } } },
    );
    server.setRequestHandler("tools/list", () => ({ tools: this.#listed(exchange) }) as never);
    server.setRequestHandler("tools/call", async ({ params }, { mcpReq }) => {
      const result = await this.#run(exchange, params, mcpReq.signal);
      return result as never;
    });
    return server;
  }

  #listed({ judge }: Exchange) {
    return this.#catalogue
      .all()
      .filter((offered) => judge.sees(offered).isVisible)
      .map(({ definition }) => definition);
  }

  #scopeRefusal({ message, judge, principal, call }: Exchange): Response | null {
    if (message.method !== "tools/call") return null;
    const offered = this.#catalogue.find(String(message.params.name));
    if (offered === undefined || !judge.sees(offered).isVisible) return null;
    if (offered.scopes.every((scope) => principal.scopes.has(scope))) return null;
    const scope = [...new Set([...principal.scopes, ...offered.scopes])].join(" ");
    const failure = new Failure(
      "forbidden",
      "insufficient_scope",
      `This tool needs ${offered.scopes.join(" ")}.`,
    );
    return Response.json(rpcBody(failure, call.id, message.id), {
      status: 403,
      headers: { "www-authenticate": `Bearer error="insufficient_scope", scope="${scope}"` },
    });
  }

  async #run(
    exchange: Exchange,
    { name, arguments: args = {} }: { name: string; arguments?: Record<string, unknown> | undefined },
    signal: AbortSignal,
  ) {
    const offered = this.#catalogue.find(name);
    const verdict = offered === undefined ? null : exchange.judge.judge(offered, args);
    if (offered === undefined || verdict?.verdict !== "allowed")
      throw new ProtocolError(-32602, `Unknown tool: ${name}`);
    const startedAt = performance.now();
    const result = await this.#resultOf(exchange, offered, args, signal);
    await this.#needs.records.record(decisionOf(exchange, offered, args, { result, startedAt }));
    return result;
  }

  async #resultOf(
    { call, principal }: Exchange,
    { own, upstream }: Offered,
    args: Record<string, unknown>,
    signal: AbortSignal,
  ) {
    const { upstreams, locate, gateway } = this.#needs;
    try {
      if (upstream !== null) {
        const resultBytesMax = gateway().limits.mcp.resultBytesMax;
        const answer = await upstreams.call(upstream, args, {
          signal,
          resultBytesMax,
          traceparent: call.traceparent,
        });
        if (answer.kind === "error") throw new ProtocolError(answer.code, answer.message);
        return answer.result;
      }
      const asked = own.input.parse(args);
      const at = own.place;
      const place =
        at === undefined
          ? null
          : await enterPlace(
              principal,
              {
                scopes: own.scopes,
                least: at.least,
                at: at.at,
                id: String(asked[at.argument]),
                isRead: !own.writes,
              },
              locate,
            );
      const structuredContent = await own.run({ call, principal, place, asked, signal });
      return { content: [{ type: "text", text: JSON.stringify(structuredContent) }], structuredContent };
    } catch (error) {
      if (error instanceof ProtocolError) throw error;
      const { code, message } = asFailure(error);
      return { isError: true, content: [{ type: "text", text: `${code}: ${message}` }] };
    }
  }
}

const exchangeOf = ({ authInfo }: McpRequestContext): Exchange => authInfo?.extra?.exchange as Exchange;

function decisionOf(
  { call, principal, judge, message }: Exchange,
  { name, upstream }: Offered,
  args: unknown,
  { result, startedAt }: { result: object; startedAt: number },
): McpDecision {
  const isError = "isError" in result && result.isError === true;
  return {
    call,
    principal,
    era: null,
    method: message.method,
    tool: name,
    upstream: upstream?.alias ?? null,
    pin: upstream?.pin ?? null,
    projectId: null,
    sessionId: null,
    verdict: "allowed",
    rule: null,
    revisions: judge.revisions,
    args,
    bytesIn: message.bytes,
    bytesOut: 0,
    outcome: { transport: 200, rpc: null, tool: isError ? "error" : "ok" },
    milliseconds: performance.now() - startedAt,
  };
}
