/**
 * The table mcp_policies, in which nothing is ever changed: each write of a policy is a row of its own.
 */
import { and, asc, eq, gt, inArray, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { apiKeys, clients, mcpPolicies, users } from "../../db/schema.ts";
import { storable } from "../../db/storable.ts";

type Row = typeof mcpPolicies.$inferSelect;

const isNewest = sql`mcp_policies.revision =
  (select max(other.revision) from mcp_policies other where other.principal = mcp_policies.principal)`;

/** The newest revision of each that has one. */
export const findPolicies = (db: Db, principals: readonly string[]): Promise<Row[]> =>
  db
    .select()
    .from(mcpPolicies)
    .where(and(inArray(mcpPolicies.principal, [...principals]), isNewest));

/** Those that have rules, in the order of their principals, from behind `after`. */
export const listPolicies = (db: Db, after: string | null, rowsMax: number): Promise<Row[]> =>
  db
    .select()
    .from(mcpPolicies)
    .where(
      and(
        isNewest,
        sql`jsonb_array_length(${mcpPolicies.rules}) > 0`,
        after === null ? undefined : gt(mcpPolicies.principal, after),
      ),
    )
    .orderBy(asc(mcpPolicies.principal))
    .limit(rowsMax);

/** Until the transaction ends nobody else writes a policy of this principal. */
export async function lockPolicy(tx: Db, principal: string): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`mcp_policy ${principal}`}, 0))`);
}

export async function insertPolicy(tx: Db, row: typeof mcpPolicies.$inferInsert): Promise<void> {
  await tx.insert(mcpPolicies).values(row);
}

/** Whether there is, or ever was, somebody or something of that id. */
export async function isPrincipal(db: Db, id: string): Promise<boolean> {
  if (storable(id) !== id) return false;
  if (id.startsWith("usr_")) return isThere(db, users, id);
  return isThere(db, id.startsWith("key_") ? apiKeys : clients, id);
}

async function isThere(db: Db, table: typeof users | typeof apiKeys | typeof clients, id: string) {
  return (await db.select({ id: table.id }).from(table).where(eq(table.id, id))).length > 0;
}
