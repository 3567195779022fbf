/**
 * Circuit breakers: a target that fails more often than not is left alone for a while, then one call tries it again.
 *
 * One for each provider and model that has failed lately, kept over requests, and over hot reloads that leave the provider
 * as it was. Whether a call failed is said once, when its answer begins or does not; what the caller did wrong, or broke
 * off, says nothing of a provider's health. They know nothing of routes: what to do while all are open is the caller's to
 * decide.
 */
import {
  type CircuitBreakerPolicy,
  CircuitState,
  circuitBreaker,
  handleAll,
  SamplingBreaker,
} from "cockatiel";
import type { RaiseAlarm } from "../../db/alarms.ts";
import { type Clock, rfc3339 } from "../../platform/clock.ts";
import type { ProviderConfig } from "../../platform/config.ts";

type Named = { readonly provider: string; readonly model: string };

/** Permission to ask a target; whoever has it says once how it went, or that nobody will know. */
export type Pass = {
  /** The target answers; the verdict may take as long as the answer does. */
  readonly began: () => void;
  readonly succeeded: () => void;
  readonly failed: () => void;
  readonly abandoned: () => void;
};

export type BreakerState = {
  readonly provider: string;
  readonly model: string;
  readonly state: "closed" | "open" | "half_open";
  /** RFC 3339. */
  readonly since: string;
};

export type BreakersNeeds = {
  raise: RaiseAlarm;
  clock: Clock;
  /** As they are configured now. */
  providers: () => Readonly<Record<string, ProviderConfig>>;
  /** For how long a target is left alone at first; each failed try doubles it, up to a minute. */
  openMs?: number;
};

/** More than half of at least ten calls within half a minute. */
const failureRatio = 0.5;
const windowMs = 30_000;
const callsMin = 10;
const openMsFirst = 5_000;
const openMsMax = 60_000;
const knownMax = 1_000;
/** So long a call that tries a target has it to itself. */
const probeMs = 3_000;

export class Breakers {
  readonly #needs: BreakersNeeds;
  readonly #known = new Map<string, Breaker>();
  /** The breakers that are open, by provider: it is down from the first to the last of them. */
  readonly #down = new Map<string, Set<Breaker>>();

  constructor(needs: BreakersNeeds) {
    this.#needs = needs;
  }

  /** Milliseconds until the target may be asked; 0 when it may be now. */
  waitMs(target: Named): number {
    // Nearly always: what has not failed lately has no breaker.
    if (this.#known.size === 0) return 0;
    return this.#known.get(keyOf(target))?.waitMs() ?? 0;
  }

  /** Null when somebody else was quicker to try a target that was left alone. */
  enter(target: Named): Pass | null {
    const breaker = this.#known.size === 0 ? undefined : this.#known.get(keyOf(target));
    if (breaker !== undefined && !breaker.isQuiet) return breaker.enter();
    if (breaker !== undefined) this.#known.delete(keyOf(target));
    const asked = this.#configOf(target);
    const failed = () => {
      if (isSame(asked, this.#configOf(target))) this.#breakerOf(target).enter()?.failed();
    };
    return { ...untold, failed };
  }

  /** Of the targets that have failed lately. */
  states(): BreakerState[] {
    return [...this.#known.values()].map((breaker) => breaker.state());
  }

  /** At another address, or with another key, a provider is somebody else; one that is gone is not down. */
  forgetChanged(): void {
    for (const breaker of [...this.#known.values()])
      if (!isSame(breaker.config, this.#configOf(breaker.target))) this.#forget(breaker);
  }

  #configOf({ provider }: Named): ProviderConfig | undefined {
    return this.#needs.providers()[provider];
  }

  #breakerOf(target: Named): Breaker {
    const key = keyOf(target);
    const found = this.#known.get(key);
    if (found !== undefined) return found;
    if (this.#known.size >= knownMax) this.#forgetOne();
    const breaker: Breaker = new Breaker(target, this.#configOf(target), this.#needs, () =>
      this.#tell(breaker),
    );
    this.#known.set(key, breaker);
    return breaker;
  }

  /** Names are the callers': the oldest that is not open makes room, or the oldest. */
  #forgetOne(): void {
    const all = [...this.#known.values()];
    const oldest = all.find(({ isOpen }) => !isOpen) ?? all[0];
    if (oldest !== undefined) this.#forget(oldest);
  }

  #forget(breaker: Breaker): void {
    this.#known.delete(keyOf(breaker.target));
    this.#tell(breaker);
  }

  /** One that is forgotten is not open any more, whatever calls under way still find out. */
  #tell(breaker: Breaker): void {
    const { provider } = breaker.target;
    const down = this.#down.get(provider) ?? new Set();
    const before = down.size;
    const isKnown = this.#known.get(keyOf(breaker.target)) === breaker;
    if (isKnown && breaker.isOpen) down.add(breaker);
    else down.delete(breaker);
    this.#down.set(provider, down);
    if (before === 0 && down.size > 0) this.#raise("provider.down", provider);
    if (before > 0 && down.size === 0) this.#raise("provider.up", provider);
  }

  #raise(type: "provider.down" | "provider.up", provider: string): void {
    const since = rfc3339(this.#needs.clock.now());
    // Of several instances that find it out in the same minute one tells.
    this.#needs.raise({
      type,
      once: `${type}:${provider}:${since.slice(0, 16)}Z`,
      payload: { provider, since },
    });
  }
}

class Breaker {
  readonly target: Named;
  /** Of the provider that has failed; undefined for the demo. */
  readonly config: ProviderConfig | undefined;
  readonly #policy: CircuitBreakerPolicy;
  #since: number;
  #openedAt = 0;
  #openMs = 0;
  #failedAt = Date.now();
  /** How often in a row it was left alone. */
  #failedTries = 0;
  #probe: Pass | null = null;
  #probedAt = 0;
  #wasAbandoned = false;

  constructor(
    { provider, model }: Named,
    config: ProviderConfig | undefined,
    { clock, openMs = openMsFirst }: BreakersNeeds,
    turned: () => void,
  ) {
    this.target = { provider, model };
    this.config = config;
    this.#since = clock.now();
    const next = () => {
      // Whoever left said nothing of the target: the next call tries it.
      this.#openMs = this.#wasAbandoned ? 1 : Math.min(openMsMax, openMs * 2 ** this.#failedTries++);
      this.#wasAbandoned = false;
      return { duration: this.#openMs, next };
    };
    this.#policy = circuitBreaker(handleAll, {
      breaker: new SamplingBreaker({
        threshold: failureRatio,
        duration: windowMs,
        minimumRps: callsMin / (windowMs / 1000),
      }),
      halfOpenAfter: { next },
    });
    this.#policy.onStateChange((state) => {
      this.#since = clock.now();
      // By the library's own clock.
      if (state === CircuitState.Open) this.#openedAt = Date.now();
      if (state === CircuitState.Closed) this.#failedTries = 0;
      if (state !== CircuitState.HalfOpen) turned();
    });
  }

