/**
 * The attempts of one call: ask, and while nothing has been sent to the caller, ask another when the first did not answer.
 *
 * Each attempt has its own START and END under the request. What may have been billed is never repeated on money that
 * was set aside once: under a hard budget the hold is taken again first, or the call ends there. Whatever happens, the
 * request ends in one CLOSE.
 */
import type { StartRecord } from "../../db/ledger.ts";
import { type Clock, rfc3339 } from "../../platform/clock.ts";
import { asFailure, Failure } from "../../platform/failure.ts";
import type { GuardedFetch } from "../../platform/guarded-fetch.ts";
import type { Breakers } from "./breakers.ts";
import { firstStep, nextStep, type Step, type Tried, waitMsOf } from "./choice.ts";
import type { CountTokens } from "./count.ts";
import { dispatchDemo } from "./demo.ts";
import { asSocketError, dispatch } from "./dispatch.ts";
import type { ErrorAnswer } from "./error-answer.ts";
import { type Books, Exchange } from "./exchange.ts";
import type { Holds } from "./holds.ts";
import type { Leg, LlmCall } from "./leg.ts";
import { hidesReasoning } from "./model-facts.ts";
import { passAnswer, passError } from "./passing.ts";
import type { Prices } from "./prices.ts";
import {
  credentialRefused,
  isConnectError,
  isIllness,
  isPassing,
  providerFailure,
  remedyOf,
  retryAfterMs,
} from "./provider-failure.ts";
import { type LlmRequest, providerBody } from "./request.ts";
import { callerLeft, Rest } from "./rest.ts";
import type { Noted } from "./spending.ts";
import type { Unseen } from "./unseen.ts";
import type { Watch } from "./watch.ts";

export type AttemptsNeeds = {
  books: Books;
  holds: Holds;
  prices: Prices;
  breakers: Breakers;
  count: CountTokens;
  watch: Watch;
  clock: Clock;
  /** The only way to a provider. */
  fetch: GuardedFetch;
  /** Told of what each attempt came to. */
  noted: Noted;
};

/** Why an attempt gave nothing to pass on, and what the books know of it. */
type Setback = {
  readonly failure: Failure;
  readonly code: string;
  /** True when it is known that nothing is billed. */
  readonly refused: boolean;
  /** The attempt that follows, if one does. */
  readonly step: Next | null;
};

/** With all who were asked before it. */
type Next = Step & { readonly tried: readonly Tried[] };

/** A longer request is not counted: its length must do, or under a hard budget what was set aside. */
const countedBytesMax = 1 << 20;

export class Attempts {
  readonly #needs: AttemptsNeeds;
  /** As many as there are values of `connect_ms` in the file. */
  readonly #fetches = new Map<number, GuardedFetch>();

  constructor(needs: AttemptsNeeds) {
    this.#needs = needs;
  }

  /** Answers the call. Throws a Failure only while nothing has been sent. */
  async run(call: LlmCall): Promise<Response> {
    let leg = await this.#begin(call, this.#first(call));
    for (;;) {
      const outcome = await this.#ask(leg);
      if (outcome instanceof Response) return outcome;
      leg = await this.#after(leg, outcome);
    }
  }

