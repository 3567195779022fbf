/**
 * Long work in short turns: whatever else the gateway does gets its turn between them.
 */
const turnMs = 8;

export class Breath {
  #turnAt = performance.now();

  /** To be awaited between two pieces of the work; takes no time unless this turn has been long. */
  take(): Promise<void> | undefined {
    return performance.now() - this.#turnAt < turnMs ? undefined : this.#let();
  }

  async #let(): Promise<void> {
    await new Promise<void>((resolve) => void setImmediate(resolve));
    this.#turnAt = performance.now();
  }
}
