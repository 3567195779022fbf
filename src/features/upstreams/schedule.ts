/**
 * When an upstream's list is asked for: now, then every minute or so, sooner on a hint, and ever more seldom while it fails.
 *
 * One round at a time. Hints come from outside, a hostile server's among them, so each that is heeded between two
 * regular rounds makes the next one wait twice as long; while each round finds something else than the one before, that
 * stays so.
 */

/** What a round came to: what was known already, something else, or nothing. */
export type Round = "same" | "other" | "failed";

export type ScheduleTerms = {
  everyMs: number;
  /** After a failure; then twice as long each time, up to `retryMsMax`. */
  retryMs: number;
  retryMsMax: number;
  /** From a round's beginning to the next one for a hint's sake. */
  hintMs: number;
};

export const usualTerms: ScheduleTerms = {
  everyMs: 60_000,
  retryMs: 2_000,
  retryMsMax: 300_000,
  hintMs: 1_000,
};

export class Schedule {
  readonly #round: (signal: AbortSignal) => Promise<Round>;
  readonly #terms: ScheduleTerms;
  readonly #stopping = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #begunAt = Number.NEGATIVE_INFINITY;
  #running: Promise<void> | null = null;
  #isHinted = false;
  #hints = 0;
  #failures = 0;
  #last: Round = "same";

  /** `round` must not reject. */
  constructor(round: (signal: AbortSignal) => Promise<Round>, terms: ScheduleTerms) {
    this.#round = round;
    this.#terms = terms;
  }

  /** Also begins anew, as if nothing had failed. */
  start(): void {
    this.#failures = 0;
    this.#hints = 0;
    if (this.#running !== null) this.#isHinted = true;
    else this.#in(0);
  }

  /** Something may have changed. A dead one is asked no sooner for it. */
  hint(): void {
    if (this.#running !== null) this.#isHinted = true;
    else if (this.#failures === 0) this.#heed();
  }

  /** Resolves when the round in hand is over. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    clearTimeout(this.#timer);
    await this.#running;
  }

  #heed(): void {
    const { hintMs, everyMs } = this.#terms;
    const wait = Math.min(everyMs, hintMs * 2 ** this.#hints);
    const at = this.#begunAt + wait;
    if (at >= this.#dueAt) return;
    this.#hints++;
    this.#in(Math.max(0, at - performance.now()));
  }

  #in(milliseconds: number): void {
    clearTimeout(this.#timer);
    if (this.#stopping.signal.aborted) return;
    this.#dueAt = performance.now() + milliseconds;
    this.#timer = setTimeout(() => void this.#begin(), milliseconds);
  }

  #begin(): void {
    if (this.#running !== null) return;
    const isRegular = performance.now() - this.#begunAt >= this.#terms.everyMs * 0.8;
    if (isRegular && this.#last !== "other") this.#hints = 0;
    this.#begunAt = performance.now();
    this.#isHinted = false;
    this.#running = this.#round(this.#stopping.signal).then((round) => {
      this.#running = null;
      this.#last = round;
      this.#failures = round === "failed" ? this.#failures + 1 : 0;
      this.#in(this.#pauseMs());
      if (this.#isHinted && round !== "failed") this.#heed();
    });
  }

  /** Never all at the same moment. */
  #pauseMs(): number {
    const { everyMs, retryMs, retryMsMax } = this.#terms;
    const jitter = 0.9 + Math.random() * 0.2;
    if (this.#failures === 0) return everyMs * jitter;
    return Math.min(retryMsMax, retryMs * 2 ** (this.#failures - 1)) * jitter;
  }
}
