/**
 * Which target is asked next, and after which pause: by weight among the healthy ones, those not asked yet first, then
 * the fallbacks in their order.
 *
 * It decides and does not wait. A null says that the answer at hand is the last one.
 */
import type { Breakers, Pass } from "./breakers.ts";
import type { Route, Target } from "./route.ts";

export type Step = { readonly target: Target; readonly pass: Pass; readonly pauseMs: number };

/** Who was asked and failed, and from when on it may be asked again: `performance.now()`, or never where it would say the same. */
export type Tried = { readonly target: Target; readonly againAt: number };

/** What is known when an attempt has failed. */
export type Failed = {
  /** In their order, the last one included. */
  readonly tried: readonly Tried[];
  readonly now: number;
  /** Milliseconds left until the first byte must have come. */
  readonly leftMs: number;
};

export function firstStep(route: Route, breakers: Breakers): Step | null {
  const [only, second] = route.targets;
  const pass = only !== undefined && second === undefined ? enter(only, breakers) : null;
  if (only !== undefined && pass !== null) return { target: only, pass, pauseMs: 0 };
  return oneOf(route.targets, breakers, 0) ?? nextFallback(route, [], breakers);
}

export function nextStep(route: Route, failed: Failed, breakers: Breakers): Step | null {
  const { tried, leftMs } = failed;
  if (leftMs <= 0) return null;
  const asked = tried.filter(({ target }) => route.targets.includes(target)).length;
  const backoffMs = backoff(asked);
  const again = asked <= route.retries ? nextTarget(route, failed, backoffMs, breakers) : null;
  if (again !== null && again.pauseMs <= backoffMs && backoffMs < leftMs) return again;
  // Who asks to be left alone is waited for only when there is nobody else.
  const fallback = nextFallback(route, tried, breakers);
  if (fallback === null && again !== null && again.pauseMs < leftMs) return again;
  again?.pass.abandoned();
  return fallback;
}

/** Milliseconds until the first of the route's targets may be asked again. */
export const waitMsOf = (route: Route, breakers: Breakers): number =>
  Math.min(...[...route.targets, ...route.fallbacks].map((target) => breakers.waitMs(target)));

/** Those not asked yet, then those that need not be waited for, the one that failed last behind the others, then the rest. */
function nextTarget(
  { targets }: Route,
  { tried, now }: Failed,
  backoffMs: number,
  breakers: Breakers,
): Step | null {
  const pauseOf = (target: Target): number =>
    Math.max(backoffMs, (tried.findLast((one) => one.target === target)?.againAt ?? now) - now);
  const waiting = targets
    .map((target) => ({ target, pauseMs: pauseOf(target) }))
    .filter(({ pauseMs }) => pauseMs < Number.POSITIVE_INFINITY);
  const fresh = targets.filter((target) => tried.every((one) => one.target !== target));
  const last = tried.at(-1)?.target;
  const ready = waiting.filter(({ target, pauseMs }) => pauseMs === backoffMs && target !== last);
  const step = oneOf(fresh, breakers, backoffMs) ?? oneOf(ready.map(targetOf), breakers, backoffMs);
  if (step !== null) return step;
  for (const { target, pauseMs } of waiting.sort((one, other) => one.pauseMs - other.pauseMs)) {
    const pass = enter(target, breakers);
    if (pass !== null) return { target, pass, pauseMs };
  }
  return null;
}

const targetOf = ({ target }: { target: Target }): Target => target;

function nextFallback(route: Route, tried: readonly Tried[], breakers: Breakers): Step | null {
  for (const target of route.fallbacks) {
    const pass = tried.some((one) => one.target === target) ? null : enter(target, breakers);
    if (pass !== null) return { target, pass, pauseMs: 0 };
  }
  return null;
}

function oneOf(targets: readonly Target[], breakers: Breakers, pauseMs: number): Step | null {
  let healthy = targets.filter((target) => breakers.waitMs(target) === 0);
  while (healthy.length > 0) {
    const target = weighted(healthy);
    const pass = enter(target, breakers);
    if (pass !== null) return { target, pass, pauseMs };
    healthy = healthy.filter((other) => other !== target);
  }
  return null;
}

const enter = (target: Target, breakers: Breakers): Pass | null =>
  breakers.waitMs(target) > 0 ? null : breakers.enter(target);

function weighted(targets: readonly Target[]): Target {
  const whole = targets.reduce((sum, { weight }) => sum + weight, 0);
  let point = Math.random() * whole;
  for (const target of targets) {
    point -= target.weight;
    if (point < 0) return target;
  }
  return targets[targets.length - 1] as Target;
}

const backoffMsFirst = 250;
const backoffMsMax = 8_000;

/** Full jitter: anything up to a bound that doubles, so that callers who failed together do not come back together. */
const backoff = (attempts: number): number =>
  Math.random() * Math.min(backoffMsMax, backoffMsFirst * 2 ** (attempts - 1));
