/**
 * The two ways in which the protocol's library answers a request: by the revision of 2026-07-28, and by those before it.
 *
 * There are no sessions in either: an `Mcp-Session-Id` says nothing here, and none is ever given out. An answer is one
 * JSON document, so that it is whole, counted and written down before its first byte leaves; only a tool that speaks the
 * protocol itself may stream.
 */
import {
  createMcpHandler,
  type McpHttpHandler,
  type Server,
  WebStandardStreamableHTTPServerTransport,
} from "@modelcontextprotocol/server";
import type { Exchange } from "./exchange.ts";
import { keepAliveMs } from "./listen.ts";

/** The caller has left; nobody reads what is answered (as nginx says it). */
export const gone = 499;

export class Eras {
  readonly #serverOf: (exchange: Exchange) => Server;
  readonly #modern: McpHttpHandler;

  /** `serverOf` makes one for each request. */
  constructor(serverOf: (exchange: Exchange) => Server) {
    this.#serverOf = serverOf;
    this.#modern = createMcpHandler(({ authInfo }) => serverOf(authInfo?.extra?.exchange as Exchange), {
      legacy: "reject",
      keepAliveMs,
    });
  }

  answer(exchange: Exchange): Promise<Response> {
    if (exchange.era === "legacy") return this.#answerLegacy(exchange);
    const authInfo = { token: "", clientId: exchange.principal.id, scopes: [], extra: { exchange } };
    return this.#modern.fetch(exchange.request, { parsedBody: exchange.message?.value, authInfo });
  }

  close(): Promise<void> {
    return this.#modern.close();
  }

  async #answerLegacy(exchange: Exchange): Promise<Response> {
    const { request } = exchange;
    const isStream = exchange.isStreamed;
    const server = this.#serverOf(exchange);
    const transport = new WebStandardStreamableHTTPServerTransport({
      enableJsonResponse: !isStream,
      keepAliveMs,
    });
    await server.connect(transport);
    const left = Promise.withResolvers<Response>();
    const leave = () => {
      void server.close();
      left.resolve(new Response(null, { status: gone }));
    };
    request.signal.addEventListener("abort", leave, { once: true });
    if (request.signal.aborted) leave();
    const answered = transport.handleRequest(request, { parsedBody: exchange.message?.value });
    const response = await Promise.race([answered, left.promise]);
    if (isStream && response.body !== null) return closingAfter(response, () => void server.close());
    request.signal.removeEventListener("abort", leave);
    void server.close();
    return response;
  }
}

/** The same answer; `close` is called when its last byte is out, or nobody wants it any more. */
function closingAfter(response: Response, close: () => void): Response {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (!done) return controller.enqueue(value);
      close();
      controller.close();
    },
    cancel(reason) {
      close();
      return reader.cancel(reason);
    },
  });
  return new Response(body, response);
}
