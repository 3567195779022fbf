/**
 * A wait in which no provider is being asked: for money to be set aside, or for a better moment to ask again.
 *
 * It is watched like an attempt, so that a shutdown waits for the call, a revocation ends it, and a caller who has left
 * is not asked for any more.
 */
import { Failure } from "../../platform/failure.ts";
import type { Caller } from "./exchange.ts";
import type { Watch, Watched } from "./watch.ts";

export class Rest implements Watched {
  readonly #watch: Watch;
  readonly #caller: Caller;
  readonly #interrupted = Promise.withResolvers<void>();
  #failure: Failure | null = null;

  constructor(watch: Watch, caller: Caller) {
    this.#watch = watch;
    this.#caller = caller;
  }

  /** Throws `caller_left`, or why the call was given up, as soon as it is. */
  async pause(milliseconds: number): Promise<void> {
    // A provider may ask for half a minute, and the caller's connection must not end first.
    this.#caller.stayOpen();
    const timer = setTimeout(() => this.#interrupted.resolve(), milliseconds);
    await this.outlast(this.#interrupted.promise).finally(() => clearTimeout(timer));
  }

  /** Waits for what cannot be taken back once it has been asked for. Throws the same, afterwards. */
  async outlast<T>(until: Promise<T>): Promise<T> {
    this.#watch.add(this);
    try {
      const result = await until;
      if (this.#failure !== null) throw this.#failure;
      return result;
    } finally {
      this.#watch.remove(this);
    }
  }

  tick(): void {
    if (this.#caller.hasLeft()) this.giveUp(callerLeft());
  }

  giveUp(failure: Failure): void {
    this.#failure ??= failure;
    this.#interrupted.resolve();
  }

  isOf(subject: string): boolean {
    return this.#caller.isEndedBy(subject);
  }
}

/** Nobody hears it, and it is nobody's fault, so it is nothing for the log of what went wrong. */
export const callerLeft = (): Failure =>
  new Failure("invalid", "caller_left", "The caller left before the answer.");
