/**
 * The users table.
 */
import { and, eq, isNull, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { users } from "../../db/schema.ts";
import type { UserRole } from "./contract.ts";

export type UserRow = typeof users.$inferSelect;

/** False when the e-mail address is taken. */
export async function insertUser(
  db: Db,
  user: { id: string; email: string; role: UserRole; passwordHash: string | null },
): Promise<boolean> {
  const rows = await db.insert(users).values(user).onConflictDoNothing().returning({ id: users.id });
  return rows.length === 1;
}

export async function findUserByEmail(db: Db, email: string): Promise<UserRow | undefined> {
  const rows = await db.select().from(users).where(sql`lower(${users.email}) = lower(${email})`);
  return rows[0];
}

export async function listUsers(db: Db): Promise<UserRow[]> {
  return db.select().from(users).orderBy(users.id);
}

/** False when the user was disabled already. */
export async function disableUser(db: Db, id: string): Promise<boolean> {
  const rows = await db
    .update(users)
    .set({ disabledAt: sql`now()`, version: sql`${users.version} + 1` })
    .where(and(eq(users.id, id), isNull(users.disabledAt)))
    .returning({ id: users.id });
  return rows.length === 1;
}

export async function updatePassword(db: Db, id: string, passwordHash: string): Promise<void> {
  await db
    .update(users)
    .set({ passwordHash, version: sql`${users.version} + 1` })
    .where(eq(users.id, id));
}
