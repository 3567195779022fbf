/**
 * So many deeds at once on each disk, and nobody waits for a disk for ever: one that is slow or hangs keeps its own
 * callers waiting and then refuses them, and takes neither memory nor the database from everybody else.
 *
 * A deed that is late goes on in the background and keeps its turn until the disk has answered.
 */
import { Failure } from "../../platform/failure.ts";

const waitingMax = 64;

export type DiskTurnsNeeds = {
  readonly atOnce: number;
  /** For a turn. */
  readonly waitMs: number;
  /** For the disk, once it is one's turn. */
  readonly deedMs: number;
};

type Queue = { busy: number; readonly waiting: Set<() => void> };

export class DiskTurns {
  readonly #needs: DiskTurnsNeeds;
  readonly #queues = new Map<string, Queue>();

  constructor(needs: DiskTurnsNeeds) {
    this.#needs = needs;
  }

  /** Throws 503 `workspace_busy` and `workspace_slow`. */
  async take<Result>(root: string, deed: () => Promise<Result>): Promise<Result> {
    const leave = await this.#enter(root);
    const done = deed();
    done.then(leave, leave);
    return within(this.#needs.deedMs, done);
  }

  async #enter(root: string): Promise<() => void> {
    const queue = this.#queues.get(root) ?? { busy: 0, waiting: new Set() };
    this.#queues.set(root, queue);
    const leave = () => this.#leave(root, queue);
    if (queue.busy < this.#needs.atOnce) {
      queue.busy++;
      return leave;
    }
    if (queue.waiting.size >= waitingMax) throw busy();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    queue.waiting.add(resolve);
    const late = setTimeout(() => {
      queue.waiting.delete(resolve);
      reject(busy());
    }, this.#needs.waitMs);
    await promise.finally(() => clearTimeout(late));
    return leave;
  }

  #leave(root: string, queue: Queue): void {
    const [next] = queue.waiting;
    if (next !== undefined) {
      // The place goes over to whoever is next, so that nobody comes in between.
      queue.waiting.delete(next);
      next();
    } else if (--queue.busy === 0) this.#queues.delete(root);
  }
}

/** Throws 503 `workspace_slow` when it takes longer; it goes on all the same. */
export async function within<Result>(ms: number, deed: Promise<Result>): Promise<Result> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(slow()), ms);
  try {
    return await Promise.race([deed, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

const busy = (): Failure =>
  new Failure("unavailable", "workspace_busy", "Too much waits for this workspace's disk. Try again.", {
    retryAfterSeconds: 2,
  });

const slow = (): Failure =>
  new Failure(
    "unavailable",
    "workspace_slow",
    "The workspace's disk has not answered in time. What was written may still get there: read the file before you write it again.",
    { retryAfterSeconds: 5 },
  );
