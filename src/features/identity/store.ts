/**
 * The tables users, sign_ins and setup_links.
 */
import { and, asc, count, desc, eq, gt, isNull, lt, ne, or, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { clients, setupLinks, signIns, users } from "../../db/schema.ts";
import { type SweepTerms, sweepRows } from "../../db/sweep.ts";
import type { UserRole } from "./contract.ts";

export type UserRow = typeof users.$inferSelect;
export type SignInRow = typeof signIns.$inferSelect;

/** False when the e-mail address is taken. */
export async function insertUser(
  db: Db,
  user: { id: string; email: string; role: UserRole; passwordHash: string | null },
): Promise<boolean> {
  const rows = await db.insert(users).values(user).onConflictDoNothing().returning({ id: users.id });
  return rows.length === 1;
}

export async function findUser(db: Db, id: string): Promise<UserRow | undefined> {
  const rows = await db.select().from(users).where(eq(users.id, id));
  return rows[0];
}

/** Locked until the transaction ends. */
export async function lockUser(tx: Db, id: string): Promise<UserRow | undefined> {
  const rows = await tx.select().from(users).where(eq(users.id, id)).for("update");
  return rows[0];
}

export async function findUserByEmail(db: Db, email: string): Promise<UserRow | undefined> {
  const rows = await db.select().from(users).where(sql`lower(${users.email}) = lower(${email})`);
  return rows[0];
}

export async function findUserByOidc(db: Db, issuer: string, subject: string): Promise<UserRow | undefined> {
  const rows = await db
    .select()
    .from(users)
    .where(and(eq(users.oidcIssuer, issuer), eq(users.oidcSubject, subject)));
  return rows[0];
}

/** Of two first sign-ins through an identity provider the second waits here, and then finds what the first did. */
export async function lockLinks(tx: Db): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtext('specgate.oidc'))`);
}

/** False when the person has been disabled, linked or given another e-mail address since the row was read. */
export async function linkUser(
  tx: Db,
  user: UserRow,
  { issuer, subject }: { issuer: string; subject: string },
): Promise<boolean> {
  const rows = await tx
    .update(users)
    .set({ oidcIssuer: issuer, oidcSubject: subject, version: sql`${users.version} + 1` })
    .where(
      and(
        eq(users.id, user.id),
        eq(users.email, user.email),
        isNull(users.disabledAt),
        isNull(users.oidcIssuer),
      ),
    )
    .returning({ id: users.id });
  return rows.length === 1;
}

/** Ordered by id, from behind `after`. */
export async function listUsers(
  db: Db,
  page: { after: string | null; rowsMax: number } = { after: null, rowsMax: 1_000_000 },
): Promise<UserRow[]> {
  return db
    .select()
    .from(users)
    .where(page.after === null ? undefined : gt(users.id, page.after))
    .orderBy(asc(users.id))
    .limit(page.rowsMax);
}

export async function countUsers(db: Db): Promise<number> {
  const rows = await db.select({ n: count() }).from(users);
  return rows[0]?.n ?? 0;
}

/** Of two first administrators the second waits here, and then finds the first. */
export async function lockSetup(tx: Db): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtext('specgate.setup'))`);
}

/** Ids of the administrators who may still sign in, locked: of two who remove each other the second finds itself alone. */
export async function lockAdmins(tx: Db): Promise<string[]> {
  // Who is one changes while others wait for its row, and rows locked in two orders would stop each other.
  await tx.execute(sql`select pg_advisory_xact_lock(hashtext('specgate.admins'))`);
  const rows = await tx
    .select({ id: users.id })
    .from(users)
    .where(and(eq(users.role, "admin"), isNull(users.disabledAt)))
    .orderBy(asc(users.id))
    .for("update");
  return rows.map(({ id }) => id);
}

export type UserChange = Partial<
  Pick<UserRow, "email" | "role" | "passwordHash" | "disabledAt" | "oidcIssuer" | "oidcSubject">
>;

/** The row as it is then; undefined when the e-mail address is taken by another. */
export async function updateUser(tx: Db, id: string, change: UserChange): Promise<UserRow | undefined> {
  const { email } = change;
  const taken =
    email === undefined
      ? undefined
      : sql`not exists (select from users other where lower(other.email) = lower(${email}) and other.id <> ${id})`;
  const rows = await tx
    .update(users)
    .set({ ...change, version: sql`${users.version} + 1` })
    .where(and(eq(users.id, id), taken))
    .returning();
  return rows[0];
}

