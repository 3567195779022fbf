/**
 * Who may ask an upstream server right now: so many at once, no caller more than half of them, and nobody while it is ill.
 *
 * A caller chooses the arguments, and with them often how long a call takes and whether it fails. So a caller's failures
 * are first of all the caller's: five in a row, and that one is refused for a while. Of the five after which everybody
 * is, a caller's count for two at most; those that have nothing to do with a call, such as a refused connection or a list
 * that does not come, count each. Whether it is well again, the gateway asks for itself before it lets a call through.
 */
import { Breaker, type Turn } from "./breaker.ts";
import { busy, UpstreamFailure, unavailable } from "./upstream-failure.ts";

const openMsFirst = 5_000;
const countedOfEach = 2;
/** Those that have failed are remembered; this many. */
const callersMax = 1_000;

type Caller = { calls: number; readonly breaker: Breaker };

export class Gate {
  readonly #isWell: () => Promise<void>;
  readonly #openMs: number;
  readonly #server: Breaker;
  readonly #callers = new Map<string, Caller>();
  /** Since somebody was last answered. */
  readonly #failures = new Map<string, number>();
  #callsMax: number;
  #calls = 0;

  /** `isWell` asks the server something that no caller has a part in, and throws what it came to. */
  constructor(callsMax: number, isWell: () => Promise<void>, openMs = openMsFirst) {
    this.#callsMax = callsMax;
    this.#isWell = isWell;
    this.#openMs = openMs;
    this.#server = new Breaker(openMs);
  }

  /** From now on. */
  adopt(callsMax: number): void {
    this.#callsMax = callsMax;
  }

  /** One of `callsMax`; throws `upstream_busy` or `upstream_unavailable`. */
  async call<T>(name: string, run: () => Promise<T>): Promise<T> {
    const caller = this.#callerOf(name);
    this.#requireRoom(caller);
    const turn = caller.breaker.enter();
    if (turn.waitMs > 0)
      throw unavailable(
        "has failed several times in a row for this caller, who is to wait a while",
        turn.waitMs,
      );
    this.#calls++;
    caller.calls++;
    try {
      await this.#requireWell();
      const result = await run();
      caller.breaker.succeeded();
      this.#answered();
      return result;
    } catch (error) {
      this.#failed(error, turn, name, caller);
      throw error;
    } finally {
      this.#calls--;
      caller.calls--;
      if (caller.calls === 0 && caller.breaker.isFresh) this.#callers.delete(name);
    }
  }

  /** A question of the gateway's own, beside the calls. Throws `upstream_unavailable`. */
  async ask<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#server.enter();
    if (turn.waitMs > 0) throw leftAlone(turn.waitMs);
    try {
      const result = await run();
      this.#answered();
      return result;
    } catch (error) {
      if (isSick(error)) this.#server.failed(turn);
      else if (isAnswer(error) && turn.isTrial) this.#answered();
      else this.#server.provedNothing(turn);
      throw error;
    }
  }

  #requireRoom({ calls }: Caller): void {
    const callsMax = this.#callsMax;
    if (this.#calls >= callsMax)
      throw busy(`The upstream server is answering ${callsMax} calls already, and takes no more at once.`);
    const share = Math.ceil(callsMax / 2);
    if (calls >= share)
      throw busy(`The upstream server takes ${callsMax} calls at once, of one caller ${share}.`);
  }

  async #requireWell(): Promise<void> {
    const turn = this.#server.enter();
    if (turn.waitMs > 0) throw leftAlone(turn.waitMs);
    if (!turn.isTrial) return;
    try {
      await this.#isWell();
    } catch (error) {
      if (!isAnswer(error)) {
        this.#server.failed(turn);
        throw leftAlone(this.#openMs);
      }
    }
    this.#answered();
  }

  #answered(): void {
    this.#failures.clear();
    this.#server.succeeded();
  }

  #failed(error: unknown, turn: Turn, name: string, { breaker }: Caller): void {
    if (!isSick(error)) {
      breaker.provedNothing(turn);
      return;
    }
    breaker.failed(turn);
    const times = (this.#failures.get(name) ?? 0) + 1;
    this.#failures.set(name, times);
    // Nothing was sent: no argument can have to do with it.
    if (times <= countedOfEach || error.code === "upstream_unavailable")
      this.#server.failed({ isTrial: false });
  }

  #callerOf(name: string): Caller {
    const known = this.#callers.get(name);
    if (known !== undefined) return known;
    const oldest = [...this.#callers].find(([, { calls }]) => calls === 0);
    if (this.#callers.size >= callersMax && oldest !== undefined) this.#callers.delete(oldest[0]);
    const caller = { calls: 0, breaker: new Breaker(this.#openMs) };
    this.#callers.set(name, caller);
    return caller;
  }
}

const isSick = (error: unknown): error is UpstreamFailure => error instanceof UpstreamFailure && error.isSick;

/** It says something, and be it that it will not. */
const isAnswer = (error: unknown): boolean =>
  error instanceof UpstreamFailure && !error.isSick && error.code !== "upstream_unavailable";

const leftAlone = (waitMs: number): UpstreamFailure =>
  unavailable("has failed several times in a row and is left alone for a while", waitMs);
