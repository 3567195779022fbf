/**
 * A line between a command and the gateway that does to transfers what lines do: it breaks in the middle, loses an answer,
 * waits, or lets somebody else answer. Signed URLs that pass through lead through it too.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

/** What befalls one transfer; without any it goes through. */
export type Fault =
  /** The line breaks after so many bytes of what is transferred. */
  | { cutAfterBytes: number }
  /** All of it arrives, and nobody hears of it. */
  | { loseAnswer: true }
  /** It stands still so long before it goes on; for ever when there is no end. */
  | { waitMs: number }
  /** Somebody else's answer; the bytes are not even read. */
  | { answer: Response };

export type Transfer = { readonly method: string; readonly headers: Readonly<Record<string, unknown>> };

export async function openLine(gatewayUrl: string) {
  const faults: { readonly at: RegExp; readonly fault: Fault }[] = [];
  const transfers: Transfer[] = [];
  let url = "";
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    const named = `${request.method} ${path}`;
    if (path.startsWith("/blobs/"))
      transfers.push({ method: request.method ?? "", headers: { ...request.headers } });
    const index = faults.findIndex(({ at }) => at.test(named));
    const [found] = index < 0 ? [] : faults.splice(index, 1);
    pass({ gatewayUrl, url, request, response }, found?.fault).catch(() => request.socket.destroy());
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  return {
    url,
    /** Every PUT and GET of bytes, in turn. */
    transfers,
    /** For the next request whose method and path fit, once each, in this order. */
    next(at: RegExp, ...them: Fault[]): void {
      faults.push(...them.map((fault) => ({ at, fault })));
    },
    close(): void {
      server.closeAllConnections();
      server.close();
    },
  };
}

type Passing = { gatewayUrl: string; url: string; request: IncomingMessage; response: ServerResponse };

async function pass(
  { gatewayUrl, url, request, response }: Passing,
  fault: Fault | undefined,
): Promise<void> {
  const isUpload = request.method === "PUT";
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers))
    if (!["host", "connection", "transfer-encoding"].includes(name)) headers.set(name, String(value));
  if (fault !== undefined && "answer" in fault) return answer(response, fault.answer);
  if (fault !== undefined && "waitMs" in fault) await Bun.sleep(fault.waitMs);
  const body: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of request) {
    body.push(piece as Uint8Array);
    bytes += (piece as Uint8Array).length;
    if (isUpload && fault !== undefined && "cutAfterBytes" in fault && bytes >= fault.cutAfterBytes) {
      request.socket.destroy();
      return;
    }
  }
  const sent = body.length === 0 ? {} : { body: Buffer.concat(body) };
  const init = { method: request.method ?? "GET", headers, redirect: "manual", ...sent } as const;
  const answered = await fetch(gatewayUrl + (request.url ?? ""), init);
  const isJson = answered.headers.get("content-type")?.startsWith("application/json") === true;
  const isBytes = (request.url ?? "").startsWith("/blobs/");
  let whole = new Uint8Array(await answered.arrayBuffer());
  if (isJson && !isBytes)
    whole = new TextEncoder().encode(new TextDecoder().decode(whole).replaceAll(gatewayUrl, url));
  if (fault !== undefined && "loseAnswer" in fault) {
    request.socket.destroy();
    return;
  }
  const told = Object.fromEntries(answered.headers);
  response.writeHead(answered.status, { ...told, "content-length": String(whole.length) });
  if (fault === undefined || !("cutAfterBytes" in fault)) {
    response.end(whole);
    return;
  }
  await new Promise((resolve) => response.write(whole.subarray(0, fault.cutAfterBytes), resolve));
  await Bun.sleep(50);
  request.socket.destroy();
}

async function answer(response: ServerResponse, given: Response): Promise<void> {
  response.writeHead(given.status, { ...Object.fromEntries(given.headers), connection: "close" });
  response.end(Buffer.from(await given.arrayBuffer()));
}
