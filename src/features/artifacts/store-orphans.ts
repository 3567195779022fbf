/** What the database says of objects that were found in a store. */
import { and, inArray, ne } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { artifacts, projects, users } from "../../db/schema.ts";

/** Of these artifacts, those whose object may still be there. */
export async function listKept(db: Db, ids: readonly string[]): Promise<Set<string>> {
  const rows = await db
    .select({ id: artifacts.id })
    .from(artifacts)
    .where(and(inArray(artifacts.id, [...ids]), ne(artifacts.status, "purged")));
  return new Set(rows.map(({ id }) => id));
}

/** Of these projects and people, those that there are. */
export async function listOwners(db: Db, ids: readonly string[]): Promise<Set<string>> {
  const asked = [...new Set(ids)];
  const found = await Promise.all(
    [projects, users].map((table) => db.select({ id: table.id }).from(table).where(inArray(table.id, asked))),
  );
  return new Set(found.flat().map(({ id }) => id));
}
