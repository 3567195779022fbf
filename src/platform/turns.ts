/**
 * So many at once for each name, in this process: whoever would only wait for each other in the database waits here, and
 * leaves its connections to everybody else.
 */
export type Turns = <T>(name: string, work: () => Promise<T>) => Promise<T>;

type Queue = { busy: number; readonly waiting: (() => void)[] };

export function createTurns(atOnce: number): Turns {
  const queues = new Map<string, Queue>();
  const leave = (name: string, queue: Queue) => {
    const next = queue.waiting.shift();
    // Whoever is next takes the place over, so that nobody comes in between.
    if (next !== undefined) next();
    else if (--queue.busy === 0) queues.delete(name);
  };
  return async (name, work) => {
    const queue = queues.get(name) ?? { busy: 0, waiting: [] };
    queues.set(name, queue);
    if (queue.busy < atOnce) queue.busy++;
    else await new Promise<void>((resolve) => queue.waiting.push(resolve));
    try {
      return await work();
    } finally {
      leave(name, queue);
    }
  };
}

/** One answer for all who ask for the same at the same time. */
export function createShared<T>() {
  const asked = new Map<string, Promise<T>>();
  return {
    ask(name: string, work: () => Promise<T>): Promise<T> {
      const known = asked.get(name);
      if (known !== undefined) return known;
      const answer = work().finally(() => asked.delete(name));
      asked.set(name, answer);
      return answer;
    },
  };
}

/** Lets everything else that waits for this process have its turn. */
export const others = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
