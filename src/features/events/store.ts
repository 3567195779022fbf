/**
 * Reads the event log. A row may become visible after one with a higher transaction id, so everything is read below the
 * oldest transaction that still runs: below it nothing can appear any more.
 */
import { desc, sql } from "drizzle-orm";
import type { Database, Db } from "../../db/database.ts";
import { sweepEvents } from "../../db/events.ts";
import { events } from "../../db/schema.ts";
import type { SweepTerms } from "../../db/sweep.ts";

/** Between two rows of the log; rows are ordered by transaction, then by id. */
export type Position = { readonly xid: string; readonly id: number };

export type EventRow = Position & {
  readonly at: string;
  readonly projectId: string;
  readonly sessionId: string | null;
  readonly type: string;
  readonly payload: Record<string, unknown>;
};

/** The oldest transaction that still runs, and whether the log holds anything from there on. */
export async function findHorizon(db: Db): Promise<{ horizon: string; waiting: boolean }> {
  const [row] = await db.execute<{ horizon: string; waiting: boolean }>(sql`
    select edge.horizon::text as horizon,
      exists (select from events where xid >= edge.horizon) as waiting
    from (select pg_snapshot_xmin(pg_current_snapshot()) as horizon) edge`);
  if (row === undefined) throw new Error("the database names no snapshot");
  return row;
}

/** Rows behind `after` and before `until`, of these projects; null: of all. */
export async function readEvents(
  db: Db,
  asked: { after: Position; until: Position; projectIds: readonly string[] | null; rowsMax: number },
): Promise<EventRow[]> {
  const { after, until, projectIds, rowsMax } = asked;
  const ofProjects =
    projectIds === null ? sql`` : sql` and project_id = any(${sql.param([...projectIds])}::text[])`;
  const found = await db.execute(sql`
    select xid::text as xid, id::text as id, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at,
      project_id as "projectId", session_id as "sessionId", type, payload
    from events
    where (xid, id) > (${after.xid}::xid8, ${after.id}::bigint)
      and (xid, id) <= (${until.xid}::xid8, ${until.id}::bigint)${ofProjects}
    order by events.xid, events.id limit ${rowsMax}`);
  return (found as unknown as (Omit<EventRow, "id"> & { id: string })[]).map((row) => ({
    ...row,
    id: Number(row.id),
  }));
}

/**
 * Forgets what happened before, but never the newest row of all: it stands for those that went, so that `reachesBack` can
 * tell a log that is quiet from one that was swept.
 */
export async function forgetEvents(
  database: Pick<Database, "db">,
  before: Date,
  terms?: SweepTerms,
): Promise<number> {
  const [newest] = await database.db
    .select({ at: events.at })
    .from(events)
    .orderBy(desc(events.xid), desc(events.id))
    .limit(1);
  const isNewestOver = newest !== undefined && newest.at < before;
  return sweepEvents(database, isNewestOver ? newest.at : before, terms);
}

/**
 * Whether all that followed this position is still there. What goes first is what was written first, and one row of those
 * that went stays: so a row up to here says yes, and so does a log that still has its first, or never had one.
 */
export async function reachesBack(db: Db, { xid, id }: Position): Promise<boolean> {
  const [row] = await db.execute<{ reaches: boolean }>(sql`
    select exists (select from events where (xid, id) <= (${xid}::xid8, ${id}::bigint))
      or coalesce((select id from events order by xid, id limit 1) = 1, true) as reaches`);
  return row?.reaches ?? false;
}

/** Carries no data: whoever listens reads the log. */
export async function notifyEvents(db: Db, channel: string): Promise<void> {
  await db.execute(sql`select pg_notify(${channel}, '')`);
}
