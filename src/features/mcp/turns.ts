/**
 * How many calls are at work at once, of one caller and of all: what reads the database takes its connections from
 * everybody, and one caller's hundred calls must not be everybody's wait. The others take their turn, in the order in which
 * they came, and not for ever.
 */
import { Failure } from "../../platform/failure.ts";

export type TurnBounds = { readonly callerMax: number; readonly allMax: number; readonly waitMsMax: number };

/** Of the ten connections some stay free for whoever only just comes. */
const usualBounds: TurnBounds = { callerMax: 5, allMax: 16, waitMsMax: 10_000 };

type Waiting = { readonly caller: string; readonly begin: (end: () => void) => void };

export class Turns {
  readonly #bounds: TurnBounds;
  readonly #working = new Map<string, number>();
  readonly #waiting = new Set<Waiting>();
  #all = 0;

  constructor(bounds: TurnBounds = usualBounds) {
    this.#bounds = bounds;
  }

  /** Answers how to end the turn. Throws 429 `too_many_calls` when none came in time. */
  take(caller: string): (() => void) | Promise<() => void> {
    return this.#isFree(caller) ? this.#begin(caller) : this.#wait(caller);
  }

  #isFree(caller: string): boolean {
    return this.#all < this.#bounds.allMax && (this.#working.get(caller) ?? 0) < this.#bounds.callerMax;
  }

  #begin(caller: string): () => void {
    this.#all += 1;
    this.#working.set(caller, (this.#working.get(caller) ?? 0) + 1);
    return () => this.#end(caller);
  }

  #end(caller: string): void {
    this.#all -= 1;
    const left = (this.#working.get(caller) ?? 0) - 1;
    if (left > 0) this.#working.set(caller, left);
    else this.#working.delete(caller);
    for (const next of this.#waiting) {
      if (!this.#isFree(next.caller)) continue;
      this.#waiting.delete(next);
      next.begin(this.#begin(next.caller));
      return;
    }
  }

  #wait(caller: string): Promise<() => void> {
    const { promise, resolve, reject } = Promise.withResolvers<() => void>();
    const waiting: Waiting = {
      caller,
      begin: (end) => {
        clearTimeout(timer);
        resolve(end);
      },
    };
    const timer = setTimeout(() => {
      this.#waiting.delete(waiting);
      reject(tooManyCalls(this.#bounds.callerMax));
    }, this.#bounds.waitMsMax);
    this.#waiting.add(waiting);
    return promise;
  }
}

const tooManyCalls = (callerMax: number): Failure =>
  new Failure(
    "rate",
    "too_many_calls",
    `${callerMax} calls of one credential are worked on at once, and too many wait already. Try again in a moment.`,
    { retryAfterSeconds: 2 },
  );
