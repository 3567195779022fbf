/**
 * Raises `meter.lag` when calls wait too long for their rows in the database: at most once an hour for each instance.
 */
import type { RaiseAlarm } from "../../db/alarms.ts";
import { type Clock, rfc3339 } from "../../platform/clock.ts";

export type LagNeeds = {
  lag: () => { records: number; seconds: number };
  raise: RaiseAlarm;
  instance: string;
  clock: Pick<Clock, "now">;
};

const lagSecondsMax = 30;
const pauseMs = 5_000;

export function watchLag(needs: LagNeeds) {
  const timer = setInterval(() => raiseLag(needs), pauseMs);
  return { stop: () => clearInterval(timer) };
}

export function raiseLag({ lag, raise, instance, clock }: LagNeeds): void {
  const { records, seconds } = lag();
  if (seconds <= lagSecondsMax) return;
  const hour = rfc3339(clock.now()).slice(0, 13);
  const payload = { instance, records, seconds: Math.round(seconds) };
  raise({ type: "meter.lag", once: `meter.lag:${instance}:${hour}`, payload });
}
