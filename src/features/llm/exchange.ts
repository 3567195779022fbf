/**
 * One attempt at one provider, from START to END: its clock, its abort, its meter, its one END.
 *
 * END is written once, by whoever comes first: the end of the answer, the caller leaving, a timeout, the provider
 * breaking. Everyone later waits for the same promise.
 */
import type { Delivery, EndRecord, FinalState, StartRecord, Usage } from "../../db/ledger.ts";
import { Failure } from "../../platform/failure.ts";
import type { NanoUsd } from "../../platform/money.ts";
import { type CountTokens, roughTokens } from "./count.ts";
import { Meter } from "./meter.ts";
import { costOf } from "./prices.ts";
import type { Target } from "./route.ts";
import type { Watch } from "./watch.ts";
import { noUsage, type Wire } from "./wire.ts";

/** Where the two records of each attempt go; both ways to keep them are in the usage slice. */
export type Books = {
  start(record: StartRecord): { written: Promise<void>; durable: Promise<void> };
  end(record: EndRecord): Promise<void>;
};

/**
 * How an attempt ended. `answered`: the whole answer is here. `left`: the caller went away. `broken`: it failed after
 * bytes had come. `refused`: an HTTP error came, or nothing was ever sent. `silent`: sent, and nobody knows.
 */
export type Ending = "answered" | "left" | "broken" | "refused" | "silent";

export type ExchangeNeeds = { books: Books; count: CountTokens; watch: Watch };

/** Who waits for the answer. */
export type Caller = {
  isEndedBy: (subject: string) => boolean;
  hasLeft: () => boolean;
  stayOpen: () => void;
};

const heartbeatMs = 15_000;

export class Exchange {
  readonly meter: Meter;
  readonly abort = new AbortController();
  /** The provider's HTTP status. */
  status: number | null = null;
  /** What the caller was sent, or null when it left before anything was. */
  sentStatus: number | null = null;
  /** START's own durability. */
  durable: Promise<void> = Promise.resolve();
  /** Called when a stream has been silent for 15 s. */
  onSilence: () => void = () => {};
  /** Called when the gateway gives the attempt up. */
  onGiveUp: (failure: Failure) => void = () => {};
  /** False while the caller has not read what it was given: then nobody waits for the provider. */
  reading = true;
  readonly #needs: ExchangeNeeds;
  readonly #start: StartRecord;
  readonly #target: Target;
  readonly #requestText: () => string;
  readonly #startedAt: number;
  readonly #caller: Caller;
  #staysOpen = false;
  #dispatchedAt = 0;
  #firstByteAt: number | null = null;
  #lastByteAt = 0;
  #lastSentAt = 0;
  #failure: Failure | null = null;
  #ended: Promise<Settled> | null = null;
  #left = false;
  #delivery: Delivery = "none";

  constructor(
    needs: ExchangeNeeds,
    call: {
      start: StartRecord;
      target: Target;
      wire: Wire;
      startedAt: number;
      requestText: () => string;
      caller: Caller;
    },
  ) {
    this.#needs = needs;
    this.#start = call.start;
    this.#target = call.target;
    this.#startedAt = call.startedAt;
    this.#requestText = call.requestText;
    this.#caller = call.caller;
    this.meter = new Meter(call.wire);
  }

  get requestId(): string {
    return this.#start.req;
  }

  /** Why the gateway itself gave this attempt up, if it did. */
  get failure(): Failure | null {
    return this.#failure;
  }

  /** True once the caller is known to be gone. */
  get hasLeft(): boolean {
    return this.#left;
  }

  /** Milliseconds that the gateway spent before it asked the provider. */
  get overheadMs(): number {
    return this.#dispatchedAt - this.#startedAt;
  }

  /** Writes START. `durable` must have resolved before a byte leaves to the caller. */
  async begin(): Promise<void> {
    const ticket = this.#needs.books.start(this.#start);
    this.durable = ticket.durable;
    // Awaited where the answer begins; a failure must not go unhandled until then.
    ticket.durable.catch(() => {});
    this.#dispatchedAt = performance.now();
    this.#lastSentAt = this.#dispatchedAt;
    // Before the write returns: a gateway that shuts down waits for every call whose START may be on disk.
    this.#needs.watch.add(this);
    try {
      await ticket.written;
    } catch (error) {
      this.#needs.watch.remove(this);
      throw error;
    }
    this.#dispatchedAt = performance.now();
  }

  /** A byte has come from the provider. */
  touch(): void {
    this.#lastByteAt = performance.now();
    this.#firstByteAt ??= this.#lastByteAt;
  }

