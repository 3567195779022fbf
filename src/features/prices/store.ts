/**
 * The table price_overrides: rows are added, and never changed.
 */
import { asc, desc, lt, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { priceOverrides } from "../../db/schema.ts";

export type OverrideRow = typeof priceOverrides.$inferSelect;

/** One after the other, so that what was set last is what has the highest number. */
export async function lockOverrides(tx: Db): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended('price_overrides', 0))`);
}

/** The database's clock. Not `now()`: a transaction that waited for others would still live in the past. */
export async function readNow(tx: Db): Promise<Date> {
  const [row] = await tx.execute<{ ms: string }>(
    sql`select floor(extract(epoch from statement_timestamp()) * 1000)::text as ms`,
  );
  return new Date(Number(row?.ms));
}

export async function insertOverride(
  tx: Db,
  row: Omit<OverrideRow, "id" | "createdAt">,
): Promise<OverrideRow> {
  const [inserted] = await tx.insert(priceOverrides).values(row).returning();
  if (inserted === undefined) throw new Error("an insert returned no row");
  return inserted;
}

/** Grows with each row, and with nothing else. */
export async function countOverrides(db: Db): Promise<number> {
  const [row] = await db.select({ count: sql<number>`count(*)::int` }).from(priceOverrides);
  return row?.count ?? 0;
}

/** In the order in which they were set. */
export const readOverrides = (db: Db): Promise<OverrideRow[]> =>
  db.select().from(priceOverrides).orderBy(asc(priceOverrides.id));

/** The latest first, from behind `after`. */
export const listOverrides = (
  db: Db,
  asked: { after: number | null; rowsMax: number },
): Promise<OverrideRow[]> =>
  db
    .select()
    .from(priceOverrides)
    .where(asked.after === null ? undefined : lt(priceOverrides.id, asked.after))
    .orderBy(desc(priceOverrides.id))
    .limit(asked.rowsMax);
