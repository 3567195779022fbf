/**
 * The table mcp_pins: one row for each tool that an upstream ever showed.
 */
import { and, asc, eq, gt, inArray, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { mcpPins } from "../../db/schema.ts";

export type PinRow = typeof mcpPins.$inferSelect;

/** Whoever compares an upstream's list with its rows, or decides about one of them, does so alone. */
export const lockUpstream = (tx: Db, alias: string) =>
  tx.execute(sql`select pg_advisory_xact_lock(hashtextextended('specgate mcp upstream ' || ${alias}, 0))`);

/** Changes with each row that is added, changed or deleted. */
export async function findPinsStamp(db: Db): Promise<string> {
  const [row] = await db
    .select({
      stamp: sql<string>`concat_ws(' ', count(*), sum(${mcpPins.version}), extract(epoch from max(${mcpPins.changedAt})))`,
    })
    .from(mcpPins);
  return row?.stamp ?? "";
}

/** By name. */
export const listPins = (db: Db, aliases: readonly string[]): Promise<PinRow[]> =>
  db
    .select()
    .from(mcpPins)
    .where(inArray(mcpPins.alias, [...aliases]))
    .orderBy(asc(mcpPins.alias), asc(mcpPins.tool));

/** By name, from behind `after`. */
export const pagePins = (
  db: Db,
  alias: string,
  asked: { after: string; rowsMax: number },
): Promise<PinRow[]> =>
  db
    .select()
    .from(mcpPins)
    .where(and(eq(mcpPins.alias, alias), gt(mcpPins.tool, asked.after)))
    .orderBy(asc(mcpPins.tool))
    .limit(asked.rowsMax);

export async function findPin(db: Db, alias: string, tool: string): Promise<PinRow | undefined> {
  const [row] = await db
    .select()
    .from(mcpPins)
    .where(and(eq(mcpPins.alias, alias), eq(mcpPins.tool, tool)));
  return row;
}

export async function insertPin(tx: Db, row: typeof mcpPins.$inferInsert): Promise<void> {
  await tx.insert(mcpPins).values(row);
}

type PinChange = Partial<
  Pick<PinRow, "status" | "pin" | "definition" | "seenPin" | "seenDefinition" | "decidedBy">
>;
type Moments = { changedAt?: true; decidedAt?: true; goneAt?: boolean };

/** `moments`: which of them are now; `goneAt: false` takes it away. */
export async function updatePin(
  tx: Db,
  { alias, tool }: Pick<PinRow, "alias" | "tool">,
  change: PinChange,
  { changedAt, decidedAt, goneAt }: Moments,
): Promise<PinRow> {
  const now = sql`now()`;
  const [row] = await tx
    .update(mcpPins)
    .set({
      ...change,
      ...(changedAt === undefined ? {} : { changedAt: now }),
      ...(decidedAt === undefined ? {} : { decidedAt: now }),
      ...(goneAt === undefined ? {} : { goneAt: goneAt ? now : null }),
      version: sql`${mcpPins.version} + 1`,
    })
    .where(and(eq(mcpPins.alias, alias), eq(mcpPins.tool, tool)))
    .returning();
  if (row === undefined) throw new Error("an update returned no row");
  return row;
}

export async function deletePin(tx: Db, alias: string, tool: string): Promise<void> {
  await tx.delete(mcpPins).where(and(eq(mcpPins.alias, alias), eq(mcpPins.tool, tool)));
}
