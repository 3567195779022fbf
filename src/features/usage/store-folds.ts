/**
 * How the hours of one day become rows of that day and of its month: at the finest level from the hours, at each other
 * level from the finer one. Only additions; the hours stay.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { foldLock } from "./merge.ts";
import type { Level } from "./spans.ts";

/** The next day to be folded; null when nothing was ever used. */
export async function findNextDay(db: Db): Promise<Date | null> {
  const [row] = await db.execute<{ day: Date | null }>(sql`select ${nextDay} as day`);
  return row?.day ?? null;
}

const nextDay = sql`coalesce(
  (select at from usage_marks where name = 'folded'), date_trunc('day', (select min(hour) from usage_hours), 'UTC'))`;

/** Whether `day` was over for long enough, and was not folded by somebody else. Nobody merges until the transaction ends. */
export async function foldDay(tx: Db, day: Date): Promise<boolean> {
  await tx.execute(sql`select pg_advisory_xact_lock(${foldLock}::int, 0)`);
  const at = sql`${day.toISOString()}::timestamptz`;
  const [due] = await tx.execute(sql`
    select 1 where now() >= ${at} + interval '25 hours' and ${nextDay} = ${at}`);
  if (due === undefined) return false;
  for (const [step, level] of levels.entries()) {
    const finer = levels[step - 1];
    await tx.execute(fold(level, finer === undefined ? hoursOf(at) : daysOf(at, finer), at));
    await tx.execute(addToMonth(level, at));
  }
  await tx.execute(sql`
    insert into usage_marks (name, at) values ('folded', ${at} + interval '1 day')
    on conflict (name) do update set at = excluded.at`);
  return true;
}

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
const columns = list(["span", "level", "tag", "starts_at", ...dimensions, ...amounts]);

const hoursOf = (day: SQL): SQL => {
  const ofDay = sql`hour >= ${day} and hour < ${day} + interval '1 day'`;
  const rest = list([...dimensions, ...amounts]);
  return sql`select '' as tag, ${rest} from usage_hours where ${ofDay}
    union all select tag, ${rest} from usage_tag_hours where ${ofDay}`;
};

/** Tag by tag, because times stand behind tags in the index. */
const daysOf = (day: SQL, level: Level): SQL => sql`
  select span_of.* from (
    select '' as tag union
    select tag from usage_tag_hours where hour >= ${day} and hour < ${day} + interval '1 day'
  ) as used cross join lateral (
    select * from usage_spans
    where span = 'day' and level = ${level} and tag = used.tag and starts_at = ${day} offset 0
  ) as span_of`;

function fold(level: Level, source: SQL, day: SQL): SQL {
  const kept = list(dimensions.map((name) => (keptBy[level].includes(name) ? name : "''")));
  const group = list(["tag", ...keptBy[level]]);
  return sql`
    insert into usage_spans (${columns})
    select 'day', ${level}, tag, ${day}, ${kept}, ${list(amounts.map((name) => `sum(${name})`))}
    from (${source}) as source group by ${group} having sum(requests) <> 0`;
}

const addToMonth = (level: Level, day: SQL): SQL => sql`
  insert into usage_spans as old (${columns})
  select 'month', level, tag, date_trunc('month', starts_at, 'UTC'), ${list([...dimensions, ...amounts])}
  from (${daysOf(day, level)}) as days
  on conflict (span, level, tag, starts_at, ${list(dimensions)}) do update set
    ${list(amounts.map((name) => `${name} = old.${name} + excluded.${name}`))}`;
