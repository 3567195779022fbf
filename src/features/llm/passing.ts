/**
 * Passes an answer on to the caller: a stream event by event, a document whole, a large one in pieces, and a provider's
 * error as it came.
 *
 * Until one of these returns, nothing has been sent to the caller, headers included, and another attempt may follow. What
 * fails later ends the answer in the words of its dialect.
 */
import { Failure } from "../../platform/failure.ts";
import { formatUsd } from "../../platform/money.ts";
import { answerHeaders, metaComment, usageHeader } from "./answer.ts";
import {
  type ByteReader,
  parseDocument,
  readDocument,
  readError,
  relayLarge,
  usageInTail,
} from "./document.ts";
import { type ErrorAnswer, errorInBody, errorInChunk } from "./error-answer.ts";
import type { Exchange } from "./exchange.ts";
import type { Leg } from "./leg.ts";
import { isPassing } from "./provider-failure.ts";
import { relayStream } from "./relay.ts";

const shortBytesMax = 16 * 1024;

/** A 2xx, or the error that it is in truth. Throws a Failure for what is neither JSON nor a stream, or is broken before it began. */
export async function passAnswer(leg: Leg, upstream: Response): Promise<Response | ErrorAnswer> {
  // Sent twice, it arrives joined by a comma.
  const type =
    /^[^;,]*/
      .exec(upstream.headers.get("content-type") ?? "")?.[0]
      .trim()
      .toLowerCase() ?? "";
  if (type === "text/event-stream") return await passStream(leg, upstream);
  if (/^(?:application|text)\/json$|\+json$/.test(type)) return await passDocument(leg, upstream);
  throw new Failure("upstream", "provider_error", "The provider answered with neither JSON nor a stream.");
}

/** A provider's own error passes as it came. It is not billed, and its row says so. */
export async function passError(leg: Leg, upstream: Response): Promise<Response> {
  const { exchange } = leg;
  // From here the idle timeout counts: a refusal has no reason to take its time.
  exchange.touch();
  const body = await readError(upstream).catch((error: unknown) => {
    // What is the caller's own fault stays so, though nobody says why.
    if (isPassing(upstream.status) || exchange.hasLeft || !isProviders(exchange)) throw error;
    return new Uint8Array(0);
  });
  return await passRefusal(leg, upstream, body);
}

async function passRefusal(leg: Leg, upstream: Response, body: Uint8Array): Promise<Response> {
  const { exchange, call, target } = leg;
  const { status } = upstream;
  exchange.sentStatus = status;
  await exchange.end("refused", status < 400 ? "provider_error" : `provider_${status}`);
  call.admission.release();
  const safe = withoutKey(body, target.config?.apiKey?.reveal() ?? "");
  return new Response(safe, { status, headers: headersOf(leg, upstream) });
}

/** Some providers repeat the key that they refuse, and callers are not whom it was given to. */
function withoutKey(body: Uint8Array, key: string): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.from(body);
  if (key === "" || !bytes.includes(key)) return bytes;
  return Buffer.from(
    bytes.toString("latin1").replaceAll(Buffer.from(key).toString("latin1"), "[redacted]"),
    "latin1",
  );
}

const isProviders = ({ failure }: Exchange): boolean =>
  failure === null || failure.kind === "upstream_timeout";

async function passStream(leg: Leg, upstream: Response): Promise<Response | ErrorAnswer> {
  const { exchange, call } = leg;
  const reader = upstream.body?.getReader();
  const read = await reader?.read();
  if (reader === undefined || read === undefined || read.done)
    throw new Failure("upstream", "provider_error", "The provider answered with an empty stream.");
  exchange.touch();
  const first = { reader, chunk: read.value };
  const status = errorInChunk(call.wire, read.value);
  if (status !== null)
    return {
      status,
      pass: () => beginStream(leg, upstream, first),
      drop: () => void reader.cancel().catch(() => {}),
    };
  exchange.hasBody = true;
  leg.pass.succeeded();
  return await beginStream(leg, upstream, first);
}

