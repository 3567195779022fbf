/**
 * Looks into tasks and reports; writes nothing.
 *
 * Two ways lead to the newest rows that match. To walk: from the newest down, a bounded number of rows of the project.
 * That finds what is common at once, and all there is in a project that is small. The indexes find what is rare. Neither
 * depends on what the planner guesses about words: the query is hidden from it in a subselect, because for a word that it
 * takes for common it would read whole tables.
 */
import { inArray, type SQL, sql } from "drizzle-orm";
import type { Database, Db } from "../../db/database.ts";
import { reports, tasks } from "../../db/schema.ts";
import type { FoundKind } from "./contract.ts";

/** `only`: the one session that a credential is bound to. */
export type Searched = { readonly projectId: string; readonly only: string | null };
export type Hit = { readonly kind: FoundKind; readonly id: string; readonly title: string };
type HitsAsked = Searched & {
  query: SQL;
  /** The id's part that is the same for every kind of thing; null: from the newest on. */
  after: string | null;
  rowsMax: number;
};

const kinds = {
  task: { table: tasks, prefix: "tsk" },
  report: { table: reports, prefix: "rpt" },
} as const;

/** Newest first. */
export async function findHits(database: Database, kind: FoundKind, asked: HitsAsked): Promise<Hit[]> {
  // A session is small: all of it that matches is soon collected.
  if (asked.only !== null) return await findByIndex(database, kind, asked);
  const walked = await findByWalk(database.db, kind, asked);
  return walked.isAll || walked.hits.length >= asked.rowsMax
    ? walked.hits
    : findByIndex(database, kind, asked);
}

/** How many rows are walked: about ten milliseconds, and a page of hits when every twentieth row is one. */
const walkedMax = (rowsMax: number): number => (rowsMax <= 51 ? 1_000 : 4_000);

async function findByWalk(
  db: Db,
  kind: FoundKind,
  { projectId, query, after, rowsMax }: HitsAsked,
): Promise<{ hits: Hit[]; isAll: boolean }> {
  const { table } = kinds[kind];
  const walk = walkedMax(rowsMax);
  // As a range of pairs, which only the index on both has in order: with `project_id =` alone, the planner also likes to
  // walk every project's rows. The number is part of the statement, for plans that are made before values are known.
  const rows = await db.execute<{ walked: number; id: string | null; title: string }>(sql`
    with newest as materialized (
      select project_id, id, title, search from ${table}
      where (project_id, id) >= (${projectId}, '') and (project_id, id) < (${projectId}, ${idBelow(kind, after)})
      order by project_id desc, id desc limit ${sql.raw(String(walk))}
    ), hits as (
      select id, title from newest where search @@ (select ${query})
      order by project_id desc, id desc limit ${rowsMax}
    )
    select walked, id, title from (select count(*)::integer as walked from newest) as walk
    left join hits on true order by id desc`);
  const hits = rows.flatMap(({ id, title }) => (id === null ? [] : { kind, id, title }));
  return { hits, isAll: (rows[0]?.walked ?? 0) < walk };
}

function findByIndex(database: Database, kind: FoundKind, asked: HitsAsked): Promise<Hit[]> {
  const { table } = kinds[kind];
  const isThere = asked.only === null ? sql`true` : sql`session_id = ${asked.only}`;
  return database.transaction(async (tx) => {
    // Where a common word's rows do not fit into the memory, whole pages are looked through in their stead: ten times slower.
    await tx.execute(sql`set local work_mem = '16MB'`);
    // Collected before they are put in order: the planner would rather walk the order than trust in few hits.
    const rows = await tx.execute<{ id: string; title: string }>(sql`
      with hits as materialized (
        select id, title from ${table}
        where project_id = ${asked.projectId} and ${isThere} and search @@ (select ${asked.query})
      )
      select id, title from hits where id < ${idBelow(kind, asked.after)}
      order by id desc limit ${asked.rowsMax}`);
    return rows.map((row) => ({ ...row, kind }));
  });
}

/** `g` stands above every hexadecimal digit. */
const idBelow = (kind: FoundKind, after: string | null): string => `${kinds[kind].prefix}_${after ?? "g"}`;

export type TaskRow = Awaited<ReturnType<typeof findTasks>>[number];
export type ReportRow = Awaited<ReturnType<typeof findReports>>[number];

export const findTasks = (db: Db, ids: readonly string[]) =>
  db
    .select({
      id: tasks.id,
      sessionId: tasks.sessionId,
      taskRef: tasks.taskRef,
      title: tasks.title,
      status: tasks.status,
      originatingSpec: tasks.originatingSpec,
      acceptanceCriteria: tasks.acceptanceCriteria,
      notes: tasks.notes,
      createdAt: tasks.createdAt,
    })
    .from(tasks)
    .where(inArray(tasks.id, [...ids]));

/** As much of a body as the search knows of it. */
const bodyMax = 50_000;

export const findReports = (db: Db, ids: readonly string[]) =>
  db
    .select({
      id: reports.id,
      sessionId: reports.sessionId,
      title: reports.title,
      body: sql<string>`left(${reports.body}, ${bodyMax})`,
      createdAt: reports.createdAt,
    })
    .from(reports)
    .where(inArray(reports.id, [...ids]));
