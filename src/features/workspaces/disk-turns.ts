/**
 * So many deeds at once on each disk, and nobody waits for a disk for ever: one that is slow or hangs keeps its own
 * callers waiting and then refuses them, and takes neither memory nor the database from everybody else.
 *
 * A deed that is late goes on in the background and keeps its turn until the disk has answered.
 */
import { Failure } from "../../platform/failure.ts";
import { Turns } from "../../platform/turns.ts";

const waitingMax = 64;

export type DiskTurnsNeeds = {
  readonly atOnce: number;
  /** For a turn. */
  readonly waitMs: number;
  /** For the disk, once it is one's turn. */
  readonly deedMs: number;
};

export class DiskTurns {
  readonly #turns: Turns;
  readonly #deedMs: number;

  constructor({ atOnce, waitMs, deedMs }: DiskTurnsNeeds) {
    this.#turns = new Turns({ atOnce, waitMs, waitingMax, refusal: busy });
    this.#deedMs = deedMs;
  }

  /** Throws 503 `workspace_busy` and `workspace_slow`. */
  async take<Result>(root: string, deed: () => Promise<Result>): Promise<Result> {
    const leave = await this.#turns.take(root);
    const done = deed();
    done.then(leave, leave);
    return within(this.#deedMs, done);
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
