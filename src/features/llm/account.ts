/**
 * One request over all of its attempts: since when a provider is being asked, what is held for it, what it has come to.
 *
 * `cost` is what is known of the bill. `charged` is what budgets pay: the same, or the model's own price where the call has
 * another one that nobody knows; under a hard budget also the hold of every attempt that may have been billed unseen, and of
 * a call that was cut off where nobody sees what it used.
 */
import type { FinalState, Usage } from "../../db/ledger.ts";
import type { NanoUsd } from "../../platform/money.ts";

/** What hard budgets have set aside for each attempt that may be billed. */
export type Hold = {
  readonly nano: NanoUsd;
  readonly periods: readonly string[];
};

export type State = "unknown" | FinalState;
export type Outcome = {
  readonly state: State;
  readonly cost: NanoUsd | null;
  readonly charged: NanoUsd | null;
};

export class Account {
  /** `performance.now()` when the edge saw the request. */
  readonly startedAt: number;
  readonly hold: Hold | null;
  /** `performance.now()` when a provider was first asked; 0 before. */
  askedAt = 0;
  /** How often the hold was taken. */
  #taken = 1;
  /** Attempts that may be billed and of which nobody knows. */
  #unseen = 0;
  #cost: NanoUsd | null = null;
  #charged: NanoUsd | null = null;

  constructor(startedAt: number, hold: Hold | null) {
    this.startedAt = startedAt;
    this.hold = hold;
  }

  /** Nano-USD held for the whole request when its next attempt starts; null without a hard budget. */
  get held(): NanoUsd | null {
    return this.hold === null ? null : this.hold.nano * this.#taken;
  }

  /** The hold was taken once more, for an attempt behind one that may be billed. */
  extend(): void {
    this.#taken++;
  }

  /** Adds an attempt that is over, and returns what the request comes to if that was its last. */
  add({ state, cost, charged }: Outcome): Outcome {
    if (state === "failed" && this.#unseen === 0) return { state, cost: 0, charged: 0 };
    if (state === "unknown") this.#unseen++;
    if (state !== "failed") {
      this.#cost = sum(this.#cost, cost);
      this.#charged = sum(this.#charged, charged);
    }
    // What failed costs nothing, but an attempt before it may have.
    return { state: state === "failed" ? "unknown" : state, cost: this.#cost, charged: this.#charged };
  }
}

/** What is not known adds nothing to what is. */
const sum = (before: NanoUsd | null, more: NanoUsd | null): NanoUsd | null =>
  more === null ? before : (before ?? 0) + more;

/** Tokens that nobody counted exactly may be a few more than they seem. */
const uncertainty = 1.2;

/** The usage that a stream which was cut off is charged for. */
export const withUncertainty = (usage: Usage): Usage => ({
  ...usage,
  output: usage.output === null ? null : Math.ceil(usage.output * uncertainty),
});
