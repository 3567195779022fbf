/**
 * Reads of the ledger. It is written in one place only, the merge (merge.sql).
 */
import { and, asc, eq, inArray, ne, type SQL, sql } from "drizzle-orm";
import type { PgColumn } from "drizzle-orm/pg-core";
import type { Db } from "../../db/database.ts";
import { attempts, requests } from "../../db/schema.ts";

export type RequestRecord = typeof requests.$inferSelect;
export type AttemptRecord = typeof attempts.$inferSelect;

/** Whose rows may be seen. */
export type Sight =
  | { readonly of: "all" }
  | { readonly of: "project" | "client"; readonly id: string }
  /** Of the hours the project alone has an index. */
  | { readonly of: "session"; readonly id: string; readonly projectId: string }
  /** Their own, and those of the projects they belong to. */
  | { readonly of: "person"; readonly id: string; readonly projectIds: readonly string[] };

export async function findRequest(db: Db, sight: Sight, id: string): Promise<RequestRecord | undefined> {
  const [row] = await db
    .select()
    .from(requests)
    .where(and(eq(requests.id, id), ne(requests.state, "open"), sightOf(sight, requests)));
  return row;
}

export async function listAttempts(db: Db, requestIds: readonly string[]): Promise<AttemptRecord[]> {
  if (requestIds.length === 0) return [];
  return await db
    .select()
    .from(attempts)
    .where(sql`${attempts.requestId} = any(${sql.param([...requestIds])}::text[])`)
    .orderBy(asc(attempts.requestId), asc(attempts.attempt));
}

type Owned = { projectId: PgColumn; sessionId: PgColumn; clientId: PgColumn; userId: PgColumn };

export function sightOf(sight: Sight, table: Owned): SQL | undefined {
  if (sight.of === "all") return undefined;
  if (sight.of === "session")
    return and(isOf(table.projectId, sight.projectId), isOf(table.sessionId, sight.id));
  if (sight.of !== "person") return isOf(sight.of === "project" ? table.projectId : table.clientId, sight.id);
  const own = isOf(table.userId, sight.id);
  if (sight.projectIds.length === 0) return own;
  return sql`(${own} or (${inArray(table.projectId, [...sight.projectIds])} and ${table.projectId} <> ''))`;
}

/** Said twice, because indexes of roll-ups leave out what is empty, and a prepared plan does not know the value. */
export const isOf = (column: PgColumn, id: string): SQL => sql`(${column} = ${id} and ${column} <> '')`;

/** Of these projects, those whose spending was told within the last second; nobody else tells of them meanwhile. */
export async function listTicked(tx: Db, projectIds: readonly string[]): Promise<string[]> {
  const asked = [...projectIds].sort();
  await tx.execute(sql`
    select pg_advisory_xact_lock(hashtextextended('usage.tick ' || id, 0))
    from unnest(${sql.param(asked)}::text[]) with ordinality as asked (id, place) order by place`);
  const found = await tx.execute<{ id: string }>(sql`
    select distinct project_id as id from events
    where type = 'usage.tick' and project_id = any(${sql.param(asked)}::text[])
      and at > now() - interval '950 milliseconds'`);
  return [...found].map(({ id }) => id);
}
