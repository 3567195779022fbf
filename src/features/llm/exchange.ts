/**
 * One attempt at one provider, from START to END: its clock, its abort, its meter, its one END.
 *
 * END is written once, by whoever comes first: the end of the answer, the caller leaving, a timeout, the provider
 * breaking. Everyone later waits for the same promise. It carries the request's CLOSE, unless another attempt has taken
 * over: that one's START is written first, so that a request is never without an attempt that will close it.
 */
import type { Delivery, EndRecord, PriceSnapshot, StartRecord, Usage } from "../../db/ledger.ts";
import type { TimeoutsConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { NanoUsd } from "../../platform/money.ts";
import type { Account } from "./account.ts";
import { type CountTokens, roughTokens } from "./count.ts";
import { marksOf } from "./kept-marks.ts";
import { Meter } from "./meter.ts";
import { isFree, isText, outcomeOf, unpricedModel } from "./outcome.ts";
import { callerLeft } from "./rest.ts";
import type { Attempt } from "./spending.ts";
import type { Unseen } from "./unseen.ts";
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
  /** Lets the connection be silent for so long, or without a bound. */
  stayOpen: (seconds?: number) => void;
};

/** What an attempt is about, and who is told of what it came to. */
export type ExchangeCall = {
  start: StartRecord;
  timeouts: TimeoutsConfig;
  wire: Wire;
  account: Account;
  requestText: () => string;
  caller: Caller;
  /** What a cut answer tells too little of; null without a hard budget, where nothing hangs on it. */
  unseen: Unseen | null;
  asksApart: readonly string[];
  /** What another model costs at the same provider. */
  priceOf: (model: string) => PriceSnapshot | null;
  /** Told of the numbers before END is written, with ids of what the provider keeps. */
  noted: (noted: Pick<Attempt, "usage" | "cost" | "unpriced" | "kept">) => void;
};

