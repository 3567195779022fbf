/**
 * A completion from door to books: admit, route, START, dispatch, relay, END.
 *
 * Nothing reaches the caller, headers included, before a provider has answered and START is durable; the last byte
 * waits for END. Whatever happens in between, the attempt ends in exactly one END.
 */
import type { StartRecord } from "../../db/ledger.ts";
import { type Clock, rfc3339 } from "../../platform/clock.ts";
import type { GatewayConfig, LlmEndpoint } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { OpenedBy } from "../../platform/guard.ts";
import type { GuardedFetch } from "../../platform/guarded-fetch.ts";
import { formatUsd } from "../../platform/money.ts";
import { isEndedBy } from "../../platform/principal.ts";
import { type Admission, Admittance } from "./admit.ts";
import { answerHeaders, metaComment, usageHeader } from "./answer.ts";
import type { LocateWork } from "./attribution.ts";
import type { CountTokens } from "./count.ts";
import { dispatchDemo } from "./demo.ts";
import {
  type ByteReader,
  parseDocument,
  readDocument,
  readError,
  relayLarge,
  usageInTail,
} from "./document.ts";
import { type Books, Exchange } from "./exchange.ts";
import { asSocketError, chatWire, dispatchOpenai } from "./openai.ts";
import type { Prices } from "./prices.ts";
import { isConnectError, providerFailure } from "./provider-failure.ts";
import { relayStream } from "./relay.ts";
import { providerBody } from "./request.ts";
import { findTarget, type Target } from "./route.ts";
import type { Watch } from "./watch.ts";

export type LlmNeeds = {
  gateway: () => GatewayConfig;
  prices: Prices;
  books: Books;
  count: CountTokens;
  watch: Watch;
  clock: Clock;
  /** The only way to a provider. */
  fetch: GuardedFetch;
  locate: LocateWork;
  /** Told after each call, for limits that count tokens. */
  spent: (credential: string, tokens: number) => void;
};

const path = "/chat/completions";
/** How long calls that were given up get to tell their callers. */
const partingMs = 2_000;
/** A request's text is kept for counting only while it is small; beyond that its length must do. */
const keptRequestBytesMax = 64 * 1024;

/** One call under way: what the steps below hand to each other. */
type Leg = {
  opened: OpenedBy;
  admission: Admission;
  target: Target;
  exchange: Exchange;
  hideUsage: boolean;
  body: Uint8Array<ArrayBuffer>;
};

export class Completions {
  readonly #needs: LlmNeeds;
  readonly admittance: Admittance;

  constructor(needs: LlmNeeds) {
    this.#needs = needs;
    this.admittance = new Admittance(() => needs.gateway().limits.llm, needs.locate);
  }

  /** Answers one call. Throws a Failure only while nothing has been sent. */
  async complete(endpoint: LlmEndpoint, opened: OpenedBy): Promise<Response> {
    const admission = await this.admittance.admit(endpoint, opened);
    try {
      return await this.#run(this.#prepare(opened, admission));
    } catch (error) {
      admission.release();
      throw error;
    }
  }

  /** Ends the calls under way of a user, client, key or token that was revoked. */
  cut(subject: string): void {
    const failure = new Failure(
      "unauthenticated",
      "unauthenticated",
      "The credential of this call was revoked.",
    );
    this.#needs.watch.giveUp(failure, subject);
  }

  /** Lets nobody in, waits for the calls under way, and ends those that are still open after `milliseconds`. */
  async drain(milliseconds: number): Promise<void> {
    const { watch } = this.#needs;
    this.admittance.close();
    const deadline = performance.now() + milliseconds;
    while (watch.size > 0 && performance.now() < deadline) await Bun.sleep(20);
    watch.giveUp(new Failure("unavailable", "unavailable", "The gateway is shutting down."));
    const partingDeadline = performance.now() + partingMs;
    while (watch.size > 0 && performance.now() < partingDeadline) await Bun.sleep(20);
  }