  get isOpen(): boolean {
    return this.#policy.state !== CircuitState.Closed;
  }

  /** Whether nothing has failed for so long that there is nothing to remember. */
  get isQuiet(): boolean {
    return !this.isOpen && Date.now() - this.#failedAt > 2 * windowMs;
  }

  waitMs(): number {
    if (!this.isOpen) return 0;
    // While one call tries it, nobody knows yet.
    if (this.#policy.state === CircuitState.HalfOpen)
      return Math.max(0, this.#probedAt + probeMs - Date.now());
    return Math.max(0, this.#openedAt + this.#openMs - Date.now());
  }

  enter(): Pass | null {
    if (!this.isOpen)
      return { ...untold, succeeded: () => this.#note(true), failed: () => this.#note(false) };
    // The library would let a second call wait for the first one's verdict; ours goes elsewhere.
    if (this.#policy.state === CircuitState.HalfOpen) return this.#besideProbe();
    const verdict = Promise.withResolvers<void>();
    let isIn = false;
    this.#policy
      .execute(() => {
        isIn = true;
        return verdict.promise;
      })
      .catch(nothing);
    if (!isIn) return null;
    this.#probedAt = Date.now();
    let isSaid = false;
    const say = (isWell: boolean, wasAbandoned = false) => {
      if (isSaid) return;
      isSaid = true;
      this.#wasAbandoned = wasAbandoned;
      if (isWell) verdict.resolve();
      else verdict.reject(new Error("the target failed again"));
    };
    const well = () => say(true);
    const failed = () => say(false);
    const abandoned = () => say(false, true);
    this.#probe = { began: well, succeeded: well, failed, abandoned };
    return this.#probe;
  }

  /** A try that takes its time must not keep everybody out: now and then one more call may find out that all is well. */
  #besideProbe(): Pass | null {
    if (this.#probe === null || this.waitMs() > 0) return null;
    this.#probedAt = Date.now();
    const { began, succeeded } = this.#probe;
    return { ...untold, began, succeeded };
  }

  state(): BreakerState {
    const state =
      this.#policy.state === CircuitState.HalfOpen ? "half_open" : this.isOpen ? "open" : "closed";
    return { ...this.target, state, since: rfc3339(this.#since) };
  }

  /** What a call that began before the breaker opened comes to is news of the past. */
  #note(isWell: boolean): void {
    if (!isWell) this.#failedAt = Date.now();
    if (this.isOpen) return;
    this.#policy.execute(isWell ? nothing : fail).catch(nothing);
  }
}

/** Nobody sees into a secret, a comparison of objects neither. */
const isSame = (one: ProviderConfig | undefined, other: ProviderConfig | undefined): boolean =>
  Bun.deepEquals(one, other) && one?.apiKey?.reveal() === other?.apiKey?.reveal();

const keyOf = ({ provider, model }: Named): string => `${provider}/${model}`;
const nothing = (): void => {};
const untold: Pass = { began: nothing, succeeded: nothing, failed: nothing, abandoned: nothing };
const fail = (): never => {
  throw new Error("the target failed");
};
