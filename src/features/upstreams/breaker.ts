/**
 * When to leave something alone: after five failures in a row, for five seconds at first and up to a minute; then one try
 * decides. A try that proves nothing leaves it to the next one.
 */
const failuresMax = 5;
const openMsMax = 60_000;

/** `waitMs` above 0: not now. `isTrial`: this is the one try. */
export type Turn = { readonly waitMs: number; readonly isTrial: boolean };

export class Breaker {
  readonly #openMs: number;
  #failures = 0;
  #times = 0;
  /** 0 while it is not left alone. */
  #until = 0;
  #isTried = false;

  constructor(openMs: number) {
    this.#openMs = openMs;
  }

  get isFresh(): boolean {
    return this.#failures === 0 && this.#until === 0;
  }

  /** Whoever may go ahead says afterwards how it went. */
  enter(): Turn {
    if (this.#until === 0) return { waitMs: 0, isTrial: false };
    const waitMs = Math.max(this.#until - performance.now(), this.#isTried ? 1 : 0);
    this.#isTried ||= waitMs <= 0;
    return { waitMs, isTrial: waitMs <= 0 };
  }

  succeeded(): void {
    this.#failures = 0;
    this.#times = 0;
    this.#until = 0;
    this.#isTried = false;
  }

  /** What began before it was left alone counts no more. */
  failed({ isTrial }: Pick<Turn, "isTrial">): void {
    if (this.#until > 0 && !isTrial) return;
    this.#failures++;
    if (!isTrial && this.#failures < failuresMax) return;
    this.#until = performance.now() + Math.min(openMsMax, this.#openMs * 2 ** this.#times++);
    this.#failures = 0;
    this.#isTried = false;
  }

  provedNothing({ isTrial }: Turn): void {
    if (isTrial) this.#isTried = false;
  }
}
