/**
 * The one relay: passes a provider's stream to the caller, byte for byte and event by event.
 *
 * It holds back the terminal event until END is durable, leaves out the usage chunk that only the gateway asked for,
 * and ends a broken stream with an error event. It pulls: a slow caller slows the provider, and memory stays flat.
 * Written by hand on a reader, not on generators: a hang-up in a `for await` takes the whole process down.
 */
import { latin1 } from "../../platform/bytes.ts";
import { asFailure, Failure } from "../../platform/failure.ts";
import type { ByteReader } from "./document.ts";
import { beginsAnswer } from "./error-answer.ts";
import type { Exchange, Settled } from "./exchange.ts";
import { SseSplitter } from "./sse.ts";
import type { Wire } from "./wire.ts";

export type RelayOptions = {
  readonly wire: Wire;
  /** True when the gateway set `include_usage` and the caller did not ask. */
  readonly hideUsage: boolean;
  /** What may leave of an error. */
  readonly safe: (event: Uint8Array) => Uint8Array;
  /** A comment to send just before the end, once the numbers are known. */
  readonly trailer: ((settled: Settled) => Uint8Array) | null;
  /** Called once, when the stream is over either way. */
  readonly over: () => void;
};

const keepAlive = new TextEncoder().encode(": keep-alive\n\n");
const blankLine = new TextEncoder().encode("\n\n");
/** How long usage may still come after the terminal event. */
const lateUsageMs = 250;
/** Of a caller who left at the finish; a tenth of a second later the provider's connection is closed in any case. */
const hearOutMs = 60;
const heldBytesMax = 1 << 20;

type Controller = ReadableStreamDefaultController<Uint8Array>;

/** `first` is the provider's first chunk, already read: the answer begins only when there is one. */
export function relayStream(
  exchange: Exchange,
  reader: ByteReader,
  first: Uint8Array | null,
  options: RelayOptions,
): ReadableStream<Uint8Array> {
  const relay = new StreamRelay(exchange, reader, first, options);
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) => relay.open(controller),
      pull: (controller) => relay.pull(controller),
      cancel: () => relay.cancel(),
    },
    { highWaterMark: 0 },
  );
}

class StreamRelay {
  readonly #exchange: Exchange;
  readonly #reader: ByteReader;
  readonly #options: RelayOptions;
  readonly #splitter: SseSplitter;
  #first: Uint8Array | null;
  /** The terminal event and what came behind it; null while there is none. */
  #held: Uint8Array[] | null = null;
  #heldBytes = 0;
  /** A piece of a large event that was given out; free once the next is asked for. */
  #lent: Uint8Array | null = null;
  #failed = false;
  #closed = false;
  /** The end of what went out, to tell whether an event was left open; empty while nothing has. */
  #ending = "";
  /** True once more than heartbeats went out. */
  #hasBegun = false;

  constructor(exchange: Exchange, reader: ByteReader, first: Uint8Array | null, options: RelayOptions) {
    this.#exchange = exchange;
    this.#reader = reader;
    this.#first = first;
    this.#options = options;
    this.#splitter = new SseSplitter(options.wire.terminalOf);
  }

  open(controller: Controller): void {
    this.#exchange.onSilence = () => {
      if (this.#closed || this.#held !== null || this.#splitter.inEvent) return;
      controller.enqueue(keepAlive);
      this.#exchange.sent();
    };
    // A caller who does not read leaves no read pending that an abort could end.
    this.#exchange.onGiveUp = (failure) => {
      if (!this.#exchange.reading) void this.#break(controller, failure);
    };
    this.#exchange.reading = false;
  }

  /** Reads until there is something to pass on, or the end. Never rejects: a rejection here has no one to catch it. */
  async pull(controller: Controller): Promise<void> {
    this.#exchange.reading = true;
    if (this.#lent !== null) letGo(this.#lent);
    this.#lent = null;
    try {
      while (!this.#closed) {
        const chunk = await this.#next();
        if (this.#closed) return;
        if (this.#exchange.lingers) {
          if (chunk !== null) this.#take(chunk);
          return;
        }
        const passed = chunk === null ? this.#last() : this.#take(chunk);
        if (passed !== null && passed.length > 0) {
          this.#hasBegun ||= beginsAnswer(passed);
          this.#ending = (this.#ending + latin1(passed, Math.max(0, passed.length - 4), passed.length)).slice(
            -4,
          );
          controller.enqueue(passed);
          this.#exchange.sent();
        }
        if (chunk === null || this.#held !== null) return await this.#finish(controller);
        // Nothing is asked for again until something was given.
        if (passed !== null && passed.length > 0) return;
      }
    } catch (error) {
      await this.#break(controller, error);
    } finally {
      this.#exchange.reading = false;
    }
  }

  async cancel(): Promise<void> {
    if (this.#options.hideUsage && this.#exchange.meter.hasFinished) await this.#hearOut();
    this.#close();
    await this.#exchange.leave();
  }

  async #next(): Promise<Uint8Array | null> {
    if (this.#first !== null) {
      const first = this.#first;
      this.#first = null;
      return first;
    }
    const { done, value } = await this.#reader.read();
    if (done) return null;
    this.#exchange.touch();
    return value;
  }

  /** What of a chunk may go out now: whole events, less the hidden one, up to the terminal one. */
  #take(chunk: Uint8Array): Uint8Array | null {
    const events = this.#splitter.push(chunk);
    if (events === null) return null;
    const { bytes, ends, inPieces } = events;
    if (ends.length === 0) {
      this.#exchange.meter.seePiece(bytes);
      this.#lent = bytes;
      return bytes;
    }
    if (inPieces) return this.#siftBehind(bytes, ends);
    if (!this.#exchange.meter.cares(bytes)) {
      this.#exchange.meter.keep(bytes);
      return bytes;
    }
    return this.#sift(bytes, ends);
  }

  /** The last piece of an event that was too large to hold, and what comes behind it. */
  #siftBehind(bytes: Uint8Array, [first = 0, ...ends]: readonly number[]): Uint8Array | null {
    const piece = bytes.subarray(0, first);
    const { terminal } = this.#exchange.meter.seeLastPiece(piece);
    this.#failed ||= terminal === "error";
    // Without its end the event is none to whoever reads it.
    if (terminal !== null) this.#hold(piece);
    const behind = ends.length === 0 ? null : this.#sift(bytes, ends, first);
    if (terminal !== null) return behind;
    return behind === null ? piece : Buffer.concat([piece, behind]);
  }

