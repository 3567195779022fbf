/**
 * A line for whoever waits at a terminal: it comes after a second, counts the seconds, and leaves nothing behind.
 */
import type { World } from "./world.ts";

const everyMs = 1_000;
const clearLine = "\r\u001b[K";

/** `say` changes the words of the line. */
export async function withProgress<T>(
  world: World,
  words: string,
  work: (say: (words: string) => void) => Promise<T>,
): Promise<T> {
  if (!world.isTerminal) return work(() => undefined);
  const startedAt = performance.now();
  let now = words;
  let isShown = false;
  const timer = setInterval(() => {
    isShown = true;
    const seconds = Math.round((performance.now() - startedAt) / 1_000);
    world.stderr(`${clearLine}${now} (${seconds} s)`);
  }, everyMs);
  try {
    return await work((said) => {
      now = said;
    });
  } finally {
    clearInterval(timer);
    if (isShown) world.stderr(clearLine);
  }
}
