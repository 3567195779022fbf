/**
 * Folds the hours of days that are over into days and months, so that a long span is summed from few rows.
 *
 * One day is one transaction, during which nobody merges; what comes for a folded day later, the merge adds to its
 * days and months itself (merge.sql). So at every moment a folded day equals its hours. Any instance may fold.
 */
import type { Database } from "../../db/database.ts";
import type { Log } from "../../platform/log.ts";
import { findNextDay, foldDay } from "./store-folds.ts";

export type FoldTerms = {
  /** Ends it after the day in hand. */
  readonly signal?: AbortSignal;
  /** For merges, which wait while a day is folded. */
  readonly pauseMs: number;
};

/** How many days were folded. A day is over an hour after its end, by the database's clock. */
export async function foldDays(
  database: Pick<Database, "db" | "transaction">,
  { signal, pauseMs }: FoldTerms,
): Promise<number> {
  for (let folded = 0; ; folded++) {
    const day = await findNextDay(database.db);
    if (day === null || signal?.aborted) return folded;
    if (!(await database.transaction((tx) => foldDay(tx, day)))) return folded;
    await Bun.sleep(pauseMs);
  }
}

const firstMs = 90_000;
const everyMs = 3_600_000;

/** Looks every hour whether a day is over. */
export function keepFolding(database: Pick<Database, "db" | "transaction">, log: Log) {
  const stopping = new AbortController();
  let running: Promise<void> | null = null;
  const run = async () => {
    try {
      const days = await foldDays(database, { signal: stopping.signal, pauseMs: 250 });
      if (days > 0) log.info("hours of usage were folded", { days });
    } catch (error) {
      log.warn("hours of usage could not be folded right now", { error });
    }
  };
  const begin = () => {
    running ??= run().finally(() => {
      running = null;
    });
  };
  const first = setTimeout(begin, firstMs);
  const hourly = setInterval(begin, everyMs);
  return {
    /** Resolves when the day in hand is done. */
    async stop(): Promise<void> {
      clearTimeout(first);
      clearInterval(hourly);
      stopping.abort();
      await running;
    },
  };
}
