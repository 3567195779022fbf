/**
 * When a server may be met again: at once after it was well for a while, and later and later while it is not.
 */
const firstMs = 1_000;
const mostMs = 60_000;
/** Whoever lasts so long was well. */
const wellMs = 10_000;

export class Patience {
  readonly #firstMs: number;
  #failures = 0;
  #beganAt = 0;
  #readyAt = 0;

  constructor(first = firstMs) {
    this.#firstMs = first;
  }

  waitMs(): number {
    return Math.max(0, this.#readyAt - performance.now());
  }

  began(): void {
    this.#beganAt = performance.now();
  }

  failed(): void {
    this.#wait(this.#failures++);
  }

  /** The first time it is met again at once, because sessions do end. */
  ended(): void {
    if (performance.now() - this.#beganAt > wellMs) this.#failures = 0;
    if (this.#failures > 0) this.#wait(this.#failures - 1);
    this.#failures++;
  }

  #wait(times: number): void {
    this.#readyAt = performance.now() + Math.min(mostMs, this.#firstMs * 2 ** times);
  }
}
