/**
 * The tables sessions and iterations.
 */
import { and, desc, eq, inArray, lt, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { iterations, sessions } from "../../db/schema.ts";
import type { IterationState, SessionState } from "./states.ts";

export type SessionRow = typeof sessions.$inferSelect;
export type IterationRow = typeof iterations.$inferSelect;
type NewSessionRow = typeof sessions.$inferInsert;
type NewIterationRow = typeof iterations.$inferInsert;

/** Newest first, from behind `after`. */
type PageAsked<State> = { after: string | null; status: State | undefined; rowsMax: number };

export const insertSession = async (tx: Db, row: NewSessionRow): Promise<SessionRow> =>
  one(await tx.insert(sessions).values(row).returning());

export async function findSession(db: Db, id: string): Promise<SessionRow | undefined> {
  const [row] = await db.select().from(sessions).where(eq(sessions.id, id));
  return row;
}

/** Newest first. */
export const listTitles = (db: Db, ids: readonly string[]): Promise<Pick<SessionRow, "id" | "title">[]> =>
  db
    .select({ id: sessions.id, title: sessions.title })
    .from(sessions)
    .where(inArray(sessions.id, [...ids]))
    .orderBy(desc(sessions.id));

/** `only`: the one session that a credential is bound to. */
export function listSessions(
  db: Db,
  asked: PageAsked<SessionState> & { projectId: string; only: string | null },
): Promise<SessionRow[]> {
  return db
    .select()
    .from(sessions)
    .where(
      and(
        eq(sessions.projectId, asked.projectId),
        asked.only === null ? undefined : eq(sessions.id, asked.only),
        asked.status === undefined ? undefined : eq(sessions.status, asked.status),
        asked.after === null ? undefined : lt(sessions.id, asked.after),
      ),
    )
    .orderBy(desc(sessions.id))
    .limit(asked.rowsMax);
}

/** The row is locked already. */
export const updateSession = async (
  tx: Db,
  id: string,
  change: Partial<Pick<SessionRow, "title" | "spec" | "notes" | "status" | "closedAt">>,
): Promise<SessionRow> =>
  one(
    await tx
      .update(sessions)
      .set({ ...change, updatedAt: sql`now()`, version: sql`${sessions.version} + 1` })
      .where(eq(sessions.id, id))
      .returning(),
  );

/** The next number, which nobody else gets: the session's row is locked until the transaction ends. */
export async function drawNumber(tx: Db, sessionId: string): Promise<number> {
  const drawn = await tx
    .update(sessions)
    .set({ iterations: sql`${sessions.iterations} + 1` })
    .where(eq(sessions.id, sessionId))
    .returning({ number: sessions.iterations });
  return one(drawn).number;
}

export const insertIteration = async (tx: Db, row: NewIterationRow): Promise<IterationRow> =>
  one(await tx.insert(iterations).values(row).returning());

export async function findIteration(db: Db, id: string): Promise<IterationRow | undefined> {
  const [row] = await db.select().from(iterations).where(eq(iterations.id, id));
  return row;
}

/** Locked until the transaction ends. */
export async function lockIteration(tx: Db, id: string): Promise<IterationRow | undefined> {
  const [row] = await tx.select().from(iterations).where(eq(iterations.id, id)).for("update");
  return row;
}

export async function findLastIteration(db: Db, sessionId: string): Promise<IterationRow | undefined> {
  const [row] = await db
    .select()
    .from(iterations)
    .where(eq(iterations.sessionId, sessionId))
    .orderBy(desc(iterations.number))
    .limit(1);
  return row;
}

/** The last one first. `after` is a number. */
export function listIterations(
  db: Db,
  asked: { sessionId: string; after: number | null; status: IterationState | undefined; rowsMax: number },
): Promise<IterationRow[]> {
  return db
    .select()
    .from(iterations)
    .where(
      and(
        eq(iterations.sessionId, asked.sessionId),
        asked.status === undefined ? undefined : eq(iterations.status, asked.status),
        asked.after === null ? undefined : lt(iterations.number, asked.after),
      ),
    )
    .orderBy(desc(iterations.number))
    .limit(asked.rowsMax);
}

export const updateIteration = async (
  tx: Db,
  id: string,
  change: Partial<Pick<IterationRow, "step" | "commitSha" | "notes" | "status" | "endedAt">>,
): Promise<IterationRow> =>
  one(
    await tx
      .update(iterations)
      .set({ ...change, updatedAt: sql`now()`, version: sql`${iterations.version} + 1` })
      .where(eq(iterations.id, id))
      .returning(),
  );

function one<Row>(rows: Row[]): Row {
  const [row] = rows;
  if (row === undefined) throw new Error("a statement returned no row");
  return row;
}
