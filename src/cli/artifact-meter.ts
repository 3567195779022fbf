/**
 * How far a transfer is, for whoever waits at a terminal: a bar that comes after a second, and leaves nothing behind. Away
 * from a terminal nothing is said.
 */
import { printable } from "./print.ts";
import type { World } from "./world.ts";

export type Meter = {
  /** What is done from now on, and of how many bytes. */
  begin(words: string, sizeBytes: number | null): void;
  at(doneBytes: number): void;
  /** A line that stays. */
  say(line: string): void;
};

const firstMs = 1_000;
const everyMs = 250;
const clearLine = "\r\u001b[K";

export async function withMeter<T>(world: World, work: (meter: Meter) => Promise<T>): Promise<T> {
  if (!world.isTerminal) return work(silent);
  const startedAt = performance.now();
  let now: Shown = { words: "", sizeBytes: null, fromBytes: 0, doneBytes: 0, sinceMs: startedAt };
  let isShown = false;
  const clear = (): void => {
    if (isShown) world.stderr(clearLine);
    isShown = false;
  };
  const timer = setInterval(() => {
    if (performance.now() - startedAt < firstMs) return;
    isShown = true;
    world.stderr(clearLine + lineOf(now, performance.now()));
  }, everyMs);
  try {
    return await work({
      begin(words, sizeBytes) {
        now = { words, sizeBytes, fromBytes: 0, doneBytes: 0, sinceMs: performance.now() };
      },
      at(doneBytes) {
        // What was there before is no part of the rate; nor is what has to come once more.
        if (now.doneBytes === 0 || doneBytes < now.doneBytes)
          now = { ...now, fromBytes: doneBytes, sinceMs: performance.now() };
        now.doneBytes = doneBytes;
      },
      say(line) {
        clear();
        world.stderr(`${printable(line)}\n`);
      },
    });
  } finally {
    clearInterval(timer);
    clear();
  }
}

const silent: Meter = { begin: () => undefined, at: () => undefined, say: () => undefined };

type Shown = {
  words: string;
  sizeBytes: number | null;
  fromBytes: number;
  doneBytes: number;
  sinceMs: number;
};

const barCharacters = 24;

/** Shorter than a terminal is wide: a line that wraps cannot be taken back. */
function lineOf({ words, sizeBytes, fromBytes, doneBytes, sinceMs }: Shown, nowMs: number): string {
  const seconds = Math.max(0.001, (nowMs - sinceMs) / 1_000);
  const rate = `${bytesText((doneBytes - fromBytes) / seconds)}/s`;
  if (sizeBytes === null) return `${words}  ${bytesText(doneBytes)}  ${rate}`;
  const part = sizeBytes === 0 ? 1 : Math.min(1, doneBytes / sizeBytes);
  const filled = Math.floor(part * barCharacters);
  const bar = "#".repeat(filled) + "-".repeat(barCharacters - filled);
  const percent = `${Math.floor(part * 100)}%`.padStart(4);
  return `${words}  [${bar}] ${percent}  ${bytesText(doneBytes)} of ${bytesText(sizeBytes)}  ${rate}`;
}

const units = ["B", "kB", "MB", "GB", "TB"] as const;

/** In powers of 1,000, with three digits or so. */
export function bytesText(bytes: number): string {
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < units.length - 1) [value, unit] = [value / 1_000, unit + 1];
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}