  /** The first attempt. What was set aside for a call that never began goes back. */
  async #begin(call: LlmCall, step: Step): Promise<Leg> {
    try {
      const leg = this.#leg(call, step, 1, noneTried);
      await leg.exchange.begin();
      return leg;
    } catch (error) {
      step.pass.abandoned();
      if (call.account.hold !== null) this.#needs.holds.drop(call.opened.call.id);
      throw error;
    }
  }

  #first({ route, account, opened }: LlmCall): Step {
    const { breakers, holds } = this.#needs;
    const step = firstStep(route, breakers);
    if (step !== null) return step;
    if (account.hold !== null) holds.drop(opened.call.id);
    const seconds = Math.max(1, Math.ceil(waitMsOf(route, breakers) / 1000));
    throw new Failure(
      "unavailable",
      "unavailable",
      `Every provider of this model has failed lately and is left alone for a moment. Try again in ${seconds} s.`,
      { retryAfterSeconds: seconds },
    );
  }

  async #ask(leg: Leg): Promise<Response | Setback> {
    const { exchange } = leg;
    try {
      exchange.requireLive();
      const upstream = await this.#dispatch(leg);
      exchange.status = upstream.status;
      // Whose credential ended meanwhile is not asked for again, whatever the answer is.
      if (exchange.failure !== null) throw exchange.failure;
      if (upstream.ok) {
        const passed = await passAnswer(leg, upstream);
        return passed instanceof Response ? passed : await this.#toldOfError(leg, passed);
      }
      return await this.#refused(leg, upstream);
    } catch (error) {
      return this.#setback(leg, asSocketError(error));
    }
  }

  #dispatch({ target, call, exchange, body }: Leg): Promise<Response> | Response {
    const { opened, admission } = call;
    const { signal } = exchange.abort;
    const departs = () => exchange.departs();
    if (target.config === null) {
      departs();
      return dispatchDemo({ body, signal, id: opened.call.id, nowMs: this.#needs.clock.now() });
    }
    return dispatch(this.#fetchWithin(call.route.timeouts.connectMs), target.config, {
      endpoint: admission.asked.endpoint,
      search: opened.call.url.search,
      headers: opened.request.headers,
      traceparent: opened.call.traceparent,
      body,
      signal,
      departs,
    });
  }

  /** Made once for each time limit: a call has better things to pay for. */
  #fetchWithin(connectMs: number): GuardedFetch {
    const known = this.#fetches.get(connectMs);
    if (known !== undefined) return known;
    const within: GuardedFetch = (url, init, rules) => this.#needs.fetch(url, init, { ...rules, connectMs });
    this.#fetches.set(connectMs, within);
    return within;
  }

  /** An HTTP error: another attempt may turn it into an answer, or it passes as it came. */
  async #refused(leg: Leg, upstream: Response): Promise<Response | Setback> {
    const { status } = upstream;
    if (isIllness(status)) leg.pass.failed();
    else leg.pass.succeeded();
    const remedy = remedyOf(status, upstream.headers.get("x-should-retry"));
    const waitMs = retryAfterMs(upstream.headers, this.#needs.clock.now());
    const step = remedy === "nobody" ? null : this.#step(leg, remedy === "again" ? waitMs : never);
    if (step === null && status !== 401 && status >= 400) return await passError(leg, upstream);
    void upstream.body?.cancel().catch(() => {});
    return { failure: refusal(status), code: `provider_${status}`, refused: true, step };
  }

  /** An error under status 200, treated as one under a status of its own. */
  async #toldOfError(leg: Leg, answer: ErrorAnswer): Promise<Response | Setback> {
    const { status } = answer;
    if (isIllness(status)) leg.pass.failed();
    else leg.pass.succeeded();
    const remedy = remedyOf(status, null);
    const step = remedy === "nobody" ? null : this.#step(leg, remedy === "again" ? null : never);
    if (step === null && status !== 401) return await answer.pass();
    answer.drop();
    return { failure: refusal(status), code: `provider_${status}`, refused: true, step };
  }

  #setback(leg: Leg, error: unknown): Setback {
    const { exchange, pass } = leg;
    const failure = exchange.hasLeft ? callerLeft() : (exchange.failure ?? providerFailure(error));
    // Whatever the provider still sends is for nobody.
    exchange.abort.abort();
    const isProviders = failure.kind === "upstream" || failure.kind === "upstream_timeout";
    // An error status is a verdict, even when its body never came to an end, and a redirect does nothing.
    const isError = (exchange.status ?? 0) >= 300;
    if (!isError && isProviders) pass.failed();
    else pass.abandoned();
    const neverSent = !exchange.wasAsked || isConnectError(error) || failure.kind === "invalid";
    // What has begun to answer is billed, and asked again it would be billed again.
    const mayFollow = isProviders && !exchange.hasBody && (!isError || isPassing(exchange.status ?? 0));
    const step = mayFollow ? this.#step(leg, null) : null;
    return { failure, code: failure.code, refused: neverSent || isError, step };
  }

  /** `waitMs`: how long this target is to be left alone. */
  #step({ call, target, tried: before }: Leg, waitMs: number | null): Next | null {
    const { route, account } = call;
    const now = performance.now();
    const tried = [...before, { target, againAt: now + (waitMs ?? 0) }];
    const leftMs = account.askedAt + route.timeouts.firstByteTotalMs - now;
    const step = nextStep(route, { tried, now, leftMs }, this.#needs.breakers);
    return step === null ? null : { ...step, tried };
  }

  /** The attempt that follows, begun. Throws when there is none, or when it may not be; the request is closed then. */
  async #after(leg: Leg, { failure, code, refused, step }: Setback): Promise<Leg> {
    const { exchange, call } = leg;
    if (exchange.hasLeft) {
      // Mostly written already; not where the caller left before anything was sent.
      await exchange.end("refused", code).catch(() => {});
      throw failure;
    }
    exchange.conclude(refused ? "refused" : "silent", code);
    try {
      if (step === null) throw failure;
      await this.#readyFor(step, call, refused);
      const next = this.#leg(call, step, exchange.attempt + 1, step.tried);
      await next.exchange.begin();
      exchange.handOver();
      return next;
    } catch (error) {
      step?.pass.abandoned();
      const told = asFailure(error);
      if (told.code !== "caller_left") exchange.sentStatus ??= told.status;
      await exchange.end("refused", code);
      throw told;
    }
  }

  /** The pause before an attempt, and the money for it where the one before may be billed as well. */
  async #readyFor({ pauseMs }: Step, { account, caller, opened, subjects }: LlmCall, refused: boolean) {
    const { watch, holds } = this.#needs;
    if (pauseMs > 0) await new Rest(watch, caller).pause(pauseMs);
    if (refused || account.hold === null) return;
    const { hold, held } = account;
    const taken = holds.take({ req: opened.call.id, subjects, nano: hold.nano, before: held ?? 0 });
    await new Rest(watch, caller).outlast(taken);
    account.extend();
  }

  #leg(call: LlmCall, { target, pass }: Step, attempt: number, tried: Leg["tried"]): Leg {
    const { asked } = call.admission;
    const setUsage =
      asked.stream &&
      !asked.asksUsage &&
      (asked.endpoint === "chat/completions" || asked.endpoint === "completions") &&
      (target.config?.includeUsage ?? true);
    const body = providerBody(asked, target.model, setUsage);
    const start = this.#startRecord(call, target, attempt);
    const exchange = new Exchange(this.#needs, {
      start,
      timeouts: call.route.timeouts,
      wire: call.wire,
      account: call.account,
      requestText: requestText(call),
      caller: call.caller,
      unseen: call.account.hold === null ? null : unseenOf(asked, target.model),
      asksApart: asked.pricedApart,
      priceOf: (model) => this.#needs.prices.find(target.provider, model),
      noted: (noted) => this.#needs.noted({ call: call.opened, start, ...noted }),
    });
    return { call, target, exchange, hideUsage: setUsage, body, pass, tried };
  }

  #startRecord({ opened, admission, account }: LlmCall, target: Leg["target"], attempt: number): StartRecord {
    const { call, principal, request } = opened;
    const { asked, attribution } = admission;
    return {
      t: "start",
      req: call.id,
      att: attempt,
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
      hold: account.held,
      periods: account.hold === null ? null : [...account.hold.periods],
    };
  }
}

const noneTried: Leg["tried"] = [];
/** The same target would say the same. */
const never = Number.POSITIVE_INFINITY;

const refusal = (status: number): Failure =>
  status === 401
    ? credentialRefused()
    : new Failure("upstream", "provider_error", `The provider answered with status ${status}.`);

/** Looked for when a call is cut off, which most are not. */
const unseenOf = (asked: LlmRequest, model: string): Unseen => ({
  get input() {
    return asked.bytes.length > countedBytesMax || asked.hasUnseenInput;
  },
  get lookUps() {
    return asked.looksUp;
  },
  get output() {
    return asked.hasUnseenOutput || hidesReasoning(model, asked);
  },
});

/** Not read until the numbers are needed, which for most calls is never. */
function requestText({ admission, wire, account }: LlmCall): () => string {
  const { bytes } = admission.asked;
  if (bytes.length > countedBytesMax) return () => "";
  return () => {
    try {
      const body: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
      const text = wire.textOfRequest(body);
      if (account.hold === null) return text;
      // A provider reads text in places that no dialect has (schemas, plugins), and a budget must not be spared it.
      const whole = JSON.stringify(body);
      return text.length * 2 < whole.length ? whole : text;
    } catch {
      return "";
    }
  };
}