export async function insertSignIn(tx: Db, signIn: typeof signIns.$inferInsert): Promise<void> {
  await tx.insert(signIns).values(signIn);
}

export async function touchSignIn(
  db: Db,
  { cookieHash, now, idleSince }: { cookieHash: Uint8Array; now: Date; idleSince: Date },
): Promise<SignInRow | undefined> {
  const rows = await db
    .update(signIns)
    .set({ usedAt: now })
    .where(
      and(
        eq(signIns.cookieHash, cookieHash),
        isNull(signIns.endedAt),
        gt(signIns.expiresAt, now),
        gt(signIns.usedAt, idleSince),
      ),
    )
    .returning();
  return rows[0];
}

export async function prolongSignIn(
  tx: Db,
  id: string,
  times: { usedAt: Date; expiresAt: Date },
): Promise<void> {
  await tx.update(signIns).set(times).where(eq(signIns.id, id));
}

/** `userId`: only if it is that person's. */
export async function endSignIn(
  tx: Db,
  { id, userId, at }: { id: string; userId: string | undefined; at: Date },
): Promise<boolean> {
  const whose = userId === undefined ? undefined : eq(signIns.userId, userId);
  const rows = await tx
    .update(signIns)
    .set({ endedAt: at })
    .where(and(eq(signIns.id, id), isNull(signIns.endedAt), whose))
    .returning({ id: signIns.id });
  return rows.length === 1;
}

/** The ids of those that it ended. */
export async function endSignInsOf(
  tx: Db,
  { userId, exceptId, at }: { userId: string; exceptId: string | null; at: Date },
): Promise<string[]> {
  const rows = await tx
    .update(signIns)
    .set({ endedAt: at })
    .where(
      and(
        eq(signIns.userId, userId),
        isNull(signIns.endedAt),
        exceptId === null ? undefined : ne(signIns.id, exceptId),
      ),
    )
    .returning({ id: signIns.id });
  return rows.map(({ id }) => id);
}

export type SignInLine = { signIn: SignInRow; clientName: string | null };

const listedMax = 200;

export async function listSignIns(
  db: Db,
  { userId, now, idleSince }: { userId: string; now: Date; idleSince: Date },
): Promise<SignInLine[]> {
  return db
    .select({ signIn: signIns, clientName: clients.name })
    .from(signIns)
    .leftJoin(clients, eq(clients.id, signIns.clientId))
    .where(
      and(
        eq(signIns.userId, userId),
        isNull(signIns.endedAt),
        gt(signIns.expiresAt, now),
        or(isNull(signIns.cookieHash), gt(signIns.usedAt, idleSince)),
      ),
    )
    .orderBy(desc(signIns.createdAt))
    .limit(listedMax);
}

/** Apps' sign-ins stay longer: while there is one, a client that registered itself is somebody's. */
export async function sweepSignIns(db: Db, times: { before: Date; appsBefore: Date }, terms: SweepTerms) {
  const endedBy = (time: Date) =>
    sql`least(${signIns.expiresAt}, ${signIns.endedAt}) < ${time.toISOString()}::timestamptz`;
  const isOver = sql`((${signIns.clientId} is null and ${endedBy(times.before)}) or ${endedBy(times.appsBefore)})`;
  return {
    sign_ins: await sweepRows(db, { table: signIns, isOver }, terms),
    setup_links: await sweepRows(
      db,
      { table: setupLinks, isOver: lt(setupLinks.expiresAt, times.before) },
      terms,
    ),
  };
}

export async function insertSetupLink(db: Db, link: typeof setupLinks.$inferInsert): Promise<void> {
  await db.insert(setupLinks).values(link);
}

export async function hasSetupLink(db: Db, hash: Uint8Array, now: Date): Promise<boolean> {
  const rows = await db
    .select({ hash: setupLinks.hash })
    .from(setupLinks)
    .where(and(eq(setupLinks.hash, hash), gt(setupLinks.expiresAt, now)));
  return rows.length === 1;
}

export async function deleteSetupLinks(tx: Db): Promise<void> {
  await tx.delete(setupLinks);
}
