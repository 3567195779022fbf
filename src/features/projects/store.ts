/**
 * The tables projects and project_members.
 */
import { and, asc, eq, gt, inArray, isNull, ne, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { projectMembers, projects, users } from "../../db/schema.ts";
import type { ProjectRole } from "../../platform/scopes.ts";

export type ProjectRow = typeof projects.$inferSelect;
export type MemberRow = typeof projectMembers.$inferSelect;

export async function insertProject(db: Db, project: { id: string; name: string }): Promise<ProjectRow> {
  const [row] = await db.insert(projects).values(project).returning();
  if (row === undefined) throw new Error("an insert returned no row");
  return row;
}

/** From behind `after`; only these, unless `ids` is null. */
export async function listProjects(
  db: Db,
  page: { after: string | null; rowsMax: number; ids: string[] | null } = {
    after: null,
    rowsMax: 1_000_000,
    ids: null,
  },
): Promise<ProjectRow[]> {
  const { after, rowsMax, ids } = page;
  return db
    .select()
    .from(projects)
    .where(
      and(
        after === null ? undefined : gt(projects.id, after),
        ids === null ? undefined : inArray(projects.id, ids),
      ),
    )
    .orderBy(asc(projects.id))
    .limit(rowsMax);
}

export async function findProject(db: Db, id: string): Promise<ProjectRow | undefined> {
  const rows = await db.select().from(projects).where(eq(projects.id, id));
  return rows[0];
}

/** Locked until the transaction ends: members and the project change one after the other. */
export async function lockProject(tx: Db, id: string): Promise<ProjectRow | undefined> {
  // Whoever writes in a session of it is not held up, and holds nobody up.
  const rows = await tx.select().from(projects).where(eq(projects.id, id)).for("no key update");
  return rows[0];
}

export async function updateProject(
  tx: Db,
  id: string,
  change: Partial<Pick<ProjectRow, "name" | "approvalsSelf" | "archivedAt">>,
): Promise<ProjectRow | undefined> {
  const rows = await tx
    .update(projects)
    .set({ ...change, version: sql`${projects.version} + 1` })
    .where(and(eq(projects.id, id), isNull(projects.archivedAt)))
    .returning();
  return rows[0];
}

export type MemberLine = { member: MemberRow; email: string };

export async function listMembers(
  db: Db,
  asked: { projectId: string; after: string | null; rowsMax: number },
): Promise<MemberLine[]> {
  return db
    .select({ member: projectMembers, email: users.email })
    .from(projectMembers)
    .innerJoin(users, eq(users.id, projectMembers.userId))
    .where(
      and(
        eq(projectMembers.projectId, asked.projectId),
        asked.after === null ? undefined : gt(projectMembers.userId, asked.after),
      ),
    )
    .orderBy(asc(projectMembers.userId))
    .limit(asked.rowsMax);
}

export async function findMember(db: Db, projectId: string, userId: string): Promise<MemberRow | undefined> {
  const rows = await db
    .select()
    .from(projectMembers)
    .where(and(eq(projectMembers.projectId, projectId), eq(projectMembers.userId, userId)));
  return rows[0];
}

/** A person who may be made a member: undefined when there is none, or they are disabled. */
export async function findPerson(db: Db, userId: string): Promise<{ email: string } | undefined> {
  const rows = await db
    .select({ email: users.email })
    .from(users)
    .where(and(eq(users.id, userId), isNull(users.disabledAt)));
  return rows[0];
}

export async function upsertMember(
  tx: Db,
  member: { projectId: string; userId: string; role: ProjectRole },
): Promise<MemberRow> {
  const [row] = await tx
    .insert(projectMembers)
    .values(member)
    .onConflictDoUpdate({
      target: [projectMembers.projectId, projectMembers.userId],
      set: { role: member.role, version: sql`${projectMembers.version} + 1` },
    })
    .returning();
  if (row === undefined) throw new Error("an upsert returned no row");
  return row;
}

export async function deleteMember(tx: Db, projectId: string, userId: string): Promise<void> {
  await tx
    .delete(projectMembers)
    .where(and(eq(projectMembers.projectId, projectId), eq(projectMembers.userId, userId)));
}

/** Besides this person, and only those who can still act. */
export async function countOtherOwners(tx: Db, projectId: string, userId: string): Promise<number> {
  const rows = await tx
    .select({ userId: projectMembers.userId })
    .from(projectMembers)
    .innerJoin(users, eq(users.id, projectMembers.userId))
    .where(
      and(
        eq(projectMembers.projectId, projectId),
        ne(projectMembers.userId, userId),
        eq(projectMembers.role, "owner"),
        isNull(users.disabledAt),
      ),
    );
  return rows.length;
}
