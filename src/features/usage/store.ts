/**
 * Reads of the ledger. It is written in one place only, the merge (merge.sql).
 */
import { and, asc, desc, eq, gte, inArray, lt, ne, or, type SQL, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { attempts, requests, usageHours } from "../../db/schema.ts";
import type { Group, RequestsQuery } from "./contract.ts";

export type RequestRecord = typeof requests.$inferSelect;
export type AttemptRecord = typeof attempts.$inferSelect;

/** Whose rows may be seen. */
export type Sight =
  | { readonly of: "all" }
  | { readonly of: "project" | "client"; readonly id: string }
  /** Their own, and those of the projects they belong to. */
  | { readonly of: "person"; readonly id: string; readonly projectIds: readonly string[] };

export type Position = { readonly at: string; readonly id: string };
export type Filters = Omit<RequestsQuery, "limit" | "cursor">;

/** Newest first, from below `position`; a call that is still open is in no list. */
export async function listRequests(
  db: Db,
  asked: { sight: Sight; filters: Filters; position: Position | null; rowsMax: number },
): Promise<RequestRecord[]> {
  const { filters, position } = asked;
  return await db
    .select()
    .from(requests)
    .where(
      and(
        ne(requests.state, "open"),
        sightOf(asked.sight, requests),
        filters.from && gte(requests.at, filters.from),
        filters.to && lt(requests.at, filters.to),
        filters.model
          ? or(eq(requests.model, filters.model), eq(requests.requestedModel, filters.model))
          : undefined,
        filters.provider ? eq(requests.provider, filters.provider) : undefined,
        filters.client ? eq(requests.clientId, filters.client) : undefined,
        filters.key ? eq(requests.keyId, filters.key) : undefined,
        filters.state && eq(requests.state, filters.state),
        position
          ? sql`(${requests.at}, ${requests.id}) < (${position.at}::timestamptz, ${position.id})`
          : undefined,
      ),
    )
    .orderBy(desc(requests.at), desc(requests.id))
    .limit(asked.rowsMax);
}

export async function findRequest(db: Db, sight: Sight, id: string): Promise<RequestRecord | undefined> {
  const [row] = await db
    .select()
    .from(requests)
    .where(and(eq(requests.id, id), ne(requests.state, "open"), sightOf(sight, requests)));
  return row;
}

export async function listAttempts(db: Db, requestIds: readonly string[]): Promise<AttemptRecord[]> {
  if (requestIds.length === 0) return [];
  return await db
    .select()
    .from(attempts)
    .where(inArray(attempts.requestId, [...requestIds]))
    .orderBy(asc(attempts.requestId), asc(attempts.attempt));
}

type Owned = { projectId: SQL | unknown; clientId: SQL | unknown; userId: SQL | unknown };

function sightOf(sight: Sight, table: Owned): SQL | undefined {
  if (sight.of === "all") return undefined;
  if (sight.of === "person") {
    const own = sql`${table.userId} = ${sight.id}`;
    return sight.projectIds.length === 0
      ? own
      : sql`(${own} or ${inArray(table.projectId as SQL, [...sight.projectIds])})`;
  }
  return sql`${sight.of === "project" ? table.projectId : table.clientId} = ${sight.id}`;
}

const groupTexts: Record<Group, SQL> = {
  hour: sql`to_char(hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24:00:00.000"Z"')`,
  day: sql`to_char(hour at time zone 'UTC', 'YYYY-MM-DD"T"00:00:00.000"Z"')`,
  model: sql`model`,
  provider: sql`provider`,
  project: sql`project_id`,
  session: sql`session_id`,
  iteration: sql`iteration_id`,
  task: sql`task_id`,
  user: sql`user_id`,
  client: sql`client_id`,
  key: sql`key_id`,
};

/** Sums of one group. 64-bit sums come as text; counts are by bucket (histogram.ts). */
export type GroupRecord = {
  /** One text for each group asked for; an empty one is "none". */
  names: string[];
  requests: string;
  errors: string;
  input: string;
  output: string;
  cached_read: string;
  cache_write: string;
  reasoning: string;
  audio: string;
  cost_nano: string;
  unknown_nano: string;
  latency: Record<string, number> | null;
  first_token: Record<string, number> | null;
};

/** Whole hours: the one that `from` lies in is the first. At most `rowsMax` groups, the times ascending, then the dearest first. */
export async function sumHours(
  db: Db,
  asked: {
    sight: Sight;
    from: Date | undefined;
    to: Date | undefined;
    by: readonly Group[];
    rowsMax: number;
  },
): Promise<GroupRecord[]> {
  const names = sql`array[${sql.join(
    asked.by.map((group) => groupTexts[group]),
    sql`, `,
  )}]::text[]`;
  const within = and(
    sightOf(asked.sight, usageHours),
    asked.from &&
      sql`${usageHours.hour} >= date_trunc('hour', ${asked.from.toISOString()}::timestamptz, 'UTC')`,
    asked.to && sql`${usageHours.hour} < ${asked.to.toISOString()}::timestamptz`,
  );
  const times = asked.by.flatMap((group, at) =>
    group === "hour" || group === "day" ? [sql`names[${sql.raw(String(at + 1))}], `] : [],
  );
  const rows = await db.execute(sql`
    with chosen as materialized (select ${names} as names, usage_hours.* from usage_hours where ${within ?? sql`true`}),
    sums as (
      select names, sum(requests) as requests, sum(errors) as errors, sum(input) as input, sum(output) as output,
        sum(cached_read) as cached_read, sum(cache_write) as cache_write, sum(reasoning) as reasoning,
        sum(audio) as audio, sum(cost_nano) as cost_nano, sum(unknown_nano) as unknown_nano
      from chosen group by names having sum(requests) > 0
    ),
    latencies as (${histogram(sql`latency`)}),
    first_tokens as (${histogram(sql`first_token`)})
    select names, requests::text, errors::text, input::text, output::text, cached_read::text, cache_write::text,
      reasoning::text, audio::text, cost_nano::text, unknown_nano::text,
      latencies.counts as latency, first_tokens.counts as first_token
    from sums left join latencies using (names) left join first_tokens using (names)
    order by ${sql.join(times)} sums.cost_nano desc, sums.requests desc, names
    limit ${asked.rowsMax}`);
  return rows as unknown as GroupRecord[];
}

const histogram = (column: SQL): SQL => sql`
  select names, json_object_agg(bucket - 1, n) as counts
  from (
    select names, bucket, sum(n) as n
    from chosen cross join lateral unnest(${column}) with ordinality as one(n, bucket)
    where n <> 0 group by names, bucket
  ) as buckets group by names`;

/** Of these projects, those whose spending was told within the last second; nobody else tells of them meanwhile. */
export async function listTicked(tx: Db, projectIds: readonly string[]): Promise<string[]> {
  const asked = [...projectIds].sort();
  await tx.execute(sql`
    select pg_advisory_xact_lock(hashtextextended('usage.tick ' || id, 0))
    from unnest(${sql.param(asked)}::text[]) with ordinality as asked (id, place) order by place`);
  const found = await tx.execute<{ id: string }>(sql`
    select distinct project_id as id from events
    where type = 'usage.tick' and project_id = any(${sql.param(asked)}::text[])
      and at > now() - interval '950 milliseconds'`);
  return [...found].map(({ id }) => id);
}
