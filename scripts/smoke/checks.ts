/** Checks that go on after one fails: each prints one line and counts as one test. */
export type Check = {
  (sentence: string, work: () => unknown): Promise<void>;
  /** Counted too: what cannot be tried here, and how it could be. */
  skip(sentence: string, how: string): void;
};
/** `failures` has each failed one's lines, to be said again at the end. */
export type Counts = { passed: number; failed: number; skipped: number; failures: string[] };

export function startChecks(): { check: Check; counts: Counts } {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0, failures: [] };
  const check = async (sentence: string, work: () => unknown): Promise<void> => {
    const started = performance.now();
    const took = (): string => `[${Math.round(performance.now() - started)} ms]`;
    try {
      const note = await work();
      counts.passed++;
      console.log(`✓ ${sentence}${typeof note === "string" ? `: ${note}` : ""} ${took()}`);
    } catch (error) {
      counts.failed++;
      const lines = `✗ ${sentence} ${took()}\n    ${words(error).replaceAll("\n", "\n    ")}`;
      counts.failures.push(lines);
      console.log(lines);
    }
  };
  const skip = (sentence: string, how: string): void => {
    counts.skipped++;
    console.log(`» ${sentence}: skipped; ${how}`);
  };
  return { counts, check: Object.assign(check, { skip }) };
}

export function expect(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Error(otherwise);
}

export function expectEqual(found: unknown, wanted: unknown, what: string): void {
  expect(Bun.deepEquals(found, wanted), `${what}: ${Bun.inspect(found)}, not ${Bun.inspect(wanted)}`);
}

/** Asks again until the answer pleases, or gives the last one after `withinMs`. */
export async function eventually<T>(
  ask: () => Promise<T>,
  pleases: (answer: T) => boolean,
  withinMs: number,
  everyMs = 50,
): Promise<T> {
  const until = performance.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (pleases(answer) || performance.now() > until) return answer;
    await Bun.sleep(everyMs);
  }
}

const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));
