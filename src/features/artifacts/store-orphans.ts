/** What the database says of objects that were found in a store. */
import { and, asc, inArray, ne, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { artifacts, projects, users } from "../../db/schema.ts";

/** Of these artifacts, those that have a row, each with whether its object is to be gone. */
export async function findPurged(db: Db, ids: readonly string[]): Promise<Map<string, boolean>> {
  const rows = await db
    .select({ id: artifacts.id, status: artifacts.status })
    .from(artifacts)
    .where(inArray(artifacts.id, [...ids]));
  return new Map(rows.map(({ id, status }) => [id, status === "purged"]));
}

/** Of these projects and people, those that there are. */
export async function listOwners(db: Db, ids: readonly string[]): Promise<Set<string>> {
  const asked = [...new Set(ids)];
  const found = await Promise.all(
    [projects, users].map((table) => db.select({ id: table.id }).from(table).where(inArray(table.id, asked))),
  );
  return new Set(found.flat().map(({ id }) => id));
}

export type Elsewhere = { place: string; count: number; bytes: number };

/** What was put into other stores than the one in use, and is not purged: nobody serves it, and nobody removes it. */
export function listElsewhere(db: Db, place: string): Promise<Elsewhere[]> {
  return db
    .select({
      place: artifacts.place,
      count: sql`count(*)`.mapWith(Number),
      bytes: sql`sum(${artifacts.sizeBytes})`.mapWith(Number),
    })
    .from(artifacts)
    .where(and(ne(artifacts.status, "purged"), ne(artifacts.place, place)))
    .groupBy(artifacts.place)
    .orderBy(asc(artifacts.place));
}
