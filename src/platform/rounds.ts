/** What goes by itself again and again: one round at a time, and none begins while one is under way. */
export type Rounds = {
  /** Ends the waiting, tells the round in hand, and resolves when that is over. */
  stop(): Promise<void>;
};

/** `run` must not reject; its signal says that it should come to an end. */
export function keepRounds(
  { firstMs, everyMs }: { firstMs: number; everyMs: number },
  run: (signal: AbortSignal) => Promise<void>,
): Rounds {
  const stopping = new AbortController();
  let running: Promise<void> | null = null;
  const begin = () => {
    running ??= run(stopping.signal).finally(() => {
      running = null;
    });
  };
  const first = setTimeout(begin, firstMs);
  const again = setInterval(begin, everyMs);
  return {
    async stop() {
      clearTimeout(first);
      clearInterval(again);
      stopping.abort();
      await running;
    },
  };
}
