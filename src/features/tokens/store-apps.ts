/**
 * The tables authorization_codes, device_codes, refresh_tokens and tickets: what stands between a person's consent and an
 * app's tokens. Each is taken by one conditional statement, so that it is taken once.
 */
import { and, desc, eq, gt, isNull, lt, type SQL, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import {
  authorizationCodes,
  clients,
  deviceCodes,
  refreshTokens,
  signIns,
  tickets,
  users,
} from "../../db/schema.ts";
import { type SweepTerms, sweepRows } from "../../db/sweep.ts";
import type { ClientRow, UserRow } from "./store.ts";

export type CodeRow = typeof authorizationCodes.$inferSelect;
export type DeviceRow = typeof deviceCodes.$inferSelect;
export type RefreshRow = typeof refreshTokens.$inferSelect;
export type SignInRow = typeof signIns.$inferSelect;
export type TicketRow = typeof tickets.$inferSelect;

export async function insertTicket(db: Db, ticket: typeof tickets.$inferInsert): Promise<void> {
  await db.insert(tickets).values(ticket);
}

type AskedTicket = { hash: Uint8Array; signInId: string; kind: TicketRow["kind"]; now: Date };

const isOpen = ({ hash, signInId, kind, now }: AskedTicket) =>
  and(
    eq(tickets.hash, hash),
    eq(tickets.signInId, signInId),
    eq(tickets.kind, kind),
    isNull(tickets.usedAt),
    gt(tickets.expiresAt, now),
    sql`exists (select from sign_ins where id = ${tickets.signInId} and ended_at is null)`,
  );

export async function findTicket(db: Db, asked: AskedTicket): Promise<TicketRow | undefined> {
  const rows = await db.select().from(tickets).where(isOpen(asked));
  return rows[0];
}

/** Undefined when it is another browser's, used, or too old. */
export async function takeTicket(db: Db, asked: AskedTicket): Promise<TicketRow | undefined> {
  const rows = await db.update(tickets).set({ usedAt: asked.now }).where(isOpen(asked)).returning();
  return rows[0];
}

export async function insertCode(db: Db, code: typeof authorizationCodes.$inferInsert): Promise<void> {
  await db.insert(authorizationCodes).values(code);
}

/**
 * Who allowed something, kept from changing until the transaction ends: of a sign-in that begins and one that ends all,
 * the second sees what the first did. Always locked before the code, by everybody.
 */
export async function lockPerson(tx: Db, userId: string | null | undefined): Promise<UserRow | undefined> {
  if (userId === null || userId === undefined) return undefined;
  const rows = await tx.select().from(users).where(eq(users.id, userId)).for("share");
  return rows[0];
}

/** Takes back unused codes and approved devices of a person, whom the caller has locked. */
export async function dropGrants(tx: Db, userId: string): Promise<void> {
  await tx
    .delete(authorizationCodes)
    .where(and(eq(authorizationCodes.userId, userId), isNull(authorizationCodes.usedAt)));
  await tx
    .update(deviceCodes)
    .set({ state: "denied" })
    .where(and(eq(deviceCodes.userId, userId), eq(deviceCodes.state, "approved")));
}

/** Locked until the transaction ends: of two that redeem it at once the second sees it used. `user`: who allowed it. */
export async function lockCode(
  db: Db,
  hash: Uint8Array,
): Promise<{ code: CodeRow; user: UserRow | undefined } | undefined> {
  const [known] = await db
    .select({ userId: authorizationCodes.userId })
    .from(authorizationCodes)
    .where(eq(authorizationCodes.hash, hash));
  const user = await lockPerson(db, known?.userId);
  const rows = await db
    .select()
    .from(authorizationCodes)
    .where(eq(authorizationCodes.hash, hash))
    .for("update");
  return rows[0] === undefined ? undefined : { code: rows[0], user };
}

export async function useCode(
  db: Db,
  hash: Uint8Array,
  used: { at: Date; signInId: string | null },
): Promise<void> {
  await db
    .update(authorizationCodes)
    .set({ usedAt: used.at, signInId: used.signInId })
    .where(eq(authorizationCodes.hash, hash));
}

/** False when the user code is taken. */
export async function insertDeviceCode(db: Db, code: typeof deviceCodes.$inferInsert): Promise<boolean> {
  const rows = await db
    .insert(deviceCodes)
    .values(code)
    .onConflictDoNothing({ target: deviceCodes.userCode })
    .returning({ hash: deviceCodes.hash });
  return rows.length === 1;
}

export async function findPendingDevice(
  db: Db,
  userCode: string,
  now: Date,
): Promise<{ device: DeviceRow; client: ClientRow } | undefined> {
  const rows = await db
    .select({ device: deviceCodes, client: clients })
    .from(deviceCodes)
    .innerJoin(clients, eq(clients.id, deviceCodes.clientId))
    .where(
      and(
        eq(deviceCodes.userCode, userCode),
        eq(deviceCodes.state, "pending"),
        gt(deviceCodes.expiresAt, now),
      ),
    );
  return rows[0];
}

/** As `lockCode`; without `user` when nobody had decided before it was locked. */
export async function lockDevice(
  db: Db,
  hash: Uint8Array,
): Promise<{ device: DeviceRow; user: UserRow | undefined } | undefined> {
  const [known] = await db
    .select({ userId: deviceCodes.userId })
    .from(deviceCodes)
    .where(eq(deviceCodes.hash, hash));
  const user = await lockPerson(db, known?.userId);
  const rows = await db.select().from(deviceCodes).where(eq(deviceCodes.hash, hash)).for("update");
  return rows[0] === undefined ? undefined : { device: rows[0], user };
}

export async function updateDevice(
  db: Db,
  hash: Uint8Array,
  change: Partial<Pick<DeviceRow, "state" | "userId" | "scopes" | "polledAt" | "intervalSeconds">>,
): Promise<void> {
  await db.update(deviceCodes).set(change).where(eq(deviceCodes.hash, hash));
}

/** False when it was decided already, or is too old. */
export async function decideDevice(
  db: Db,
  decision: { userCode: string; state: "approved" | "denied"; userId: string; scopes: string[]; now: Date },
): Promise<boolean> {
  const rows = await db
    .update(deviceCodes)
    .set({ state: decision.state, userId: decision.userId, scopes: decision.scopes })
    .where(
      and(
        eq(deviceCodes.userCode, decision.userCode),
        eq(deviceCodes.state, "pending"),
        gt(deviceCodes.expiresAt, decision.now),
      ),
    )
    .returning({ hash: deviceCodes.hash });
  return rows.length === 1;
}

export async function insertRefreshToken(db: Db, token: typeof refreshTokens.$inferInsert): Promise<void> {
  await db.insert(refreshTokens).values(token);
}

export async function useRefreshToken(
  db: Db,
  hash: Uint8Array,
  used: { at: Date; requestHash: Uint8Array },
): Promise<void> {
  await db
    .update(refreshTokens)
    .set({ usedAt: used.at, requestHash: used.requestHash })
    .where(eq(refreshTokens.hash, hash));
}

/** A refresh token with everything that decides whether it is good. */
export type RefreshHolder = {
  token: RefreshRow;
  /** The one in force: the highest number of the sign-in. */
  head: RefreshRow;
  signIn: SignInRow;
  user: UserRow;
  client: ClientRow;
};

/** The sign-in's row is locked first, so that whoever refreshes it does so one after the other. */
export async function lockRefresh(db: Db, hash: Uint8Array): Promise<RefreshHolder | undefined> {
  const [found] = await db
    .select({ signInId: refreshTokens.signInId })
    .from(refreshTokens)
    .where(eq(refreshTokens.hash, hash));
  if (found === undefined) return undefined;
  const [signIn] = await db.select().from(signIns).where(eq(signIns.id, found.signInId)).for("update");
  const [holder] = await db
    .select({ token: refreshTokens, user: users, client: clients })
    .from(refreshTokens)
    .innerJoin(signIns, eq(signIns.id, refreshTokens.signInId))
    .innerJoin(users, eq(users.id, signIns.userId))
    .innerJoin(clients, eq(clients.id, signIns.clientId))
    .where(eq(refreshTokens.hash, hash));
  const [head] = await db
    .select()
    .from(refreshTokens)
    .where(eq(refreshTokens.signInId, found.signInId))
    .orderBy(desc(refreshTokens.number))
    .limit(1);
  if (signIn === undefined || holder === undefined || head === undefined) return undefined;
  return { ...holder, head, signIn };
}

/** Drops what is over since `before`; how many, by table. Tokens and tickets of a sign-in go with it. */
export async function sweepApps(db: Db, before: Date, terms: SweepTerms) {
  const sweep = (table: ExpiringTable) =>
    sweepRows(db, { table, isOver: lt(table.expiresAt, before) }, terms);
  return {
    authorization_codes: await sweep(authorizationCodes),
    device_codes: await sweep(deviceCodes),
    tickets: await sweep(tickets),
    refresh_tokens: await sweep(refreshTokens),
    clients: await sweepRows(db, { table: clients, isOver: isNoise(before, terms.dryRun) }, terms),
  };
}

type ExpiringTable = typeof authorizationCodes | typeof deviceCodes | typeof tickets | typeof refreshTokens;

/** A client that registered itself and that nobody is signed in with; one that was revoked must not come back. */
function isNoise(before: Date, dryRun: boolean): SQL {
  const at = sql`${before.toISOString()}::timestamptz`;
  // Codes that are over have gone by now, but in a dry run.
  const stays = dryRun ? sql`and expires_at >= ${at}` : sql``;
  return sql`
    origin in ('registration', 'document') and created_at < ${at} and revoked_at is null
    and not exists (select from sign_ins where client_id = clients.id)
    and not exists (select from authorization_codes where client_id = clients.id ${stays})
    and not exists (select from device_codes where client_id = clients.id ${stays})`;
}
