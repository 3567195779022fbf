/**
 * Where the roll-ups and the calls do not say the same: each statement looks at one moment.
 *
 * What both sides say is added up with opposite signs; whatever does not come to nothing is a difference.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { amounts, dimensions } from "./roll-up-columns.ts";

/** Of one hour: in how many groups (tag, model, project, …) calls and roll-ups differ. */
export async function countHourDifferences(db: Db, hour: Date): Promise<number> {
  const at = sql`${hour.toISOString()}::timestamptz`;
  return await countOf(
    db,
    sql`
      with called as materialized (
        select * from requests where at >= ${at} and at < ${at} + interval '1 hour' and state <> 'open'
      ),
      tagged as (
        select '' as tag, * from called
        union all
        select one.tag, called.* from called cross join lateral (
          select '*' as tag union all select key || '=' || value from jsonb_each_text(tags)
        ) as one where tags is not null and tags <> '{}'
      )
      select tag, provider, model, coalesce(project_id, ''), coalesce(session_id, ''), coalesce(iteration_id, ''),
        coalesce(task_id, ''), coalesce(user_id, ''), coalesce(client_id, ''), coalesce(key_id, ''),
        array[1, (state = 'failed')::int, coalesce(input, 0), coalesce(output, 0), coalesce(cached_read, 0),
          coalesce(cache_write, 0), coalesce(reasoning, 0), coalesce(audio, 0), coalesce(cost_nano, 0),
          coalesce(charged_nano, 0), case when state = 'unknown' then coalesce(charged_nano, 0) else 0 end,
          coalesce(latency_count(duration_ms), 0), coalesce(latency_count(first_token_ms), 0)]::numeric[] as amounts
      from tagged
      union all
      select '', ${keptBy}, ${rolled("-")} from usage_hours where hour = ${at}
      union all
      select tag, ${keptBy}, ${rolled("-")} from usage_tag_hours where hour = ${at}`,
    10,
  );
}

/** Of one folded day: in how many tags and levels the day differs from its hours. */
export async function countDayDifferences(db: Db, day: Date): Promise<number> {
  const at = sql`${day.toISOString()}::timestamptz`;
  const ofDay = sql`hour >= ${at} and hour < ${at} + interval '1 day'`;
  return await countOf(
    db,
    sql`
      with hours as (
        select '' as tag, ${rolled("")} as amounts from usage_hours where ${ofDay}
        union all select tag, ${rolled("")} from usage_tag_hours where ${ofDay}
      ),
      used as materialized (select distinct tag from hours union select '')
      select level, tag, amounts from hours cross join (values ('totals'), ('models'), ('projects'), ('callers'), ('all')) as levels(level)
      union all
      select days.level, days.tag, days.amounts from used cross join lateral (
        select level, tag, ${rolled("-")} as amounts from usage_spans
        where span = 'day' and level in ('totals', 'models', 'projects', 'callers', 'all') and tag = used.tag and starts_at = ${at} offset 0
      ) as days`,
    2,
  );
}

/** `folded`: up to which day. */
export type Reach = { readonly folded: Date | null; readonly swept: Date | null };

export async function findReach(db: Db): Promise<Reach> {
  const [row] = await db.execute<Reach>(sql`
    select (select date_trunc('day', at, 'UTC') from usage_marks where name = 'folded') as folded,
      (select at from usage_marks where name = 'swept') as swept`);
  return row ?? { folded: null, swept: null };
}

const keptBy = sql.raw(dimensions.join(", "));

const rolled = (sign: "" | "-"): SQL =>
  sql.raw(`array[${amounts.map((amount) => sign + amount).join(", ")}]::numeric[]`);

/** `rows` end with an array of 13 amounts behind so many columns that name a group. */
async function countOf(db: Db, rows: SQL, named: number): Promise<number> {
  const names = sql.raw(Array.from({ length: named }, (_, at) => `name_${at}`).join(", "));
  const sums = sql.raw(Array.from({ length: 13 }, (_, at) => `sum(amounts[${at + 1}]) <> 0`).join(" or "));
  const [row] = await db.execute<{ groups: number }>(sql`
    with signed(${names}, amounts) as (${rows})
    select count(*)::int as groups from (
      select 1 from signed group by ${names} having ${sums}
    ) as differing`);
  return row?.groups ?? 0;
}