  #prepare(opened: OpenedBy, admission: Admission): Leg {
    const { asked } = admission;
    const target = findTarget(this.#needs.gateway(), this.#needs.prices, asked.model);
    const setUsage = asked.stream && !asked.asksUsage && (target.config?.includeUsage ?? true);
    const body = providerBody(asked, target.model, setUsage);
    const exchange = new Exchange(this.#needs, {
      start: this.#startRecord(opened, admission, target),
      target,
      wire: chatWire,
      startedAt: opened.call.startedAt,
      requestText: requestText(asked.bytes),
      // Asked at each tick instead of listened to: most calls are over before the first one.
      caller: {
        isEndedBy: (subject) => isEndedBy(opened.principal, subject),
        hasLeft: () => opened.request.signal.aborted,
        stayOpen: opened.call.stayOpen,
      },
    });
    return { opened, admission, target, exchange, hideUsage: setUsage, body };
  }

  #startRecord({ call, principal, request }: OpenedBy, admission: Admission, target: Target): StartRecord {
    const { asked, attribution } = admission;
    return {
      t: "start",
      req: call.id,
      att: 1,
      at: rfc3339(this.#needs.clock.now()),
      endpoint: asked.endpoint,
      requested_model: asked.model.slice(0, 256),
      provider: target.provider,
      model: target.model.slice(0, 256),
      principal: principal.id,
      user_id: principal.userId,
      client_id: principal.clientId,
      key_id: principal.keyId,
      project_id: attribution.projectId,
      session_id: attribution.sessionId,
      iteration_id: attribution.iterationId,
      task_id: attribution.taskId,
      tags: attribution.tags,
      stream: asked.stream,
      trace_id: call.traceId,
      idempotency_key: request.headers.get("idempotency-key")?.slice(0, 255) ?? null,
      prices: this.#needs.prices.find(target.provider, target.model),
      input_est: Math.ceil(asked.bytes.length / 4),
      hold: null,
      periods: null,
    };
  }

  async #run(leg: Leg): Promise<Response> {
    const { exchange } = leg;
    await exchange.begin();
    try {
      const upstream = await this.#dispatch(leg);
      exchange.status = upstream.status;
      if (!upstream.ok) return await this.#passError(leg, upstream);
      return await this.#answer(leg, upstream);
    } catch (error) {
      throw await this.#fail(exchange, asSocketError(error));
    }
  }

  #dispatch({ target, opened, exchange, body }: Leg): Promise<Response> | Response {
    const { call, request } = opened;
    const { signal } = exchange.abort;
    if (target.config === null) {
      return dispatchDemo({ body, signal, id: call.id, nowMs: this.#needs.clock.now() });
    }
    const { search } = call.url;
    return dispatchOpenai(this.#needs.fetch, target.config, {
      path,
      search,
      headers: request.headers,
      traceparent: call.traceparent,
      body,
      signal,
    });
  }

  async #answer(leg: Leg, upstream: Response): Promise<Response> {
    const type = upstream.headers.get("content-type")?.split(";", 1)[0]?.trim().toLowerCase() ?? "";
    if (type === "text/event-stream") return await this.#answerStream(leg, upstream);
    if (type === "application/json" || type.endsWith("+json"))
      return await this.#answerDocument(leg, upstream);
    throw new Failure("upstream", "provider_error", "The provider answered with neither JSON nor a stream.");
  }

  async #answerStream(leg: Leg, upstream: Response): Promise<Response> {
    const { exchange, opened } = leg;
    const reader = upstream.body?.getReader();
    if (!reader)
      throw new Failure("upstream", "provider_error", "The provider answered with an empty stream.");
    const read = await reader.read();
    if (!read.done) exchange.touch();
    await exchange.durable;
    exchange.sentStatus = upstream.status;
    const asksMeta = opened.request.headers.get("x-specgate-meta") === "sse";
    const body = relayStream(exchange, reader, read.done ? null : read.value, {
      wire: chatWire,
      hideUsage: leg.hideUsage,
      trailer: asksMeta ? (settled) => metaComment(exchange, settled) : null,
      over: () => this.#over(leg),
    });
    return new Response(body, {
      status: upstream.status,
      headers: answerHeaders(exchange, leg.target, upstream),
    });
  }

  async #answerDocument(leg: Leg, upstream: Response): Promise<Response> {
    const { exchange } = leg;
    const document = await readDocument(upstream, () => exchange.touch());
    if (document.more !== null)
      return await this.#answerLarge(leg, upstream, { first: document.bytes, more: document.more });
    exchange.meter.seeBody(parseDocument(document.bytes));
    await exchange.durable;
    exchange.sentStatus = upstream.status;
    const settled = await exchange.end("answered");
    this.#over(leg);
    const headers = answerHeaders(exchange, leg.target, upstream);
    if (settled.cost !== null) headers["x-specgate-cost-usd"] = formatUsd(settled.cost);
    headers["x-specgate-usage"] = usageHeader(settled);
    return new Response(document.bytes as Uint8Array<ArrayBuffer>, { status: upstream.status, headers });
  }

  async #answerLarge(
    leg: Leg,
    upstream: Response,
    document: { first: Uint8Array; more: ByteReader },
  ): Promise<Response> {
    const { exchange } = leg;
    await exchange.durable;
    exchange.sentStatus = upstream.status;
    const broke = () =>
      void exchange
        .end("broken", exchange.failure?.code ?? "provider_error")
        .catch(() => {})
        .then(() => this.#over(leg));
    exchange.onGiveUp = broke;
    const body = relayLarge(document, {
      touch: () => exchange.touch(),
      sent: () => exchange.sent(),
      settle: async (tail) => {
        exchange.meter.seeBody(usageInTail(tail));
        await exchange.end("answered");
        this.#over(leg);
      },
      broke,
      left: () => void exchange.leave().then(() => this.#over(leg)),
    });
    return new Response(body, {
      status: upstream.status,
      headers: answerHeaders(leg.exchange, leg.target, upstream),
    });
  }

  /** A provider's own error passes as it came. It is not billed, and its row says so. */
  async #passError(leg: Leg, upstream: Response): Promise<Response> {
    if (upstream.status < 400) {
      throw new Failure(
        "upstream",
        "provider_error",
        `The provider answered with a redirect (${upstream.status}).`,
      );
    }
    // From here the idle timeout counts: a refusal has no reason to take its time.
    leg.exchange.touch();
    const body = await readError(upstream);
    leg.exchange.sentStatus = upstream.status;
    await leg.exchange.end("refused", `provider_${upstream.status}`);
    this.#over(leg);
    const headers = answerHeaders(leg.exchange, leg.target, upstream);
    return new Response(body as Uint8Array<ArrayBuffer>, { status: upstream.status, headers });
  }

  /** Ends an attempt that gave nothing to pass on, and says what the caller is told. */
  async #fail(exchange: Exchange, error: unknown): Promise<Failure> {
    // Nobody hears it, and it is nobody's fault, so it is nothing for the log of what went wrong.
    if (exchange.hasLeft) return new Failure("invalid", "caller_left", "The caller left before the answer.");
    const failure = exchange.failure ?? providerFailure(error);
    // Whatever the provider still sends is for nobody.
    exchange.abort.abort();
    exchange.sentStatus ??= failure.status;
    const neverSent = isConnectError(error) || failure.kind === "invalid";
    // An error status is a verdict, even when its body never came to an end.
    const refused = neverSent || (exchange.status ?? 0) >= 400;
    await exchange.end(refused ? "refused" : "silent", failure.code);
    return failure;
  }

  #over({ admission, exchange, opened }: Leg): void {
    admission.release();
    const { usage } = exchange.meter;
    if (usage !== null)
      this.#needs.spent(opened.principal.credentialId, (usage.input ?? 0) + (usage.output ?? 0));
  }
}

/** Not read until the numbers are needed, which for most calls is never. */
function requestText(bytes: Uint8Array): () => string {
  if (bytes.length > keptRequestBytesMax) return () => "";
  return () => {
    try {
      return chatWire.textOfRequest(JSON.parse(Buffer.from(bytes).toString("utf8")));
    } catch {
      return "";
    }
  };
}
