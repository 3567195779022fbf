/**
 * One connection to a server whose era is known: a question goes out, its answer comes back.
 *
 * Whoever holds a line knows nothing of what carries it. A line that is over is thrown away and another is opened.
 */
import type { RpcAnswer } from "./rpc.ts";

export type Question = {
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** Of the newer era, sent beside the body where there are headers. */
  readonly headers: Readonly<Record<Lowercase<string>, string>>;
  /** Of the answer as it comes. */
  readonly bytesMax: number;
  /** Its reason is thrown. */
  readonly signal: AbortSignal;
  readonly traceparent: string | null;
};

export type Line = {
  readonly era: "modern" | "legacy";
  readonly isOver: boolean;
  /** Throws `LineOver` when the question was not looked at and may be put again, on another line. */
  ask(question: Question): Promise<RpcAnswer>;
  /** Closes when what was asked is answered; nothing more is. */
  retire(): Promise<void>;
  close(): Promise<void>;
};

/** For whoever waits until nothing is under way. */
export class UnderWay {
  #count = 0;
  #waiting: (() => void)[] = [];

  async during<T>(run: () => Promise<T>): Promise<T> {
    this.#count++;
    try {
      return await run();
    } finally {
      if (--this.#count === 0) for (const resolve of this.#waiting.splice(0)) resolve();
    }
  }

  none(): Promise<void> {
    if (this.#count === 0) return Promise.resolve();
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }
}

/** Finds out how the server wants to be spoken to. */
export type OpenLine = (signal: AbortSignal) => Promise<Line>;

/** What a server says without being asked. */
export type Notices = { readonly listChanged: () => void };

/** A question of the gateway's own, before any of a caller's. */
export const handshake = (
  signal: AbortSignal,
  method: string,
  params: Readonly<Record<string, unknown>>,
): Question => ({ method, params, headers: {}, bytesMax: 262_144, signal, traceparent: null });
