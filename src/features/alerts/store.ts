/**
 * The table alert_hooks.
 */
import { and, desc, eq, isNull, lt, notInArray, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { alertHooks } from "../../db/schema.ts";
import { type SweepTerms, sweepRows } from "../../db/sweep.ts";

export type HookRow = typeof alertHooks.$inferSelect;

const isLive = isNull(alertHooks.endedAt);

/** Whoever counts hooks and makes one does so alone. */
export const lockHooks = (tx: Db) =>
  tx.execute(sql`select pg_advisory_xact_lock(hashtextextended('specgate alert hooks', 0))`);

export const insertHook = async (tx: Db, row: typeof alertHooks.$inferInsert): Promise<HookRow> =>
  one(await tx.insert(alertHooks).values(row).returning());

export async function findHook(db: Db, id: string): Promise<HookRow | undefined> {
  const [row] = await db
    .select()
    .from(alertHooks)
    .where(and(eq(alertHooks.id, id), isLive));
  return row;
}

/** Locked until the transaction ends. */
export async function lockHook(tx: Db, id: string): Promise<HookRow | undefined> {
  const [row] = await tx
    .select()
    .from(alertHooks)
    .where(and(eq(alertHooks.id, id), isLive))
    .for("update");
  return row;
}

/** Newest first, from behind `after`. */
export const listHooks = (db: Db, asked: { after: string | null; rowsMax: number }): Promise<HookRow[]> =>
  db
    .select()
    .from(alertHooks)
    .where(and(isLive, asked.after === null ? undefined : lt(alertHooks.id, asked.after)))
    .orderBy(desc(alertHooks.id))
    .limit(asked.rowsMax);

export const listLiveHooks = (db: Db): Promise<HookRow[]> => db.select().from(alertHooks).where(isLive);

/** Ids of the hooks whose secret comes from none of these keys. */
export async function listUnsigned(db: Db, kids: readonly string[]): Promise<string[]> {
  const rows = await db
    .select({ id: alertHooks.id })
    .from(alertHooks)
    .where(and(isLive, notInArray(alertHooks.kid, [...kids])));
  return rows.map(({ id }) => id);
}

/** The row is locked already. */
export const updateHook = async (
  tx: Db,
  id: string,
  change: Partial<Pick<HookRow, "url" | "events">>,
): Promise<HookRow> =>
  one(
    await tx
      .update(alertHooks)
      .set({ ...change, version: sql`${alertHooks.version} + 1` })
      .where(eq(alertHooks.id, id))
      .returning(),
  );

export const endHook = async (tx: Db, id: string): Promise<HookRow> =>
  one(
    await tx
      .update(alertHooks)
      .set({ endedAt: sql`now()`, version: sql`${alertHooks.version} + 1` })
      .where(eq(alertHooks.id, id))
      .returning(),
  );

export const sweepHooks = (db: Db, before: Date, terms: SweepTerms): Promise<number> =>
  sweepRows(db, { table: alertHooks, isOver: lt(alertHooks.endedAt, before) }, terms);

function one<Row>(rows: Row[]): Row {
  const [row] = rows;
  if (row === undefined) throw new Error("a statement returned no row");
  return row;
}
