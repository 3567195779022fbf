/**
 * Counts tokens of texts locally, in a Worker that starts when first needed and stops when it has been idle.
 *
 * The numbers are estimates (one vocabulary for all models) and their rows say so: `estimated`.
 */
export type CountTokens = (texts: string[]) => Promise<number[]>;
/** Once closed it guesses, also what it was counting. */
export type TokenCounter = { count: CountTokens; close(): void };

type Waiting = { readonly texts: string[]; readonly resolve: (counts: number[]) => void };

const idleMs = 60_000;
/** Loading takes half a second on an idle machine and much more on a busy one. */
const answerMsMax = 10_000;

export function createTokenCounter(): TokenCounter {
  let worker: Worker | null = null;
  let nextId = 1;
  let idle: Timer | undefined;
  let closed = false;
  const waiting = new Map<number, Waiting>();

  const stop = () => {
    worker?.terminate();
    worker = null;
    clearTimeout(idle);
    // Nobody answers them any more, and an END may be waiting.
    for (const { texts, resolve } of waiting.values()) resolve(texts.map(roughTokens));
  };
  const start = (): Worker => {
    const started = new Worker(new URL("./counting.ts", import.meta.url).href);
    started.onmessage = ({ data }: MessageEvent<{ id: number; counts: number[] }>) =>
      waiting.get(data.id)?.resolve(data.counts);
    started.onerror = stop;
    started.unref();
    return started;
  };
  return {
    async count(texts) {
      if (texts.every((text) => text === "")) return texts.map(() => 0);
      if (closed) return texts.map(roughTokens);
      worker ??= start();
      clearTimeout(idle);
      idle = setTimeout(stop, idleMs);
      idle.unref();
      const id = nextId++;
      try {
        return await answer(worker, id, texts, waiting);
      } finally {
        waiting.delete(id);
      }
    },
    close() {
      closed = true;
      stop();
    },
  };
}

/** A worker that does not answer in time must not hold a stream open: four bytes a token is the usual rough guess. */
function answer(
  worker: Worker,
  id: number,
  texts: string[],
  waiting: Map<number, Waiting>,
): Promise<number[]> {
  return new Promise((resolve) => {
    const guess = setTimeout(() => resolve(texts.map(roughTokens)), answerMsMax);
    waiting.set(id, {
      texts,
      resolve(counts) {
        clearTimeout(guess);
        resolve(counts);
      },
    });
    worker.postMessage({ id, texts });
  });
}

export const roughTokens = (text: string): number => Math.ceil(Buffer.byteLength(text) / 4);
