/**
 * Folds the hours of days that are over into days and months, so that a long span is summed from few rows.
 *
 * A little at a time (store-folds.ts), because nobody merges meanwhile; what comes for a folded day later, the merge adds
 * to its days and months itself (merge.sql). So at every moment a folded day equals its hours. Any instance may fold.
 */
import type { Database } from "../../db/database.ts";
import type { Log } from "../../platform/log.ts";
import { keepRounds, type Rounds } from "../../platform/rounds.ts";
import { foldPiece } from "./store-folds.ts";

export type FoldTerms = {
  /** Ends it after the piece in hand. */
  readonly signal?: AbortSignal;
  /** For merges, which wait while a piece is folded. */
  readonly pauseMs: number;
  /** In one piece; some tens of milliseconds. */
  readonly rows?: number;
};

const rowsUsual = 500;

/** How many days were folded. A day is over an hour after its end, by the database's clock. */
export async function foldDays(
  database: Pick<Database, "transaction">,
  { signal, pauseMs, rows = rowsUsual }: FoldTerms,
): Promise<number> {
  let folded = 0;
  while (!signal?.aborted) {
    const { days, isDone } = await foldPiece(database, rows);
    folded += days;
    if (isDone) break;
    await Bun.sleep(pauseMs);
  }
  return folded;
}

const firstMs = 90_000;
const everyMs = 3_600_000;

/** Looks every hour whether a day is over. */
export const keepFolding = (database: Pick<Database, "transaction">, log: Log): Rounds =>
  keepRounds({ firstMs, everyMs }, async (signal) => {
    try {
      const days = await foldDays(database, { signal, pauseMs: 100 });
      if (days > 0) log.info("hours of usage were folded", { days });
    } catch (error) {
      log.warn("hours of usage could not be folded right now", { error });
    }
  });
