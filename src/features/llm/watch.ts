/**
 * One timer for all calls in flight: setting and clearing one for each chunk of each stream would cost more than the
 * relay itself. Timeouts are therefore kept to within a tick.
 */
import type { Failure } from "../../platform/failure.ts";

export type Watched = { tick(monotonicMs: number): void; giveUp(failure: Failure): void };

const tickMs = 100;

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

  giveUpAll(failure: Failure): void {
    for (const watched of this.#watched) watched.giveUp(failure);
  }

  get size(): number {
    return this.#watched.size;
  }

  #tick(): void {
    const now = performance.now();
    for (const watched of this.#watched) watched.tick(now);
  }
}
