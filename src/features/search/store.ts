/**
 * Reads tasks and reports by their full text.
 *
 * Each table is asked for as many rows as the page can hold, in the order of its ids, so that a rare word comes from the
 * full-text index and a frequent one from the project's newest rows; the page is cut from both.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import type { FoundKind } from "./contract.ts";

export type Asked = {
  readonly projectId: string;
  /** The one session that a credential is bound to, or null. */
  readonly sessionId: string | null;
  readonly kinds: readonly FoundKind[];
  /** A tsquery. */
  readonly query: SQL;
  /** The digits of the id behind which to go on, or null. */
  readonly before: string | null;
  readonly rowsMax: number;
};

export type Found = {
  readonly kind: FoundKind;
  readonly id: string;
  readonly sessionId: string;
  readonly title: string;
  readonly taskRef: string | null;
  readonly status: string | null;
  /** What else it says, as far as a snippet is looked for in it. */
  readonly text: string;
};

const textCharactersMax = 20_000;
export const digitsOf = (id: string): string => id.slice(4);

/** Newest first. */
export async function findTexts(tx: Db, asked: Asked): Promise<Found[]> {
  // A plan for any words would read a project from its newest row on, for as long as a rare word takes to come.
  await tx.execute(sql`select set_config('plan_cache_mode', 'force_custom_plan', true)`);
  const parts = asked.kinds.map((kind) => (kind === "task" ? tasksFound(asked) : reportsFound(asked)));
  const found = await tx.execute(sql`
    select * from (${sql.join(parts, sql` union all `)}) as found
    order by substr(id, 5) desc limit ${asked.rowsMax}`);
  return found as unknown as Found[];
}

const tasksFound = (asked: Asked): SQL => sql`
  (select 'task' as kind, id, session_id as "sessionId", title, task_ref as "taskRef", status,
    left(concat_ws(' ', acceptance_criteria, notes), ${textCharactersMax}) as text
  from tasks where ${those(asked, "tsk")} order by id desc limit ${asked.rowsMax})`;

const reportsFound = (asked: Asked): SQL => sql`
  (select 'report' as kind, id, session_id as "sessionId", title, null as "taskRef", null as status,
    left(body, ${textCharactersMax}) as text
  from reports where ${those(asked, "rpt")} order by id desc limit ${asked.rowsMax})`;

function those({ projectId, sessionId, query, before }: Asked, prefix: string): SQL {
  const conditions = [sql`project_id = ${projectId}`, sql`search @@ ${query}`];
  if (sessionId !== null) conditions.push(sql`session_id = ${sessionId}`);
  if (before !== null) conditions.push(sql`id < ${`${prefix}_${before}`}`);
  return sql.join(conditions, sql` and `);
}
