/**
 * How the hours of days that are over become rows of those days and of their months, at every level.
 *
 * A piece of an hour at a time, in the order of `fold_place`: nobody merges while a piece is folded, and a piece is small
 * enough for nobody to notice. The mark says up to which place; what comes before it later, the merge adds itself. So at
 * every moment the spans are the sum of all that lies before the mark. Only additions; the hours stay.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Database, Db } from "../../db/database.ts";
import { foldLock } from "./merge.ts";
import type { Level } from "./spans.ts";

export type Folded = { days: number; isDone: boolean };

/** Merges wait as long. When they take longer than that themselves, it is tried again another time. */
const lockMs = 1_000;

/** Of an hour of very many rows a piece is larger, because each piece looks at all of them. */
const piecesMax = 200;

/** Folds about so many rows. `days`: how many became whole by it. A day is over an hour after its end. */
export async function foldPiece({ db, transaction }: Place, rows: number): Promise<Folded> {
  // Counted before anybody has to wait.
  const expected = (await findNext(db))?.hour ?? null;
  const count = expected === null ? 0 : await countRows(db, expected);
  const parts = Math.min(Math.max(1, Math.ceil(count / rows)), piecesMax);
  return await transaction(async (tx) => {
    await tx.execute(sql`select set_config('lock_timeout', ${String(lockMs)}, true)`);
    await tx.execute(sql`select pg_advisory_xact_lock(${foldLock}::int, 0)`);
    const next = await findNext(tx);
    if (next === null) return { days: 0, isDone: true };
    const { mark, limit, hour } = next;
    // Something came for an hour before, or somebody else folds too.
    if (hour !== expected) return { days: 0, isDone: false };
    if (hour === null) {
      if (mark < limit) await setMark(tx, limit);
      return { days: daysBetween(mark, limit), isDone: true };
    }
    const from = Math.max(mark, hour);
    const to = Math.min(from + Math.ceil(hourMs / parts), hour + hourMs);
    await tx.execute(fold({ hour, from, to }));
    await setMark(tx, to);
    return { days: daysBetween(mark, to), isDone: false };
  });
}

type Place = Pick<Database, "db" | "transaction">;

const [hourMs, dayMs] = [3_600_000, 86_400_000];
const daysBetween = (from: number, to: number): number =>
  Math.max(0, Math.floor(to / dayMs) - Math.floor(from / dayMs));

/** Epoch milliseconds. `hour`: the next that has rows before the limit. */
type Next = { mark: number; limit: number; hour: number | null };

/** Null when nothing was ever used. */
async function findNext(db: Db): Promise<Next | null> {
  const [row] = await db.execute<{ mark: Date | null; due: Date; hour: Date | null }>(sql`
    with mark as (
      select coalesce((select at from usage_marks where name = 'folded'),
        date_trunc('day', (select min(hour) from usage_hours), 'UTC')) as at
    ),
    due as (select date_trunc('day', now() - interval '1 hour', 'UTC') as at)
    select mark.at as mark, due.at as due, (
      select min(hour) from usage_hours where hour >= date_trunc('hour', mark.at, 'UTC') and hour < due.at
    ) as hour from mark cross join due`);
  if (row === undefined || row.mark === null) return null;
  const { mark, due, hour } = row;
  return { mark: mark.getTime(), limit: due.getTime(), hour: hour?.getTime() ?? null };
}

async function countRows(db: Db, hour: number): Promise<number> {
  const [row] = await db.execute<{ count: number }>(sql`
    select ((select count(*) from usage_hours where hour = ${timeOf(hour)})
      + (select count(*) from usage_tag_hours where hour = ${timeOf(hour)}))::int as count`);
  return row?.count ?? 0;
}

const setMark = (tx: Db, at: number) =>
  tx.execute(sql`
    insert into usage_marks (name, at) values ('folded', ${timeOf(at)})
    on conflict (name) do update set at = excluded.at`);

const dimensions = [
  "provider",
  "model",
  "project_id",
  "session_id",
  "iteration_id",
  "task_id",
  "user_id",
  "client_id",
  "key_id",
];
const amounts = [
  "requests",
  "errors",
  "input",
  "output",
  "cached_read",
  "cache_write",
  "reasoning",
  "audio",
  "cost_nano",
  "charged_nano",
  "unknown_nano",
  "latency",
  "first_token",
];
/** The finest first. */
const keptBy: Record<Level, readonly string[]> = {
  all: dimensions,
  callers: ["provider", "model", "project_id", "user_id", "client_id"],
  projects: ["provider", "model", "project_id"],
  models: ["provider", "model"],
  totals: [],
};
const levels = Object.keys(keptBy) as Level[];

const list = (names: readonly string[]): SQL => sql.raw(names.join(", "));
const timeOf = (at: number): SQL => sql`${new Date(at).toISOString()}::timestamptz`;
/** Of a row at any level, what that level keeps. */
const kept = list(
  dimensions.map((name) => {
    const those = levels.filter((level) => keptBy[level].includes(name)).map((level) => `'${level}'`);
    return `case when level in (${those.join(", ")}) then ${name} else '' end`;
  }),
);
const groups = list(Array.from({ length: 4 + dimensions.length }, (_, at) => String(at + 1)));

/** The rows of the hour that have their place between the two. */
function fold({ hour, from, to }: { hour: number; from: number; to: number }): SQL {
  const key = list(["span", "level", "tag", "starts_at", ...dimensions]);
  const rows = (tag: SQL, table: SQL) => sql`
    select ${tag} as tag, hour, ${list([...dimensions, ...amounts])} from ${table}
    where hour = ${timeOf(hour)} and fold_place(hour, ${tag}, ${list(dimensions)}) >= ${timeOf(from)}
      and fold_place(hour, ${tag}, ${list(dimensions)}) < ${timeOf(to)}`;
  return sql`
    insert into usage_spans as old (${key}, ${list(amounts)})
    select span, level, tag, date_trunc(span, hour, 'UTC'), ${kept}, ${list(amounts.map((name) => `sum(${name})`))}
    from (${rows(sql`''`, sql`usage_hours`)} union all ${rows(sql`tag`, sql`usage_tag_hours`)}) as piece
    cross join (values ('day'), ('month')) as spans (span)
    cross join (values ${list(levels.map((level) => `('${level}')`))}) as levels (level)
    group by ${groups} having sum(requests) <> 0
    order by ${groups}
    on conflict (${key}) do update set ${list(amounts.map((name) => `${name} = old.${name} + excluded.${name}`))}`;
}
