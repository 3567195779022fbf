/**
 * How rows go whose time is over: a piece at a time, because as one statement it could take longer than a statement may
 * and hold what others wait for. Which rows those are is said where their table is written.
 */
import { type SQL, sql } from "drizzle-orm";
import type { PgTable } from "drizzle-orm/pg-core";
import type { Db } from "./database.ts";

export type SweepTerms = {
  /** Only counts. */
  readonly dryRun: boolean;
  /** Ends it after the piece in hand. */
  readonly signal?: AbortSignal | undefined;
};

export const forGood: SweepTerms = { dryRun: false };

const pieceRows = 20_000;

/** How many rows went, or would go. `order`: which go first. */
export async function sweepRows(
  db: Db,
  { table, isOver, order }: { table: PgTable; isOver: SQL; order?: SQL },
  { dryRun, signal }: SweepTerms,
): Promise<number> {
  if (dryRun) return countOf(db, sql`select count(*)::int as rows from ${table} where ${isOver}`);
  const first = order === undefined ? sql`` : sql` order by ${order}`;
  // Asked twice: a row that became somebody's meanwhile stays.
  const piece = sql`
    with gone as (
      delete from ${table} where ${isOver}
        and ctid = any(array(select ctid from ${table} where ${isOver}${first} limit ${pieceRows}))
      returning 1
    ) select count(*)::int as rows from gone`;
  for (let swept = 0; ; ) {
    const rows = await countOf(db, piece);
    swept += rows;
    if (rows < pieceRows || signal?.aborted) return swept;
  }
}

async function countOf(db: Db, statement: SQL): Promise<number> {
  const [row] = await db.execute<{ rows: number }>(statement);
  return row?.rows ?? 0;
}
