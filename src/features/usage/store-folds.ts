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
import { amounts, dimensions } from "./roll-up-columns.ts";
import type { Level } from "./spans.ts";

export type Folded = { days: number; isDone: boolean };

/** Merges wait as long. When they take longer than that themselves, it is tried again another time. */
const lockMs = 1_000;

/** Folds about so many rows. `days`: how many became whole by it. A day is over an hour after its end. */
export function foldPiece({ transaction }: Pick<Database, "transaction">, rows: number): Promise<Folded> {
  return transaction(async (tx) => {
    await tx.execute(sql`select set_config('lock_timeout', ${String(lockMs)}, true)`);
    await tx.execute(sql`select pg_advisory_xact_lock(${foldLock}::int, 0)`);
    const next = await findNext(tx);
    if (next === null) return { days: 0, isDone: true };
    const { mark, limit, hour } = next;
    if (hour === null) {
      if (mark < limit) await setMark(tx, limit);
      return { days: daysBetween(mark, limit), isDone: true };
    }
    const from = Math.max(0, mark - hour);
    const to = await findEnd(tx, { hour, from, rows });
    await tx.execute(fold({ hour, from, to }));
    await setMark(tx, hour + to);
    return { days: daysBetween(mark, hour + to), isDone: false };
  });
}

const [hourMs, dayMs] = [3_600_000, 86_400_000];
const daysBetween = (from: number, to: number): number =>
  Math.max(0, Math.floor(to / dayMs) - Math.floor(from / dayMs));

/** Epoch milliseconds. `hour`: the next that has rows before the limit. */
type Next = { mark: number; limit: number; hour: number | null };

/** Null when nothing was ever used. */
async function findNext(tx: Db): Promise<Next | null> {
  const [row] = await tx.execute<{ mark: Date | null; due: Date; hour: Date | null }>(sql`
    with mark as (
      select coalesce((select at from usage_marks where name = 'folded'),
        date_trunc('day', (select min(hour) from usage_hours), 'UTC')) as at
    ),
    due as (select date_trunc('day', now() - interval '1 hour', 'UTC') as at)
    select (select at from mark) as mark, (select at from due) as due, (
      select min(hour) from usage_hours
      where hour >= date_trunc('hour', (select at from mark), 'UTC') and hour < (select at from due)
    ) as hour`);
  if (row === undefined || row.mark === null) return null;
  const { mark, due, hour } = row;
  return { mark: mark.getTime(), limit: due.getTime(), hour: hour?.getTime() ?? null };
}

type Piece = { hour: number; from: number; to: number };

/** The slot before which so many rows lie from `from` on, in the table that has them closer together. */
async function findEnd(tx: Db, { hour, from, rows }: Omit<Piece, "to"> & { rows: number }): Promise<number> {
  const last = (tag: SQL, table: SQL) => sql`
    select ${slotOf(tag)} as slot from ${table} where hour = ${timeOf(hour)} and ${slotOf(tag)} >= ${from}
    order by ${slotOf(tag)} offset ${rows - 1} limit 1`;
  const [row] = await tx.execute<{ slot: number | null }>(sql`
    select least((${last(sql`''`, sql`usage_hours`)}), (${last(sql`tag`, sql`usage_tag_hours`)})) as slot`);
  return row?.slot == null ? hourMs : Math.min(hourMs, row.slot + 1);
}

const setMark = (tx: Db, at: number) =>
  tx.execute(sql`
    insert into usage_marks (name, at) values ('folded', ${timeOf(at)})
    on conflict (name) do update set at = excluded.at`);

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

/** As both tables are indexed by. */
const slotOf = (tag: SQL): SQL => sql`fold_slot(${tag}, ${list(dimensions)})`;

/** The rows of the hour whose slot lies between the two. */
function fold({ hour, from, to }: Piece): SQL {
  const key = list(["span", "level", "tag", "starts_at", ...dimensions]);
  const rows = (tag: SQL, table: SQL) => sql`
    select ${tag} as tag, hour, ${list([...dimensions, ...amounts])} from ${table}
    where hour = ${timeOf(hour)} and ${slotOf(tag)} >= ${from} and ${slotOf(tag)} < ${to}`;
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
