/**
 * So many at once for each name, and in all, in this process: whoever would only wait for each other in the database or
 * at a disk waits here, in the order in which they came, and leaves its connections to everybody else.
 */
export type TurnBounds = {
  /** Of each name. */
  readonly atOnce: number;
  /** Of all names together; without a bound unless told. */
  readonly allAtOnce?: number;
  /** How many may wait for a turn of one name, and for how long; for ever unless told. */
  readonly waitingMax?: number;
  readonly waitMs?: number;
  /** Why there was no turn: what `take` throws then. */
  readonly refusal?: () => Error;
};

/** Ends a turn; to be called once. */
export type Leave = () => void;

type Waiting = { readonly name: string; readonly begin: (leave: Leave) => void };

export class Turns {
  readonly #bounds: TurnBounds;
  readonly #busy = new Map<string, number>();
  /** In the order in which they came. */
  readonly #waiting = new Set<Waiting>();
  #all = 0;

  constructor(bounds: TurnBounds) {
    this.#bounds = bounds;
  }

  /** A turn that is free is given at once: an await would cost one of the event loop's. */
  take(name: string): Leave | Promise<Leave> {
    return this.#isFree(name) ? this.#begin(name) : this.#wait(name);
  }

  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    const leave = await this.take(name);
    try {
      return await work();
    } finally {
      leave();
    }
  }

  #isFree(name: string): boolean {
    const { atOnce, allAtOnce = Number.POSITIVE_INFINITY } = this.#bounds;
    return this.#all < allAtOnce && (this.#busy.get(name) ?? 0) < atOnce;
  }

  #begin(name: string): Leave {
    this.#all += 1;
    this.#busy.set(name, (this.#busy.get(name) ?? 0) + 1);
    return () => this.#end(name);
  }

  #end(name: string): void {
    this.#all -= 1;
    const left = (this.#busy.get(name) ?? 0) - 1;
    if (left > 0) this.#busy.set(name, left);
    else this.#busy.delete(name);
    for (const next of this.#waiting) {
      if (!this.#isFree(next.name)) continue;
      this.#waiting.delete(next);
      // The place goes over to whoever is next, so that nobody comes in between.
      next.begin(this.#begin(next.name));
      return;
    }
  }

  #wait(name: string): Promise<Leave> {
    const { waitingMax, waitMs, refusal = tooMany } = this.#bounds;
    if (waitingMax !== undefined && this.#waitFor(name) >= waitingMax) return Promise.reject(refusal());
    const { promise, resolve, reject } = Promise.withResolvers<Leave>();
    const waiting: Waiting = {
      name,
      begin: (leave) => {
        clearTimeout(late);
        resolve(leave);
      },
    };
    const giveUp = () => {
      this.#waiting.delete(waiting);
      reject(refusal());
    };
    const late = waitMs === undefined ? undefined : setTimeout(giveUp, waitMs);
    this.#waiting.add(waiting);
    return promise;
  }

  #waitFor(name: string): number {
    let count = 0;
    for (const waiting of this.#waiting) if (waiting.name === name) count += 1;
    return count;
  }
}

const tooMany = (): Error => new Error("too many wait for their turn");

/** One answer for all who ask for the same at the same time. */
export function createShared<T>() {
  const asked = new Map<string, Promise<T>>();
  return {
    ask(name: string, work: () => Promise<T>): Promise<T> {
      const known = asked.get(name);
      if (known !== undefined) return known;
      const answer = work().finally(() => asked.delete(name));
      asked.set(name, answer);
      return answer;
    },
  };
}

/** Lets everything else that waits for this process have its turn. */
export const others = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