async function beginStream(
  leg: Leg,
  upstream: Response,
  { reader, chunk }: { reader: ByteReader; chunk: Uint8Array },
): Promise<Response> {
  const { exchange, call } = leg;
  await begun(exchange);
  exchange.sentStatus = upstream.status;
  const asksMeta = call.opened.request.headers.get("x-specgate-meta") === "sse";
  const body = relayStream(exchange, reader, chunk, {
    wire: call.wire,
    hideUsage: leg.hideUsage,
    safe: (bytes) => withoutKey(bytes, leg.target.config?.apiKey?.reveal() ?? ""),
    trailer: asksMeta ? (settled) => metaComment(exchange, settled) : null,
    over: call.admission.release,
  });
  return new Response(body, { status: upstream.status, headers: headersOf(leg, upstream) });
}

async function passDocument(leg: Leg, upstream: Response): Promise<Response | ErrorAnswer> {
  const { exchange, call } = leg;
  // What is short is here at once, and only then says whether the provider is well.
  if (!(Number(upstream.headers.get("content-length") ?? Number.NaN) <= shortBytesMax)) leg.pass.began();
  const touch = () => {
    exchange.hasBody = true;
    exchange.touch();
  };
  // With its headers a whole answer has begun, and may not pause for ever; a stream's first token is still to come.
  if (!call.admission.asked.stream) exchange.touch();
  const document = await readDocument(upstream, touch);
  if (document.more !== null)
    return await passLarge(leg, upstream, { first: document.bytes, more: document.more });
  const body = parseDocument(document.bytes);
  const status = errorInBody(call.wire, body);
  if (status !== null)
    return {
      status,
      pass: () => passRefusal(leg, upstream, document.bytes),
      drop: () => {},
    };
  exchange.meter.seeBody(body);
  await exchange.durable;
  leg.pass.succeeded();
  exchange.sentStatus = upstream.status;
  const settled = await exchange.end("answered");
  call.admission.release();
  const headers = headersOf(leg, upstream);
  if (settled.cost !== null) headers["x-specgate-cost-usd"] = formatUsd(settled.cost);
  headers["x-specgate-usage"] = usageHeader(settled);
  return new Response(document.bytes as Uint8Array<ArrayBuffer>, { status: upstream.status, headers });
}

async function passLarge(
  leg: Leg,
  upstream: Response,
  document: { first: Uint8Array; more: ByteReader },
): Promise<Response> {
  const { exchange } = leg;
  const { release } = leg.call.admission;
  await begun(exchange);
  leg.pass.succeeded();
  exchange.sentStatus = upstream.status;
  const broke = () =>
    void exchange
      .end("broken", exchange.failure?.code ?? "provider_error")
      .catch(() => {})
      .then(release);
  const body = relayLarge(document, {
    opened: (fail) => {
      exchange.reading = false;
      exchange.onGiveUp = (failure) => {
        broke();
        fail(failure);
      };
    },
    reads: (isReading) => {
      exchange.reading = isReading;
    },
    touch: () => exchange.touch(),
    sent: (bytes) => {
      exchange.meter.letPass(bytes);
      exchange.sent();
    },
    settle: async (tail) => {
      exchange.meter.letPass(tail.length);
      exchange.meter.seeBody(usageInTail(tail));
      await exchange.end("answered");
      release();
    },
    broke,
    left: () => void exchange.leave().then(release),
  });
  return new Response(body, { status: upstream.status, headers: headersOf(leg, upstream) });
}

/** START is durable. Whoever gave the attempt up meanwhile had nobody to tell. */
async function begun(exchange: Exchange): Promise<void> {
  await exchange.durable;
  if (exchange.failure !== null) throw exchange.failure;
}

const headersOf = ({ exchange, target, call }: Leg, upstream: Response): Record<string, string> =>
  answerHeaders(exchange, target, upstream, call.forAnthropic);
