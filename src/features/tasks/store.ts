/**
 * The tables tasks and task_history: reading. What is written stands in store-revisions.ts.
 */
import { and, desc, eq, getTableColumns, gt, inArray, lt, max, type SQL, sql } from "drizzle-orm";
import { unionAll } from "drizzle-orm/pg-core";
import type { Db } from "../../db/database.ts";
import { taskHistory, tasks } from "../../db/schema.ts";
import { gramQuery, searchQuery } from "../../db/search-text.ts";
import type { Task } from "./revision.ts";
import type { TaskState } from "./states.ts";

const { search, ...columns } = getTableColumns(tasks);
const {
  projectId: _project,
  sessionId: _session,
  createdAt: _created,
  updatedAt: _updated,
  ...own
} = columns;

export type TaskRow = Omit<typeof tasks.$inferSelect, "search">;
export type TaskHistoryRow = typeof taskHistory.$inferSelect;

export async function findTask(db: Db, id: string): Promise<TaskRow | undefined> {
  const [row] = await db.select(columns).from(tasks).where(eq(tasks.id, id));
  return row;
}

/** What lists of tasks of many sessions show, newest first. */
export const listTitles = (
  db: Db,
  ids: readonly string[],
): Promise<Pick<TaskRow, "id" | "sessionId" | "title" | "status">[]> =>
  db
    .select({ id: tasks.id, sessionId: tasks.sessionId, title: tasks.title, status: tasks.status })
    .from(tasks)
    .where(inArray(tasks.id, [...ids]))
    .orderBy(desc(tasks.id));

/** Locked until the transaction ends. */
export async function lockTask(tx: Db, id: string): Promise<TaskRow | undefined> {
  const [row] = await tx.select(columns).from(tasks).where(eq(tasks.id, id)).for("update");
  return row;
}

/** Those of the session with these keys, or all, each locked until the transaction ends. */
export function lockTasks(tx: Db, sessionId: string, keys: readonly string[] | null): Promise<Task[]> {
  // Not `= any`: without an index on its side that compares each row with each key.
  const isAsked =
    keys === null ? undefined : sql`${tasks.dedupeKey} in (select unnest(${sql.param([...keys])}::text[]))`;
  return tx
    .select(own)
    .from(tasks)
    .where(and(eq(tasks.sessionId, sessionId), isAsked))
    .orderBy(tasks.dedupeKey)
    .for("update");
}

/** 0 in a session without tasks. */
export async function findLastPosition(db: Db, sessionId: string): Promise<number> {
  const [row] = await db
    .select({ last: max(tasks.position) })
    .from(tasks)
    .where(eq(tasks.sessionId, sessionId));
  return row?.last ?? 0;
}

export type TasksAsked = {
  sessionId: string;
  /** The position behind which to go on. */
  after: number;
  statuses: readonly TaskState[] | undefined;
  spec: string | undefined;
  text: string | undefined;
  rowsMax: number;
};

/** In the order of their positions. */
export async function listTasks(db: Db, asked: TasksAsked): Promise<TaskRow[]> {
  const { spec, text, statuses } = asked;
  const [first, second, ...others] = (statuses ?? []).map((status) =>
    inOrder(db, asked, eq(tasks.status, status)),
  );
  // One index has the tasks of one status in order; those of several are merged here, and never sorted as a whole.
  if (first !== undefined && second !== undefined && spec === undefined && text === undefined)
    return await unionAll(first, second, ...others)
      .orderBy(tasks.position)
      .limit(asked.rowsMax);
  return await inOrder(db, asked, statuses && inArray(tasks.status, [...statuses]));
}

function inOrder(db: Db, { sessionId, after, spec, text, rowsMax }: TasksAsked, ofStatus: SQL | undefined) {
  return db
    .select(columns)
    .from(tasks)
    .where(
      and(
        eq(tasks.sessionId, sessionId),
        gt(tasks.position, after),
        ofStatus,
        spec === undefined ? undefined : eq(tasks.originatingSpec, spec),
        text === undefined ? undefined : says(text),
      ),
    )
    .orderBy(tasks.position)
    .limit(rowsMax);
}

/** By words, or by parts of the title or the reference, which have no trigrams when they are shorter than three characters. */
function says(text: string): SQL {
  const hasShort = text.split(/\s+/).some((part) => [...part].length < 3);
  const queries = [searchQuery(text), hasShort ? null : gramQuery(text)].filter((query) => query !== null);
  return queries.length === 0 ? sql`false` : sql`${search} @@ (${sql.join(queries, sql` || `)})`;
}

/** The last version first, from below `before`. */
export function listHistory(
  db: Db,
  asked: { taskId: string; before: number | null; rowsMax: number },
): Promise<TaskHistoryRow[]> {
  return db
    .select()
    .from(taskHistory)
    .where(
      and(
        eq(taskHistory.taskId, asked.taskId),
        asked.before === null ? undefined : lt(taskHistory.version, asked.before),
      ),
    )
    .orderBy(desc(taskHistory.version))
    .limit(asked.rowsMax);
}
