import { expect, test } from "bun:test";
import fc from "fast-check";
import { systemClock } from "../../platform/clock.ts";
import { defaultTimeouts } from "../../platform/config.ts";
import { Breakers } from "./breakers.ts";
import { firstStep, nextStep, type Step } from "./choice.ts";
import type { Route, Target } from "./route.ts";

const healthy = () => new Breakers({ raise: () => {}, clock: systemClock(), providers: () => ({}) });
const target = (model: string, weight = 1): Target => ({ provider: "p", model, config: null, weight });

/** The models asked when each attempt fails. */
function asked(
  route: Route,
  breakers: Breakers,
  leftMs: number,
  retryAfterMs: number | null,
  mayRepeat = true,
): Step[] {
  const steps: Step[] = [];
  let step = firstStep(route, breakers);
  while (step !== null) {
    steps.push(step);
    const againAt = mayRepeat ? (retryAfterMs ?? 0) : Number.POSITIVE_INFINITY;
    const tried = steps.map(({ target }) => ({ target, againAt }));
    step = nextStep(route, { tried, now: 0, leftMs }, breakers);
  }
  return steps;
}

const routes: fc.Arbitrary<Route> = fc
  .record({
    targets: fc.integer({ min: 0, max: 4 }),
    fallbacks: fc.integer({ min: 0, max: 4 }),
    retries: fc.integer({ min: 0, max: 6 }),
  })
  .map(({ targets, fallbacks, retries }) => ({
    targets: Array.from({ length: targets }, (_, n) => target(`target ${n}`, n + 1)),
    fallbacks: Array.from({ length: fallbacks }, (_, n) => target(`fallback ${n}`)),
    retries,
    timeouts: defaultTimeouts,
  }));

test("targets are asked as often as retries allow, each once before any twice, then each fallback once", () => {
  fc.assert(
    fc.property(routes, (route) => {
      const steps = asked(route, healthy(), 60_000, null);
      const models = steps.map((step) => step.target.model);
      const atTargets = models.filter((model) => model.startsWith("target"));
      const count = route.targets.length === 0 ? 0 : route.retries + 1;
      expect(atTargets.length).toBe(count);
      expect(models.slice(count)).toEqual(route.fallbacks.map(({ model }) => model));
      const firsts = atTargets.slice(0, route.targets.length);
      expect(new Set(firsts).size).toBe(firsts.length);
      for (const [index, { pauseMs, target }] of steps.entries()) {
        const most =
          index === 0 || !route.targets.includes(target) ? 0 : Math.min(8_000, 250 * 2 ** (index - 1));
        expect(pauseMs).toBeLessThanOrEqual(most);
      }
    }),
  );
});

test("without time left nobody is asked, and a wait that does not fit leads to the fallbacks", () => {
  fc.assert(
    fc.property(routes, (route) => {
      expect(asked(route, healthy(), 0, null).length).toBeLessThanOrEqual(1);
      for (const { target, pauseMs } of asked(route, healthy(), 30_000, 31_000).slice(1))
        expect(pauseMs < 30_000 && (route.targets.length > 1 || route.fallbacks.includes(target))).toBe(true);
    }),
  );
});

test("who asks to be left alone is waited for when everybody else has been asked", () => {
  fc.assert(
    fc.property(routes, (route) => {
      const steps = asked(route, healthy(), 60_000, 9_000);
      const first = steps.findIndex(({ pauseMs }) => pauseMs === 9_000);
      const isLeft = route.targets.length > 0 && route.retries >= route.targets.length;
      expect(first >= 0).toBe(isLeft);
      const before = new Set(steps.slice(0, Math.max(0, first)).map(({ target }) => target));
      if (isLeft) expect(before.size).toBe(route.targets.length + route.fallbacks.length);
    }),
  );
});

test("who would say the same again is asked once", () => {
  fc.assert(
    fc.property(routes, (route) => {
      const models = asked(route, healthy(), 60_000, null, false).map(({ target }) => target.model);
      expect(new Set(models).size).toBe(models.length);
      expect(models.length).toBe(Math.min(route.targets.length, route.retries + 1) + route.fallbacks.length);
    }),
  );
});
