/**
 * Sums out of the roll-ups, in one statement and so of one moment.
 */
import { and, eq, type SQL, sql } from "drizzle-orm";
import type { PgColumn } from "drizzle-orm/pg-core";
import type { Db } from "../../db/database.ts";
import { usageHours, usageMarks, usageSpans, usageTagHours } from "../../db/schema.ts";
import type { Group, SumFilters } from "./contract.ts";
import { type Dimension, levelOf, type Piece, piecesOf } from "./spans.ts";
import { isOf, type Sight, sightOf } from "./store.ts";

/** Sums of one group, as text, because a number holds too little; latencies as in histogram.ts. */
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
  charged_nano: string;
  unknown_nano: string;
  latency: string;
  first_token: string;
};

export type SumQuestion = {
  sight: Sight;
  filters: SumFilters;
  from: Date | undefined;
  to: Date | undefined;
  by: readonly Group[];
  rowsMax: number;
};

/**
 * Whole hours: the one that `from` lies in is the first. At most `rowsMax` groups, the times ascending, then the dearest
 * first. By tag, all calls stand under an empty name and those with any tag under `*`: see `untagged`.
 */
export async function sumUsage(db: Db, asked: SumQuestion): Promise<GroupRecord[]> {
  const { by } = asked;
  const finest = by.includes("hour") ? "hour" : by.includes("day") ? "day" : "month";
  const pieces = piecesOf(asked, finest, await findFolded(db));
  if (pieces.length === 0) return [];
  const chosen = sql.join(
    pieces.flatMap((piece) => sourcesOf(piece, asked)),
    sql` union all `,
  );
  const times = by.flatMap((group, at) =>
    group === "hour" || group === "day" ? [sql`names[${sql.raw(String(at + 1))}], `] : [],
  );
  const rows = await db.execute(sql`
    with chosen as (${chosen}),
    sums as (
      select names, sum(requests) as requests, sum(errors) as errors, sum(input) as input, sum(output) as output,
        sum(cached_read) as cached_read, sum(cache_write) as cache_write, sum(reasoning) as reasoning,
        sum(audio) as audio, sum(cost_nano) as cost_nano, sum(charged_nano) as charged_nano,
        sum(unknown_nano) as unknown_nano, sum(latency) as latency, sum(first_token) as first_token
      from chosen group by names having sum(requests) > 0
    )
    select names, requests::text, errors::text, input::text, output::text, cached_read::text, cache_write::text,
      reasoning::text, audio::text, cost_nano::text, charged_nano::text, unknown_nano::text, latency::text,
      first_token::text
    from sums
    order by ${sql.join(times)} sums.cost_nano desc, sums.requests desc, names
    limit ${asked.rowsMax}`);
  return rows as unknown as GroupRecord[];
}

const dayMs = 86_400_000;

async function findFolded(db: Db): Promise<Date | null> {
  const [row] = await db.select().from(usageMarks).where(eq(usageMarks.name, "folded"));
  // A day is read when it is folded whole.
  return row === undefined ? null : new Date(Math.floor(row.at.getTime() / dayMs) * dayMs);
}

type Rolled = typeof usageHours | typeof usageTagHours | typeof usageSpans;

/** Tagged hours stand in a table of their own; days and months have both in one. */
function sourcesOf(piece: Piece, asked: SumQuestion): SQL[] {
  const { tag } = asked.filters;
  const byTag = asked.by.includes("tag");
  if (piece.grain !== "hour") {
    const span = and(
      sql`${usageSpans.span} = ${piece.grain}`,
      sql`${usageSpans.level} = ${levelOf(dimensionsOf(asked))}`,
      tag !== undefined || !byTag ? sql`${usageSpans.tag} = ${tag ?? ""}` : undefined,
    );
    return [source(usageSpans, sql`tag`, sql`starts_at`, piece, asked, span)];
  }
  const hour = sql`hour`;
  const tagged = () =>
    source(usageTagHours, sql`tag`, hour, piece, asked, tag === undefined ? undefined : sql`tag = ${tag}`);
  if (tag !== undefined) return [tagged()];
  const all = source(usageHours, sql`''`, hour, piece, asked, undefined);
  return byTag ? [all, tagged()] : [all];
}

function source(table: Rolled, tag: SQL, time: SQL, piece: Piece, asked: SumQuestion, of?: SQL): SQL {
  const names = asked.by.map((group) => (group === "tag" ? tag : nameOf(group, time)));
  const within = and(
    of,
    sightOf(asked.sight, table),
    ...filtersOf(asked.filters, table),
    piece.from === null ? undefined : sql`${time} >= ${piece.from.toISOString()}::timestamptz`,
    piece.to === null ? undefined : sql`${time} < ${piece.to.toISOString()}::timestamptz`,
  );
  return sql`
    select array[${sql.join(names, sql`, `)}]::text[] as names, requests, errors, input, output, cached_read, cache_write,
      reasoning, audio, cost_nano, charged_nano, unknown_nano, latency, first_token
    from ${table} where ${within ?? sql`true`}`;
}

function nameOf(group: Exclude<Group, "tag">, time: SQL): SQL {
  if (group === "hour") return sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:00:00.000"Z"')`;
  if (group === "day") return sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"00:00:00.000"Z"')`;
  return columns[group];
}

const columns: Record<Dimension, SQL> = {
  provider: sql`provider`,
  model: sql`model`,
  project: sql`project_id`,
  session: sql`session_id`,
  iteration: sql`iteration_id`,
  task: sql`task_id`,
  user: sql`user_id`,
  client: sql`client_id`,
  key: sql`key_id`,
};
const dimensions = Object.keys(columns) as Dimension[];

function filtersOf(filters: SumFilters, table: Rolled): SQL[] {
  const named: Record<Dimension, PgColumn> = {
    provider: table.provider,
    model: table.model,
    project: table.projectId,
    session: table.sessionId,
    iteration: table.iterationId,
    task: table.taskId,
    user: table.userId,
    client: table.clientId,
    key: table.keyId,
  };
  return dimensions.flatMap((name) => {
    const value = filters[name];
    return value === undefined ? [] : [isOf(named[name], value)];
  });
}

function dimensionsOf({ by, filters, sight }: SumQuestion): Dimension[] {
  const seen: Record<Sight["of"], Dimension[]> = {
    all: [],
    project: ["project"],
    session: ["project", "session"],
    client: ["client"],
    person: ["user", "project"],
  };
  const isNamed = (name: Dimension) => by.includes(name) || filters[name] !== undefined;
  return [...seen[sight.of], ...dimensions.filter(isNamed)];
}
