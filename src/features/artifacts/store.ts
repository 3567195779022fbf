/**
 * The tables artifacts and artifact_room.
 */
import { and, asc, desc, eq, inArray, lt, or, type SQL, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { artifactRoom, artifacts, iterations } from "../../db/schema.ts";
import type { ArtifactState } from "./contract.ts";

export type ArtifactRow = typeof artifacts.$inferSelect;
type NewArtifactRow = Omit<typeof artifacts.$inferInsert, "expiresAt">;

/** While it is pending; URLs live much shorter. */
const pendingFor = sql`interval '24 hours'`;
/** An upload or a completion that began in time may still be at it. */
const lateFor = sql`interval '1 hour'`;

export async function insertArtifact(tx: Db, row: NewArtifactRow): Promise<ArtifactRow> {
  const fresh = { ...row, expiresAt: sql`now() + ${pendingFor}` };
  return one(await tx.insert(artifacts).values(fresh).returning());
}

export async function findArtifact(db: Db, id: string): Promise<ArtifactRow | undefined> {
  const [row] = await db.select().from(artifacts).where(eq(artifacts.id, id));
  return row;
}

/** Locked until the transaction ends. */
export async function lockArtifact(tx: Db, id: string): Promise<ArtifactRow | undefined> {
  const [row] = await tx.select().from(artifacts).where(eq(artifacts.id, id)).for("update");
  return row;
}

/** Newest first, from behind `after`. */
export function listArtifacts(
  db: Db,
  asked: {
    sessionId: string;
    after: string | null;
    kind: string | undefined;
    iterationId: string | undefined;
    status: ArtifactState | undefined;
    rowsMax: number;
  },
): Promise<ArtifactRow[]> {
  return db
    .select()
    .from(artifacts)
    .where(
      and(
        eq(artifacts.sessionId, asked.sessionId),
        asked.kind === undefined ? undefined : eq(artifacts.kind, asked.kind),
        asked.iterationId === undefined ? undefined : eq(artifacts.iterationId, asked.iterationId),
        asked.status === undefined ? undefined : eq(artifacts.status, asked.status),
        asked.after === null ? undefined : lt(artifacts.id, asked.after),
      ),
    )
    .orderBy(desc(artifacts.id))
    .limit(asked.rowsMax);
}

type Change = Partial<Pick<ArtifactRow, "status" | "etag" | "checkedBy" | "endedBy">>;

/** The row is locked already. `keepDays`: from now on; null is for ever. */
export const completeArtifact = (tx: Db, id: string, change: Change, keepDays: number | null) =>
  update(tx, id, {
    ...change,
    status: "complete",
    completedAt: sql`now()`,
    expiresAt: keepDays === null ? null : sql`now() + make_interval(days => ${keepDays})`,
  });

/** The row is locked already. */
export const keepUploadUntil = (tx: Db, id: string, uploadUntil: Date) =>
  update(tx, id, { uploadUntil: sql`greatest(upload_until, ${uploadUntil.toISOString()}::timestamptz)` });

/** The row is locked already. Its object is to go. */
export const endArtifact = (tx: Db, id: string, status: "rejected" | "deleted", endedBy: string) =>
  update(tx, id, { status, endedBy, endedAt: sql`now()` });

async function update(tx: Db, id: string, change: Record<string, unknown>): Promise<ArtifactRow> {
  const set = { ...change, version: sql`${artifacts.version} + 1` };
  return one(await tx.update(artifacts).set(set).where(eq(artifacts.id, id)).returning());
}

const isUploadOver = sql`${artifacts.uploadUntil} < now() - ${lateFor}`;

/**
 * Room is kept until nothing can be uploaded in its name any more: else whoever deletes first and uploads then would be
 * above every quota.
 */
const isDue = or(
  and(eq(artifacts.status, "pending"), sql`${artifacts.expiresAt} < now() - ${lateFor}`, isUploadOver),
  and(eq(artifacts.status, "complete"), sql`${artifacts.expiresAt} < now()`),
  and(inArray(artifacts.status, ["rejected", "deleted"]), isUploadOver),
);

/** What the store at `place` no longer has to keep, in the order of ids, from behind `after`. */
export function listDue(db: Db, place: string, after: string, rowsMax: number): Promise<ArtifactRow[]> {
  return db
    .select()
    .from(artifacts)
    .where(and(eq(artifacts.place, place), sql`${artifacts.id} > ${after}`, isDue))
    .orderBy(asc(artifacts.id))
    .limit(rowsMax);
}

/** Those of them that are due, and that nobody else has marked meanwhile. */
export function markPurged(tx: Db, ids: readonly string[]): Promise<ArtifactRow[]> {
  // Locked in one order by everybody who does this.
  const locked = tx
    .select({ id: artifacts.id })
    .from(artifacts)
    .where(and(inArray(artifacts.id, [...ids]), isDue))
    .orderBy(asc(artifacts.id))
    .for("update");
  return tx
    .update(artifacts)
    .set({
      status: "purged",
      endedAt: sql`coalesce(ended_at, now())`,
      version: sql`${artifacts.version} + 1`,
    })
    .where(inArray(artifacts.id, locked))
    .returning();
}

/** Of what was marked in this transaction; last, because uploads of the same owners wait for it. */
export async function giveRoomBack(tx: Db, purged: readonly ArtifactRow[]): Promise<void> {
  for (const owner of [...new Set(purged.map((row) => row.owner))].sort()) {
    const own = purged.filter((row) => row.owner === owner);
    const bytes = own.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    await tx
      .update(artifactRoom)
      .set({ sizeBytes: sql`size_bytes - ${bytes}`, objects: sql`objects - ${own.length}` })
      .where(eq(artifactRoom.owner, owner));
  }
}

/**
 * Takes room, or tells how much is taken. The owner's row is locked until the transaction ends, so that parallel uploads
 * cannot overdraw it.
 */
export async function takeRoom(
  tx: Db,
  owner: string,
  bytes: number,
  bytesMax: number | null,
): Promise<{ ok: true } | { ok: false; takenBytes: number }> {
  const fits = (taken: SQL) =>
    bytesMax === null ? sql`true` : sql`${taken} + ${bytes}::bigint <= ${bytesMax}::bigint`;
  const taken = await tx.execute(sql`
    insert into artifact_room as room (owner, size_bytes, objects)
    select ${owner}, ${bytes}::bigint, 1 where ${fits(sql`0`)}
    on conflict (owner) do update
      set size_bytes = room.size_bytes + excluded.size_bytes, objects = room.objects + 1
      where ${fits(sql`room.size_bytes`)}
    returning owner`);
  if (taken.length > 0) return { ok: true };
  const [row] = await tx.select().from(artifactRoom).where(eq(artifactRoom.owner, owner));
  return { ok: false, takenBytes: row?.sizeBytes ?? 0 };
}

/** Of an iteration that is there. */
export async function numberOf(tx: Db, iterationId: string): Promise<number> {
  const rows = await tx
    .select({ number: iterations.number })
    .from(iterations)
    .where(eq(iterations.id, iterationId));
  return one(rows).number;
}

function one<Row>(rows: Row[]): Row {
  const [row] = rows;
  if (row === undefined) throw new Error("a statement returned no row");
  return row;
}
