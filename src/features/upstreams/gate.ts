/**
 * Who may ask an upstream server right now: so many at once, and nobody while it is ill.
 *
 * After five failures in a row it is left alone, for five seconds at first and up to a minute; then one call tries it, and
 * everybody else is still refused at once. A caller who leaves in the middle of that try has proved nothing.
 */
import {
  type CircuitBreakerPolicy,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleWhen,
} from "cockatiel";
import { busy, UpstreamFailure, unavailable } from "./upstream-failure.ts";

const failuresMax = 5;
const openMsFirst = 5_000;
const openMsMax = 60_000;

export class Gate {
  readonly #callsMax: number;
  readonly #policy: CircuitBreakerPolicy;
  #calls = 0;
  #openUntil = 0;

  /** `opened` is called each time that the server begins to be left alone. */
  constructor(callsMax: number, opened: () => void, openMs = openMsFirst) {
    this.#callsMax = callsMax;
    let tries = 0;
    const next = () => {
      const duration = Math.min(openMsMax, openMs * 2 ** tries++);
      this.#openUntil = Date.now() + duration;
      return { duration, next };
    };
    this.#policy = circuitBreaker(
      handleWhen((error) => this.#isFailure(error)),
      { breaker: new ConsecutiveBreaker(failuresMax), halfOpenAfter: { next } },
    );
    this.#policy.onStateChange((state) => {
      if (state === CircuitState.Closed) tries = 0;
      if (state === CircuitState.Open) opened();
    });
  }

  get isOpen(): boolean {
    return this.#policy.state !== CircuitState.Closed;
  }

  /** One of `callsMax`; throws `upstream_busy` or `upstream_unavailable`. */
  async call<T>(run: () => Promise<T>): Promise<T> {
    if (this.#calls >= this.#callsMax)
      throw busy(
        `The upstream server is answering ${this.#callsMax} calls already, and takes no more at once.`,
      );
    this.#calls++;
    try {
      return await this.pass(run);
    } finally {
      this.#calls--;
    }
  }

  /** Beside the calls. Throws `upstream_unavailable`. */
  pass<T>(run: () => Promise<T>): Promise<T> {
    const { state } = this.#policy;
    const waitMs = this.#openUntil - Date.now();
    // The library would let others wait for the verdict of the one call that tries.
    if (state === CircuitState.HalfOpen || (state === CircuitState.Open && waitMs > 0))
      throw unavailable("has failed several times in a row and is left alone for a while", waitMs);
    return this.#policy.execute(run);
  }

  #isFailure(error: unknown): boolean {
    if (error instanceof UpstreamFailure) return error.isSick;
    return this.#policy.state === CircuitState.HalfOpen;
  }
}
