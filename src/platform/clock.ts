/**
 * The clock, handed in so that tests can move it. Durations come from `monotonic`, never from `now`.
 */
export type Clock = {
  /** Milliseconds since the epoch; never goes back within one process, even if the wall clock does. */
  now(): number;
  /** Milliseconds of a clock that only goes forward. */
  monotonic(): number;
};

export function systemClock(): Clock {
  let last = 0;
  return {
    now() {
      last = Math.max(last, Date.now());
      return last;
    },
    monotonic: () => performance.now(),
  };
}

/** RFC 3339 in UTC with milliseconds. */
export const rfc3339 = (ms: number): string => new Date(ms).toISOString();