  /** Something has gone out to the caller. */
  sent(): void {
    this.#delivery = "cut";
    this.#lastSentAt = performance.now();
  }

  /** Gives the attempt up: the provider's connection is closed, and what waits for it fails with `failure`. */
  giveUp(failure: Failure): void {
    if (this.#failure !== null) return;
    this.#failure = failure;
    this.abort.abort();
    this.onGiveUp(failure);
  }

  isOf(subject: string): boolean {
    return this.#caller.isEndedBy(subject);
  }

  /** The caller is gone. */
  async leave(): Promise<void> {
    if (this.#ended !== null) return;
    this.#left = true;
    const settled = this.end("left");
    this.abort.abort();
    await settled.catch(() => {});
  }

  tick(now: number): void {
    if (this.#caller.hasLeft()) {
      void this.leave();
      return;
    }
    // Once is enough, and only for calls that last: a provider may think for minutes, and the connection must not end first.
    if (!this.#staysOpen) this.#caller.stayOpen();
    this.#staysOpen = true;
    const { firstTokenMs, idleMs, totalMs } = this.#target.timeouts;
    // Only a stream has a first token to wait for; a whole answer may rightly take as long as `total_ms`.
    const waits = this.#firstByteAt === null;
    if (!this.reading) this.#lastByteAt = now;
    if (waits && this.#start.stream && now - this.#dispatchedAt > firstTokenMs)
      this.giveUp(timeout("a first token", firstTokenMs));
    else if (!waits && now - this.#lastByteAt > idleMs) this.giveUp(timeout("another byte", idleMs));
    else if (now - this.#dispatchedAt > totalMs) this.giveUp(timeout("the whole answer", totalMs));
    else if (!waits && now - this.#lastSentAt > heartbeatMs) this.onSilence();
  }

  /** Writes END, once, and resolves when it is durable. */
  end(ending: Ending, error: string | null = null): Promise<Settled> {
    if (this.#ended === null) {
      this.#needs.watch.remove(this);
      this.#ended = this.#settle(ending, error);
    }
    return this.#ended;
  }

  #settle(ending: Ending, error: string | null): Promise<Settled> {
    const endedAt = performance.now();
    const reported = this.meter.usage;
    if (ending === "refused" || ending === "silent") return this.#write(ending, error, null, endedAt);
    if (reported !== null && reported.input !== null && reported.output !== null) {
      return this.#write(ending, error, reported, endedAt);
    }
    return this.#counted(reported).then((usage) => this.#write(ending, error, usage, endedAt));
  }

  async #write(ending: Ending, error: string | null, usage: Usage | null, endedAt: number): Promise<Settled> {
    const state = this.#stateOf(ending);
    const cost = state === "failed" ? 0 : costOf(usage, this.#start.prices);
    const delivery = ending === "answered" ? "whole" : this.#delivery;
    const duration_ms = Math.round(endedAt - this.#startedAt);
    await this.#needs.books.end({
      t: "end",
      req: this.#start.req,
      att: this.#start.att,
      state,
      status: this.status,
      error,
      usage,
      cost,
      delivery,
      first_token_ms: this.#firstByteAt === null ? null : Math.round(this.#firstByteAt - this.#startedAt),
      duration_ms,
      close: { state, status: this.sentStatus, cost, charged: cost, delivery, duration_ms },
    });
    return { usage, cost };
  }

  #stateOf(ending: Ending): "unknown" | FinalState {
    if (ending === "refused") return "failed";
    if (ending === "silent") return "unknown";
    if (ending === "answered") return this.meter.usage === null ? "estimated" : "settled";
    return this.meter.isFinal ? "settled" : "estimated";
  }

  /** What the provider left out, counted from the texts. */
  async #counted(reported: Usage | null): Promise<Usage> {
    const { text, foldedTokens } = this.meter.written();
    const [input, output] = await this.#needs.count([
      reported?.input == null ? this.#requestText() : "",
      reported?.output == null ? text : "",
    ]);
    return {
      ...(reported ?? noUsage),
      input: reported?.input ?? (input || this.#start.input_est),
      output: reported?.output ?? (output ?? roughTokens(text)) + foldedTokens,
    };
  }
}

export type Settled = { usage: Usage | null; cost: NanoUsd | null };

const timeout = (what: string, milliseconds: number): Failure =>
  new Failure(
    "upstream_timeout",
    "provider_timeout",
    `The provider did not send ${what} within ${milliseconds} ms.`,
  );
