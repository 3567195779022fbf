/**
 * The projects table.
 */
import type { Db } from "../../db/database.ts";
import { projects } from "../../db/schema.ts";

export type ProjectRow = typeof projects.$inferSelect;

export async function insertProject(db: Db, project: { id: string; name: string }): Promise<void> {
  await db.insert(projects).values(project);
}

export async function listProjects(db: Db): Promise<ProjectRow[]> {
  return db.select().from(projects).orderBy(projects.id);
}