  #sift(bytes: Uint8Array, ends: readonly number[], from = 0): Uint8Array | null {
    const passed: Uint8Array[] = [];
    let start = from;
    for (const end of ends) {
      const event = bytes.subarray(start, end);
      start = end;
      const sight = this.#exchange.meter.see(event);
      if (sight.usageOnly && this.#options.hideUsage) continue;
      this.#failed ||= sight.terminal === "error";
      if (sight.terminal !== null || this.#held !== null) this.#hold(event);
      else {
        passed.push(event);
        this.#exchange.meter.keep(event);
      }
    }
    return passed.length === 0 ? null : Buffer.concat(passed);
  }

  /** An event that the provider did not finish with a blank line still counts: it closed in good order. */
  #last(): Uint8Array | null {
    if (this.#splitter.inEvent) this.#exchange.meter.seeLastPiece(new Uint8Array(0));
    const rest = this.#splitter.rest();
    return rest.length === 0 ? null : this.#sift(rest, [rest.length]);
  }

  /** The terminal event whatever its size; of what comes behind it no more than anybody has reason to send. */
  #hold(event: Uint8Array): void {
    if (this.#held === null) {
      this.#held = [event];
      return;
    }
    this.#heldBytes += event.length;
    if (this.#heldBytes <= heldBytesMax) this.#held.push(event);
  }

  async #finish(controller: Controller): Promise<void> {
    if (this.#held !== null) await this.#lateUsage();
    if (this.#closed) return;
    // An error before all else is a refusal: nothing was done.
    const failed = this.#hasBegun || this.#exchange.meter.usage !== null ? "broken" : "refused";
    const settled = await (this.#failed
      ? this.#exchange.end(failed, "provider_error")
      : this.#exchange.end("answered"));
    if (this.#closed) return;
    if (this.#options.trailer) this.#add(controller, this.#options.trailer(settled));
    if (this.#held !== null) {
      const held = Buffer.concat(this.#held);
      controller.enqueue(this.#failed ? this.#options.safe(held) : held);
    }
    this.#close();
    controller.close();
  }

  /** Some providers send usage behind the terminal event; some never close. Both get a quarter of a second. */
  async #lateUsage(): Promise<void> {
    const patience = setTimeout(() => void this.#reader.cancel().catch(() => {}), lateUsageMs);
    try {
      for (let chunk = await this.#next(); chunk !== null && !this.#closed; chunk = await this.#next()) {
        const passed = this.#take(chunk);
        if (passed !== null) this.#hold(passed);
      }
      const rest = this.#last();
      if (rest !== null) this.#hold(rest);
    } catch {
      // The answer is complete; how its connection closes does not matter any more.
    } finally {
      clearTimeout(patience);
    }
  }

  /** Whoever cannot see that usage is still to come closes at the finish: the provider's own numbers are worth a moment. */
  async #hearOut(): Promise<void> {
    this.#exchange.lingers = true;
    const patience = setTimeout(() => void this.#reader.cancel().catch(() => {}), hearOutMs);
    try {
      while (!this.#closed && !this.#exchange.meter.isFinal) {
        const chunk = await this.#next();
        if (chunk === null) break;
        this.#take(chunk);
      }
    } catch {
      // Then it is counted here.
    } finally {
      clearTimeout(patience);
      this.#exchange.lingers = false;
    }
  }

  async #break(controller: Controller, error: unknown): Promise<void> {
    if (this.#closed) return;
    if (this.#exchange.hasLeft) {
      this.#close();
      return;
    }
    const failure = this.#exchange.failure ?? breakOf(error);
    // Books that cannot be kept are told of in the same way: without an END the terminal event stays here.
    const told = await this.#exchange.end("broken", failure.code).then(
      () => failure,
      (reason) => asFailure(reason),
    );
    if (this.#closed) return;
    this.#close();
    this.#add(controller, this.#options.wire.errorEvent(told));
    controller.close();
  }

  /** An event of the gateway's own, which must not run into one that the provider left open. */
  #add(controller: Controller, event: Uint8Array): void {
    if (this.#ending !== "" && !/(?:\n\n|\r\r|\n\r\n)$/.test(this.#ending)) controller.enqueue(blankLine);
    controller.enqueue(event);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#exchange.abort.abort();
    this.#reader.cancel().catch(() => {});
    this.#options.over();
  }
}

/**
 * Gives the memory of a piece back: of a line without an end more comes than the collector is told of in time. Whoever
 * reads the relay has done with a piece when asking for the next.
 */
function letGo({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

function breakOf(error: unknown): Failure {
  if (error instanceof Failure) return error;
  return new Failure("upstream", "provider_error", "The provider's stream broke off.", { cause: error });
}
