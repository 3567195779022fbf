/**
 * The tables clients, api_keys, revocations and signing_secrets.
 */
import { and, eq, exists, gt, gte, inArray, isNotNull, isNull, like, lt, or, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { apiKeys, clients, projects, revocations, sessions, signingSecrets, users } from "../../db/schema.ts";
import { type SweepTerms, sweepRows } from "../../db/sweep.ts";
import type { ProjectRole } from "../../platform/scopes.ts";

export type ClientRow = typeof clients.$inferSelect;
export type KeyRow = typeof apiKeys.$inferSelect;
export type ProjectRow = typeof projects.$inferSelect;
export type UserRow = typeof users.$inferSelect;

export async function insertClient(db: Db, client: typeof clients.$inferInsert): Promise<void> {
  await db.insert(clients).values(client);
}

/**
 * True when something changed. A document may change its client's name and addresses and give up scopes; it never gets
 * scopes back, nor a revoked client, nor another kind's id.
 */
export async function upsertDocumentClient(
  db: Db,
  client: { id: string; name: string; scopes: string[]; redirectUris: string[] },
): Promise<boolean> {
  const { name, redirectUris } = client;
  // In the order they had: what an operator took away stays away, and what the document takes away goes.
  const narrowed = sql`array(select scope from unnest(${clients.scopes}) with ordinality as held(scope, n)
    where scope = any(excluded.scopes) order by n)`;
  const rows = await db
    .insert(clients)
    .values({ ...client, kind: "desktop", origin: "document" })
    .onConflictDoUpdate({
      target: clients.id,
      set: { name, scopes: narrowed, redirectUris, version: sql`${clients.version} + 1` },
      setWhere: sql`${clients.origin} = 'document' and (${clients.name}, ${clients.scopes}, ${clients.redirectUris})
        is distinct from (excluded.name, ${narrowed}, excluded.redirect_uris)`,
    })
    .returning({ id: clients.id });
  return rows.length === 1;
}

export async function findClient(db: Db, id: string): Promise<ClientRow | undefined> {
  const rows = await db.select().from(clients).where(eq(clients.id, id));
  return rows[0];
}

/** From behind `after`; only those of these projects, unless `projectIds` is null. */
export type Slice = { after: string | null; rowsMax: number; projectIds: string[] | null };

export async function listClients(
  db: Db,
  { after, rowsMax, projectIds }: Slice = { after: null, rowsMax: 1_000_000, projectIds: null },
): Promise<ClientRow[]> {
  return db
    .select()
    .from(clients)
    .where(
      and(
        after === null ? undefined : gt(clients.id, after),
        projectIds === null ? undefined : inArray(clients.projectId, projectIds),
      ),
    )
    .orderBy(clients.id)
    .limit(rowsMax);
}

/** Locked until the transaction ends. */
export async function lockClient(tx: Db, id: string): Promise<ClientRow | undefined> {
  const rows = await tx.select().from(clients).where(eq(clients.id, id)).for("update");
  return rows[0];
}

export async function updateClient(
  tx: Db,
  id: string,
  change: Partial<Pick<ClientRow, "name" | "scopes" | "redirectUris">>,
): Promise<ClientRow | undefined> {
  const rows = await tx
    .update(clients)
    .set({ ...change, version: sql`${clients.version} + 1` })
    .where(eq(clients.id, id))
    .returning();
  return rows[0];
}

/** False when the client is revoked or public. */
export async function updateClientSecret(db: Db, id: string, secretHash: Uint8Array): Promise<boolean> {
  const rows = await db
    .update(clients)
    .set({ secretHash, version: sql`${clients.version} + 1` })
    .where(and(eq(clients.id, id), isNull(clients.revokedAt), sql`${clients.secretHash} is not null`))
    .returning({ id: clients.id });
  return rows.length === 1;
}

/** False when the client was revoked already. */
export async function revokeClient(db: Db, id: string): Promise<boolean> {
  const rows = await db
    .update(clients)
    .set({ revokedAt: sql`now()`, version: sql`${clients.version} + 1` })
    .where(and(eq(clients.id, id), isNull(clients.revokedAt)))
    .returning({ id: clients.id });
  return rows.length === 1;
}

export async function insertKey(db: Db, key: typeof apiKeys.$inferInsert): Promise<void> {
  await db.insert(apiKeys).values(key);
}

export async function findKey(db: Db, id: string): Promise<KeyRow | undefined> {
  const rows = await db.select().from(apiKeys).where(eq(apiKeys.id, id));
  return rows[0];
}

/** As `listClients`; also those of this person, for whatever project unless `boundTo` names one. */
export async function listKeys(
  db: Db,
  slice: Slice & { userId: string | null; boundTo: string | null } = {
    after: null,
    rowsMax: 1_000_000,
    projectIds: null,
    userId: null,
    boundTo: null,
  },
): Promise<KeyRow[]> {
  const { after, rowsMax, projectIds, userId, boundTo } = slice;
  const ofClients = and(isNotNull(apiKeys.clientId), inArray(apiKeys.projectId, projectIds ?? []));
  const own = userId === null ? undefined : eq(apiKeys.userId, userId);
  const visible = or(boundTo === null ? own : and(own, eq(apiKeys.projectId, boundTo)), ofClients);
  return db
    .select()
    .from(apiKeys)
    .where(and(after === null ? undefined : gt(apiKeys.id, after), projectIds === null ? undefined : visible))
    .orderBy(apiKeys.id)
    .limit(rowsMax);
}

export async function lockKey(tx: Db, id: string): Promise<KeyRow | undefined> {
  const rows = await tx.select().from(apiKeys).where(eq(apiKeys.id, id)).for("update");
  return rows[0];
}

export async function updateKeyScopes(tx: Db, id: string, scopes: string[]): Promise<KeyRow | undefined> {
  const rows = await tx
    .update(apiKeys)
    .set({ scopes, version: sql`${apiKeys.version} + 1` })
    .where(eq(apiKeys.id, id))
    .returning();
  return rows[0];
}

/** False when the key was revoked already. */
export async function revokeKey(db: Db, id: string): Promise<boolean> {
  const rows = await db
    .update(apiKeys)
    .set({ revokedAt: sql`now()`, version: sql`${apiKeys.version} + 1` })
    .where(and(eq(apiKeys.id, id), isNull(apiKeys.revokedAt)))
    .returning({ id: apiKeys.id });
  return rows.length === 1;
}

export async function findProject(db: Db, id: string): Promise<ProjectRow | undefined> {
  const rows = await db.select().from(projects).where(eq(projects.id, id));
  return rows[0];
}

export async function findUserByEmail(db: Db, email: string): Promise<UserRow | undefined> {
  const rows = await db.select().from(users).where(sql`lower(${users.email}) = lower(${email})`);
  return rows[0];
}

/** The person's roles by project, as one JSON object. */
const memberships = sql<Record<string, ProjectRole> | null>`(
  select json_object_agg(m.project_id, m.role) from project_members m where m.user_id = ${users.id})`;

/** Everything that decides whether an API key still stands, in one look-up. */
export type KeyHolder = {
  key: KeyRow;
  user: UserRow | null;
  client: ClientRow | null;
  project: ProjectRow | null;
  memberships: Record<string, ProjectRole> | null;
};

export async function findKeyHolder(db: Db, hash: Uint8Array): Promise<KeyHolder | undefined> {
  const rows = await db
    .select({ key: apiKeys, user: users, client: clients, project: projects, memberships })
    .from(apiKeys)
    .leftJoin(users, eq(users.id, apiKeys.userId))
    .leftJoin(clients, eq(clients.id, apiKeys.clientId))
    .leftJoin(projects, eq(projects.id, apiKeys.projectId))
    .where(eq(apiKeys.hash, hash));
  return rows[0];
}

/** Everything that decides whether an access token still stands, in one look-up. */
export type TokenHolder = {
  client: ClientRow;
  /** Null for a client's own token. */
  user: UserRow | null;
  /** The one that the token is bound to. */
  project: ProjectRow | null;
  memberships: Record<string, ProjectRole> | null;
  revoked: boolean;
};

export async function findTokenHolder(
  db: Db,
  token: { clientId: string; subject: string; projectId: string | null; endsWith: readonly string[] },
): Promise<TokenHolder | undefined> {
  const revoked = db
    .select({ id: revocations.id })
    .from(revocations)
    .where(inArray(revocations.subject, [...token.endsWith]));
  const rows = await db
    .select({
      client: clients,
      user: users,
      project: projects,
      memberships,
      revoked: sql<boolean>`${exists(revoked)}`,
    })
    .from(clients)
    .leftJoin(users, eq(users.id, token.subject))
    .leftJoin(projects, eq(projects.id, token.projectId ?? ""))
    .where(eq(clients.id, token.clientId));
  return rows[0];
}

/** A browser's sign-in that has not ended, and whose it is. */
export type CookieHolder = {
  signInId: string;
  user: UserRow | null;
  memberships: Record<string, ProjectRole> | null;
  /** When it ends if nothing more is heard of it. */
  expiresAt: Date;
};

export async function findUserWithMemberships(
  db: Db,
  id: string,
): Promise<{ user: UserRow; memberships: Record<string, ProjectRole> | null } | undefined> {
  const rows = await db.select({ user: users, memberships }).from(users).where(eq(users.id, id));
  return rows[0];
}

export async function insertRevocation(db: Db, subject: string): Promise<void> {
  await db.insert(revocations).values({ subject });
}

export async function isSessionOf(db: Db, id: string, projectId: string): Promise<boolean> {
  const [found] = await db
    .select({ id: sessions.id })
    .from(sessions)
    .where(and(eq(sessions.id, id), eq(sessions.projectId, projectId)));
  return found !== undefined;
}

/** Whether anything that this caller ends or changes with was recorded since then. */
export async function wasRevokedSince(
  db: Db,
  { endsWith, userId }: { endsWith: readonly string[]; userId: string | null },
  since: Date,
): Promise<boolean> {
  const [found] = await db
    .select({ id: revocations.id })
    .from(revocations)
    .where(
      and(
        gte(revocations.at, since),
        or(
          inArray(revocations.subject, [...endsWith]),
          userId === null ? undefined : like(revocations.subject, `${userId} %`),
        ),
      ),
    )
    .limit(1);
  return found !== undefined;
}

/** A log of news: whatever it ended carries its own end, or has outlived itself, a day later. */
export const sweepRevocations = (db: Db, before: Date, terms: SweepTerms): Promise<number> =>
  sweepRows(db, { table: revocations, isOver: lt(revocations.at, before) }, terms);

/** A place in the log of revocations. `xid` is a 64-bit number as text. */
export type Place = { xid: string; id: number };

export type RevocationPage = {
  /** No transaction below this one can still commit a row. */
  settledXid: string;
  rows: (Place & { subject: string })[];
};

/** Rows after `place`, in commit order as far as they are below `settledXid`, in one snapshot with it. */
export async function readRevocations(db: Db, place: Place, rowsMax: number): Promise<RevocationPage> {
  const answer = await db.execute<{
    settled: string;
    id: string | null;
    xid: string | null;
    subject: string | null;
  }>(sql`
    select edge.settled::text as settled, log.id::text as id, log.xid::text as xid, log.subject
    from (select pg_snapshot_xmin(pg_current_snapshot()) as settled) edge
    left join lateral (
      select r.id, r.xid, r.subject from revocations r
      where (r.xid, r.id) > (${place.xid}::xid8, ${place.id}::bigint)
      order by r.xid, r.id limit ${rowsMax}
    ) log on true
    order by log.xid, log.id`);
  const rows = [...answer].flatMap(({ id, xid, subject }) =>
    id === null || xid === null || subject === null ? [] : [{ id: Number(id), xid, subject }],
  );
  return { settledXid: answer[0]?.settled ?? place.xid, rows };
}

/** Carries no data: whoever listens reads the log. */
export async function notifyRevocations(db: Db, channel: string): Promise<void> {
  await db.execute(sql`select pg_notify(${channel}, '')`);
}

export async function lockKids(db: Db): Promise<void> {
  await db.execute(sql`select pg_advisory_xact_lock(hashtext('specgate.signing_secrets'))`);
}

export async function listKids(db: Db): Promise<string[]> {
  const rows = await db.select({ kid: signingSecrets.kid }).from(signingSecrets);
  return rows.map(({ kid }) => kid);
}

export async function insertKids(db: Db, kids: readonly string[]): Promise<void> {
  if (kids.length === 0) return;
  await db
    .insert(signingSecrets)
    .values(kids.map((kid) => ({ kid })))
    .onConflictDoNothing();
}
