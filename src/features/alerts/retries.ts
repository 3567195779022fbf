/**
 * When a delivery is tried again: soon at first, then ever later, for a day; not at the same moment as everybody else's.
 */
const [second, minute, hour] = [1_000, 60_000, 3_600_000];

/** The suggestion of Standard Webhooks; the last one goes on. */
const delaysMs = [5 * second, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour];

/** Counted from when the delivery was made. The last try is at its end, whatever the delays add up to. */
export const triedForMs = 24 * hour;

const spread = 0.2;

/** Milliseconds after the `tries`th try, the first being 1. `random` is from 0 up to 1. */
export function delayAfter(tries: number, random: number): number {
  const delay = delaysMs[Math.min(Math.max(1, tries), delaysMs.length) - 1] ?? 0;
  return Math.round(delay * (1 - spread + 2 * spread * random));
}
