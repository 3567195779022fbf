/**
 * The two ways in which the protocol's library answers a request: by the revision of 2026-07-28, and by those before it.
 *
 * There are no sessions in either: an `Mcp-Session-Id` says nothing here, and none is ever given out. An answer is one
 * JSON document, so that it is whole, counted and written down before its first byte leaves; only a tool that speaks the
 * protocol itself may stream.
 */
import {
  type JSONRPCRequest,
  PerRequestHTTPServerTransport,
  type Server,
  WebStandardStreamableHTTPServerTransport,
} from "@modelcontextprotocol/server";
import type { Exchange } from "./exchange.ts";
import { keepAliveMs } from "./listen.ts";
import { servedRevision } from "./message.ts";

/** The caller has left, or may not hear it any more; nobody reads what is answered (as nginx says it). */
export const gone = 499;

const classification = { era: "modern", revision: servedRevision } as const;

export class Eras {
  readonly #serverOf: (exchange: Exchange) => Server;
  readonly #open = new Set<() => void>();

  /** `serverOf` makes one for each request. */
  constructor(serverOf: (exchange: Exchange) => Server) {
    this.#serverOf = serverOf;
  }

  /** At once when the caller leaves, or the exchange is over: what is under way is told so, and may still do its work. */
  async answer(exchange: Exchange): Promise<Response> {
    const { signal } = exchange.request;
    if (signal.aborted || exchange.isOver) return leftAlone();
    const server = this.#serverOf(exchange);
    const left = Promise.withResolvers<Response>();
    const leave = () => {
      left.resolve(leftAlone());
      end();
    };
    const end = () => {
      signal.removeEventListener("abort", leave);
      exchange.onOver = null;
      this.#open.delete(leave);
      void server.close();
    };
    signal.addEventListener("abort", leave, { once: true });
    exchange.onOver = leave;
    this.#open.add(leave);
    const speak = exchange.era === "legacy" ? speakLegacy : speakModern;
    const response = await Promise.race([speak(server, exchange), left.promise]);
    if (exchange.isStreamed && response.body !== null) return closingAfter(response, end);
    end();
    return response;
  }

  /** Cuts what is under way. */
  close(): void {
    for (const leave of [...this.#open]) leave();
  }
}

const leftAlone = (): Response => new Response(null, { status: gone });

/** The message was read and its headers held against it before: nothing is left to ask but what it answers. */
async function speakModern(server: Server, exchange: Exchange): Promise<Response> {
  const { request, message, isStreamed } = exchange;
  const responseMode = isStreamed ? "auto" : "json";
  const transport = new PerRequestHTTPServerTransport({ classification, responseMode, keepAliveMs });
  await server.connect(transport);
  return transport.handleMessage(message?.value as JSONRPCRequest, { request });
}

async function speakLegacy(server: Server, { request, message, isStreamed }: Exchange): Promise<Response> {
  const transport = new WebStandardStreamableHTTPServerTransport({
    enableJsonResponse: !isStreamed,
    keepAliveMs,
  });
  await server.connect(transport);
  return transport.handleRequest(request, { parsedBody: message?.value });
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
