/**
 * One timer for all calls in flight: setting and clearing one for each chunk of each stream would cost more than the
 * relay itself. Timeouts are therefore kept to within a tick.
 */
import type { Failure } from "../../platform/failure.ts";

export type Watched = {
  tick(monotonicMs: number): void;
  giveUp(failure: Failure): void;
  /** Whether this call ends with what was revoked. */
  isOf(subject: string): boolean;
};

/** A caller who leaves is noticed within one of these, and its provider's connection closed within 100 ms. */
const tickMs = 50;

export class Watch {
  readonly #watched = new Set<Watched>();
  #timer: Timer | null = null;

  add(watched: Watched): void {
    this.#watched.add(watched);
    this.#timer ??= setInterval(() => this.#tick(), tickMs);
  }

  remove(watched: Watched): void {
    this.#watched.delete(watched);
    if (this.#watched.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  /** All of them, or those of one user, client, key or token. */
  giveUp(failure: Failure, subject: string | null = null): void {
    for (const watched of this.#watched)
      if (subject === null || watched.isOf(subject)) watched.giveUp(failure);
  }

  /** Resolves when nothing is watched any more, or after `milliseconds`. */
  async emptied(milliseconds: number): Promise<void> {
    const deadline = performance.now() + milliseconds;
    while (this.#watched.size > 0 && performance.now() < deadline) await Bun.sleep(20);
  }

  get size(): number {
    return this.#watched.size;
  }

  #tick(): void {
    const now = performance.now();
    for (const watched of this.#watched) watched.tick(now);
  }
}
