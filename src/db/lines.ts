/**
 * The connections of a pool, each a postgres.js client of its own with one connection: a line.
 *
 * A line that lost its connection, or owes an answer for too long, is dropped and never used again. postgres.js would
 * reconnect the same object under a running transaction, whose later statements would then commit one by one; and TCP
 * alone would take a quarter of an hour to notice a peer that is gone. Whoever finds no free line waits, in order and
 * not forever; what was not sent in time is never sent.
 */
import { Failure } from "../platform/failure.ts";
import type { Sql } from "./database.ts";
import { isLost, mapUnavailable, unavailable } from "./unavailable.ts";

/** What postgres.js's pending statement is made of, as far as it is needed to send it on a line of our choice. */
export type Pending = Promise<unknown> & {
  handler(sent: unknown): void;
  resolve(answer: unknown): void;
  reject(error: unknown): void;
  cursorFn?: unknown;
};

export type Line = {
  readonly client: Sql;
  /** Gives a statement to this line's connection. */
  readonly send: (statement: Pending) => void;
  readonly expiresAt: number;
  lost: boolean;
};

/** Opens a client with one connection; `onclose` is called as soon as that connection is gone. */
export type OpenClient = (onclose: () => void) => Sql;

export class Lines {
  readonly #free: Line[] = [];
  readonly #all = new Set<Line>();
  readonly #waiting: { give(line: Line): void; refuse(error: unknown): void }[] = [];
  #closed = false;

  constructor(
    readonly open: OpenClient,
    readonly linesMax: number,
    /** Null: work here may take as long as it takes. */
    readonly answerTimeoutMs: number | null,
  ) {}

  /** When a piece of work that begins now must have its answer. */
  deadline(): number {
    return this.answerTimeoutMs === null
      ? Number.POSITIVE_INFINITY
      : performance.now() + this.answerTimeoutMs;
  }

  async acquire(deadline: number): Promise<Line> {
    if (this.#closed) throw closedPool();
    for (let line = this.#free.pop(); line !== undefined; line = this.#free.pop()) {
      if (!line.lost) return line;
    }
    return this.#all.size < this.linesMax ? this.#add() : await this.#wait(deadline);
  }

  release(line: Line): void {
    if (line.lost || performance.now() > line.expiresAt) {
      this.drop(line);
      return;
    }
    const next = this.#waiting.shift();
    if (next) next.give(line);
    else this.#free.push(line);
  }

  drop(line: Line): void {
    line.lost = true;
    if (this.#all.delete(line)) void line.client.end({ timeout: 0 });
    while (!this.#closed && this.#all.size < this.linesMax) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      next.give(this.#add());
    }
  }

  /** Sends a statement on a line, and sees to it that it ends. */
  send(line: Line, statement: Pending, deadline: number, whenOver: () => void): void {
    const { resolve, reject } = statement;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const over = (settle: () => void): void => {
      clearTimeout(timer);
      settle();
      whenOver();
    };
    // A cursor takes as long as its reader.
    if (statement.cursorFn === undefined) {
      timer = atDeadline(deadline, () => {
        this.drop(line);
        reject(unavailable());
      });
    }
    statement.resolve = (answer) => over(() => resolve(answer));
    statement.reject = (error) => {
      // Before the answer, so that the line cannot be handed to the next one.
      if (isLost(error)) this.drop(line);
      over(() => reject(mapUnavailable(error)));
    };
    line.send(statement);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const waiting of this.#waiting.splice(0)) waiting.refuse(closedPool());
    await Promise.all([...this.#all].map((line) => line.client.end({ timeout: 5 })));
    this.#all.clear();
  }

  #add(): Line {
    const client = this.open(() => this.drop(line));
    // Never awaited, so never sent: it only shows where this client takes statements.
    const { handler } = client.unsafe("") as unknown as Pending;
    const expiresAt = performance.now() + lineLifeMs * (0.5 + Math.random() / 2);
    const line: Line = { client, send: handler, expiresAt, lost: false };
    this.#all.add(line);
    return line;
  }

  #wait(deadline: number): Promise<Line> {
    const { promise, resolve, reject } = Promise.withResolvers<Line>();
    const waiter = { give: resolve, refuse: reject };
    this.#waiting.push(waiter);
    const timer = atDeadline(deadline, () => {
      const place = this.#waiting.indexOf(waiter);
      if (place >= 0) this.#waiting.splice(place, 1);
      reject(unavailable());
    });
    return promise.finally(() => clearTimeout(timer));
  }
}

function atDeadline(deadline: number, act: () => void): ReturnType<typeof setTimeout> | undefined {
  return Number.isFinite(deadline) ? setTimeout(act, deadline - performance.now()) : undefined;
}

/** A backend's memory grows with the plans and catalogue entries it has seen. */
const lineLifeMs = 3_600_000;

const closedPool = (): Failure => new Failure("unavailable", "unavailable", "The gateway is stopping.");