const heartbeatMs = 15_000;
/** How long a caller may leave the end of an answer unread before its connection is closed. */
const readSecondsMax = 30;

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
  /** True once a part of the provider's body is here. */
  hasBody = false;
  /** True while a caller who has left is waited for a moment longer, for numbers that are about to come. */
  lingers = false;
  /** False while the caller has not read what it was given: then nobody waits for the provider. */
  reading = true;
  readonly #needs: ExchangeNeeds;
  readonly #call: ExchangeCall;
  #staysOpen = false;
  /** True once the provider may have been sent something. */
  #asked = false;
  #dispatchedAt = 0;
  #firstByteAt: number | null = null;
  #lastByteAt = 0;
  #lastSentAt = 0;
  #failure: Failure | null = null;
  #concluded: { ending: Ending; error: string; at: number } | null = null;
  #ended: Promise<Settled> | null = null;
  #left = false;
  /** True when the call was ended on this side of it: who asked left, did not read, lost the credential, or took too long. */
  #isCallersDoing = false;
  #delivery: Delivery = "none";

  constructor(needs: ExchangeNeeds, call: ExchangeCall) {
    this.#needs = needs;
    this.#call = call;
    this.meter = new Meter(call.wire);
  }

  get requestId(): string {
    return this.#call.start.req;
  }

  /** 1, 2, 3 … within the request. */
  get attempt(): number {
    return this.#call.start.att;
  }

  /** Why the gateway itself gave this attempt up, if it did. */
  get failure(): Failure | null {
    return this.#failure;
  }

  /** True once the caller is known to be gone. */
  get hasLeft(): boolean {
    return this.#left;
  }

  /** True once the provider may have been sent something. */
  get wasAsked(): boolean {
    return this.#asked;
  }

  /** Milliseconds that the gateway spent before it asked a provider. */
  get overheadMs(): number {
    return this.#call.account.askedAt - this.#call.account.startedAt;
  }

  /** Writes START. `durable` must have resolved before a byte leaves to the caller. */
  async begin(): Promise<void> {
    const { account, start } = this.#call;
    const ticket = this.#needs.books.start(start);
    this.durable = ticket.durable;
    // Awaited where the answer begins; a failure must not go unhandled until then.
    ticket.durable.catch(() => {});
    this.#dispatchedAt = performance.now();
    this.#lastSentAt = this.#dispatchedAt;
    if (start.att === 1) account.askedAt = this.#dispatchedAt;
    // Before the write returns: a gateway that shuts down waits for every call whose START may be on disk.
    this.#needs.watch.add(this);
    try {
      await ticket.written;
    } catch (error) {
      this.#needs.watch.remove(this);
      throw error;
    }
    this.#dispatchedAt = performance.now();
    if (start.att === 1) account.askedAt = this.#dispatchedAt;
  }

  /** Throws when the call is over already: then nothing was ever sent. */
  requireLive(): void {
    if (this.#left) throw callerLeft();
    if (this.#failure !== null) throw this.#failure;
  }

  /** From here on the provider may have been sent something. */
  departs(): void {
    this.#asked = true;
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
    // Whose END is on its way is watched until it is written, and has nothing left to give up.
    if (this.#failure !== null || this.#ended !== null) return;
    this.#failure = failure;
    this.#isCallersDoing ||= failure.kind === "unauthenticated" || !this.reading;
    this.abort.abort();
    this.onGiveUp(failure);
  }

  isOf(subject: string): boolean {
    return this.#call.caller.isEndedBy(subject);
  }

  /** The caller is gone. */
  async leave(): Promise<void> {
    if (this.#ended !== null || this.#left) return;
    this.#left = true;
    this.#isCallersDoing = true;
    // While START is being written, or the provider takes no connection yet, there is nothing to end: who asks finds out.
    if (!this.#asked) return this.abort.abort();
    // An error status is a verdict, even when nobody waits for its body.
    const isError = (this.status ?? 0) >= 300;
    const settled = isError ? this.end("refused", `provider_${this.status}`) : this.end("left");
    this.abort.abort();
    await settled.catch(() => {});
  }

  tick(now: number): void {
    if (this.#ended !== null) return;
    if (this.#call.caller.hasLeft()) {
      if (!this.lingers) void this.leave();
      return;
    }
    // Once is enough, and only for calls that last: a provider may think for minutes, and the connection must not end first.
    if (!this.#staysOpen) this.#call.caller.stayOpen();
    this.#staysOpen = true;
    const waits = this.#firstByteAt === null;
    if (!this.reading) this.#lastByteAt = now;
    const late = waits ? this.#lateToBegin(now) : this.#lateToGoOn(now);
    if (late !== null) this.giveUp(late);
    else if (!waits && now - this.#lastSentAt > heartbeatMs) this.onSilence();
  }

  #lateToBegin(now: number): Failure | null {
    const { firstTokenMs, firstByteTotalMs } = this.#call.timeouts;
    // Only a stream has a first token to wait for; a whole answer may rightly take as long as `total_ms`.
    if (!this.#call.start.stream) return this.#lateInAll(now);
    if (now - this.#dispatchedAt > firstTokenMs) return timeout("a first token", firstTokenMs);
    if (now - this.#call.account.askedAt > firstByteTotalMs) return timeout("a first byte", firstByteTotalMs);
    return this.#lateInAll(now);
  }

  #lateToGoOn(now: number): Failure | null {
    const { idleMs } = this.#call.timeouts;
    return now - this.#lastByteAt > idleMs ? timeout("another byte", idleMs) : this.#lateInAll(now);
  }

  #lateInAll(now: number): Failure | null {
    const { totalMs } = this.#call.timeouts;
    if (now - this.#call.account.askedAt <= totalMs) return null;
    // Nobody's failure: who asks for what takes so long, or reads so slowly, must not be spared its price.
    this.#isCallersDoing = true;
    return timeout("the whole answer", totalMs);
  }

  /**
   * The attempt gave nothing that the caller could be sent. Its END waits for who writes it: `end`, when it was the last
   * one, or `handOver`, when another has taken over.
   */
  conclude(ending: "refused" | "silent", error: string): void {
    if (this.#ended !== null) return;
    this.#needs.watch.remove(this);
    this.#concluded ??= { ending, error, at: performance.now() };
  }

  /** Writes the END of an attempt that is concluded, without CLOSE. */
  handOver(): void {
    if (this.#ended !== null || this.#concluded === null) return;
    const { ending, error, at } = this.#concluded;
    this.#ended = this.#write({ ending, error, usage: null, endedAt: at, isLast: false });
    // The next attempt's END comes behind it in the journal, so whoever waits for that waits for this.
    this.#ended.catch(() => {});
  }

  /**
   * Writes END with CLOSE, once, and resolves when it is durable; until then a shutdown waits. What was concluded before
   * stays so.
   */
  end(ending: Ending, error: string | null = null): Promise<Settled> {
    if (this.#ended === null) {
      if (this.#concluded !== null) this.#needs.watch.add(this);
      const was = this.#concluded;
      this.#ended =
        was === null
          ? this.#settle(ending, error)
          : this.#write({ ...was, usage: null, endedAt: was.at, isLast: true });
    }
    return this.#ended;
  }

  #settle(ending: Ending, error: string | null): Promise<Settled> {
    const last = { ending, error, endedAt: performance.now(), isLast: true };
    const reported = this.meter.usage;
    if (ending === "refused" || ending === "silent") return this.#write({ ...last, usage: null });
    // What is reported in passing (one token, at an answer's first event) is not the whole of a stream that was cut.
    const isWhole = ending === "answered" || this.meter.isFinal;
    if (isWhole && reported !== null && reported.input !== null && reported.output !== null)
      return this.#write({ ...last, usage: reported });
    return this.#counted(reported, isWhole).then((usage) => this.#write({ ...last, usage }));
  }

  async #write(end: Last): Promise<Settled> {
    try {
      return await this.#record(end);
    } finally {
      this.#needs.watch.remove(this);
      // From here on it is the caller who has to do something: read. Where another attempt follows, it still waits.
      if (this.#staysOpen && end.isLast) this.#call.caller.stayOpen(readSecondsMax);
    }
  }

  async #record(end: Last): Promise<Settled> {
    const { ending, error, usage, isLast } = end;
    const { start, account, noted } = this.#call;
    const isCutHere = this.#isCallersDoing || this.#failure !== null;
    const outcome = outcomeOf({ ...this.#call, ending, usage, meter: this.meter, isCutHere });
    const { state, cost } = outcome;
    const delivery = ending === "answered" ? "whole" : this.#delivery;
    const duration_ms = Math.round(end.endedAt - account.startedAt);
    const sum = account.add(outcome);
    const kept = this.meter.keptIds;
    const unpriced = unpricedModel({ ...this.#call, meter: this.meter });
    if (usage !== null) noted({ usage, cost, unpriced, kept });
    await this.#needs.books.end({
      t: "end",
      req: start.req,
      att: start.att,
      state,
      status: this.status,
      error,
      usage,
      cost,
      delivery,
      first_token_ms: this.#firstByteAt === null ? null : Math.round(this.#firstByteAt - account.startedAt),
      duration_ms,
      ...(kept.length > 0 && { kept: marksOf(kept) }),
      close: isLast ? { ...sum, status: this.sentStatus, delivery, duration_ms } : null,
    });
    return { usage, cost: sum.cost };
  }

  /** What the provider left out, counted from the texts; of an answer that was cut, what it had said so far at least. */
  async #counted(reported: Usage | null, isWhole: boolean): Promise<Usage> {
    const { start } = this.#call;
    if (isFree(start)) return { ...noUsage, input: 0, output: 0 };
    const hasText = isText(start);
    const told = isWhole || !hasText ? (reported?.output ?? (hasText ? null : 0)) : null;
    const { text, foldedTokens } = told === null ? this.meter.written() : { text: "", foldedTokens: 0 };
    const texts = [reported?.input == null ? this.#call.requestText() : "", text];
    // An END must come, whatever becomes of the counting.
    const [input, output] = await this.#needs.count(texts).catch(() => texts.map(roughTokens));
    const written = (output ?? roughTokens(text)) + foldedTokens;
    return {
      ...(reported ?? noUsage),
      input: reported?.input ?? (input || start.input_est),
      output: told ?? Math.max(reported?.output ?? 0, written),
    };
  }
}

/** The last attempt's usage, and what the request cost. */
export type Settled = { usage: Usage | null; cost: NanoUsd | null };

type Last = {
  ending: Ending;
  error: string | null;
  usage: Usage | null;
  endedAt: number;
  isLast: boolean;
};

const timeout = (what: string, milliseconds: number): Failure =>
  new Failure(
    "upstream_timeout",
    "provider_timeout",
    `The provider did not send ${what} within ${milliseconds} ms.`,
  );
