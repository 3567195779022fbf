/**
 * The newest things across all projects of a caller, for lists that belong to no single session. Bounded by what is asked
 * for and not by what there is: each project is read from its newest row down, and no further than a page.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Principal } from "../platform/principal.ts";
import { visibleProjects } from "../platform/scopes.ts";
import type { Db } from "./database.ts";

/** Each has an index on its project and id. */
export type Listed = "sessions" | "tasks" | "reports";

/** Ids from `from` on, and below `below`. */
export type IdRange = { readonly from: string; readonly below: string };

/** The ids that this caller may see, newest first. */
export async function newestIds(
  db: Db,
  listed: Listed,
  principal: Principal,
  { from, below, rowsMax }: IdRange & { rowsMax: number },
): Promise<string[]> {
  const table = sql.identifier(listed);
  const inRange = sql`id >= ${from} and id < ${below}`;
  const { sessionId } = principal;
  const projectIds = visibleProjects(principal);
  const rows = await db.execute<{ id: string }>(
    sessionId !== null
      ? sql`
        select id from ${table} where ${sessionOf(listed)} = ${sessionId} and ${inRange}
          and project_id in (select unnest(${sql.param(projectIds ?? [])}::text[]))
        order by id desc limit ${rowsMax}`
      : projectIds === null
        ? sql`select id from ${table} where ${inRange} order by id desc limit ${rowsMax}`
        : // As a range of pairs, which only the index on both has in order.
          sql`
        select newest.id from unnest(${sql.param(projectIds)}::text[]) as project(id)
        cross join lateral (
          select one.id from ${table} as one
          where (one.project_id, one.id) >= (project.id, ${from}) and (one.project_id, one.id) < (project.id, ${below})
          order by one.project_id desc, one.id desc limit ${rowsMax}
        ) as newest
        order by newest.id desc limit ${rowsMax}`,
  );
  return rows.map(({ id }) => id);
}

const sessionOf = (listed: Listed): SQL => (listed === "sessions" ? sql`id` : sql`session_id`);
