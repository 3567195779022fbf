/**
 * Lists of single calls, newest or oldest first.
 *
 * Whose calls they are, an index knows, and most of what a call was for. What no index knows (a model, a tag, a state) is
 * looked for in stretches of so many calls, for a second: then the answer is what was found, and where to go on. So a
 * filter that nothing fits takes no longer than another, however many calls there are. An open call is in no list.
 */
import { and, eq, gte, lt, ne, or, type SQL, sql } from "drizzle-orm";
import type { PgColumn } from "drizzle-orm/pg-core";
import type { Db } from "../../db/database.ts";
import { requests } from "../../db/schema.ts";
import type { CallFilters } from "./contract.ts";
import { type RequestRecord, type Sight, sightOf } from "./store.ts";

export type Position = { readonly at: string; readonly id: string };

export type CallQuestion = {
  readonly sight: Sight;
  readonly filters: CallFilters;
  readonly order: "newest" | "oldest";
  /** Where the list was left; null: not begun yet. */
  readonly position: Position | null;
  readonly rowsMax: number;
};

export type FoundCalls = {
  readonly rows: RequestRecord[];
  /** Where to go on; null: there are no more. */
  readonly next: Position | null;
};

export type Patience = {
  readonly milliseconds: number;
  /** How many calls are looked at in one statement, at first and at most. */
  readonly stretch: readonly [first: number, max: number];
};
/** A stretch takes some tens of milliseconds. */
const usual: Patience = { milliseconds: 1_000, stretch: [2_000, 50_000] };

/** Fewer than `rowsMax` with a `next` when looking took too long. */
export async function searchCalls(
  db: Db,
  asked: CallQuestion,
  patience: Patience = usual,
): Promise<FoundCalls> {
  const sources = sourcesOf(asked);
  const rows: RequestRecord[] = [];
  const deadline = performance.now() + patience.milliseconds;
  const [first, max] = patience.stretch;
  let { position } = asked;
  for (let stretch = first; ; stretch = Math.min(stretch * 5, max)) {
    const range = { order: asked.order, after: position, upTo: null };
    const upTo = sources.knowAll ? null : await findEnd(db, sources, range, stretch);
    rows.push(...(await listWithin(db, sources, { ...range, upTo }, asked.rowsMax - rows.length)));
    const last = rows.length >= asked.rowsMax ? rows.at(-1) : undefined;
    if (last !== undefined) return { rows, next: { at: last.at.toISOString(), id: last.id } };
    if (upTo === null || performance.now() >= deadline) return { rows, next: upTo };
    position = upTo;
  }
}

/**
 * Where the calls lie that may be meant. Each source is the beginning of an index that goes on with time and id; `rest`
 * is what it does not know.
 */
type Sources = {
  readonly first: SQL | undefined;
  /** Of these projects too, each a source of its own. */
  readonly projectIds: readonly string[];
  readonly times: SQL | undefined;
  readonly rest: SQL | undefined;
  /** Nothing but calls that are open is left out. */
  readonly knowAll: boolean;
};

function sourcesOf({ sight, filters }: CallQuestion): Sources {
  const { from, to } = filters;
  const times = and(from && gte(requests.at, from), to && lt(requests.at, to));
  const indexed: [PgColumn, string | undefined][] = [
    [requests.taskId, filters.task],
    [requests.iterationId, filters.iteration],
    [requests.sessionId, filters.session],
    [requests.keyId, filters.key],
    [requests.userId, filters.user],
    [requests.clientId, filters.client],
    [requests.projectId, filters.project],
  ];
  const [first, ...more] = equal(indexed);
  const unknown = [...more, ...unindexed(filters)];
  if (first !== undefined) {
    const rest = and(...unknown, sightOf(sight, requests));
    return { first, projectIds: [], times, rest, knowAll: rest === undefined };
  }
  const rest = and(...unknown);
  if (sight.of !== "person")
    return { first: sightOf(sight, requests), projectIds: [], times, rest, knowAll: rest === undefined };
  const { id, projectIds } = sight;
  return { first: eq(requests.userId, id), projectIds, times, rest, knowAll: rest === undefined };
}

const equal = (named: readonly [PgColumn, string | undefined][]): SQL[] =>
  named.flatMap(([column, value]) => (value === undefined ? [] : [eq(column, value)]));

function unindexed({ model, provider, endpoint, tag, state }: CallFilters): SQL[] {
  const either =
    model === undefined ? undefined : or(eq(requests.model, model), eq(requests.requestedModel, model));
  const rest = [either, tag === undefined ? undefined : isTagged(tag), state && eq(requests.state, state)];
  return [
    ...equal([
      [requests.provider, provider],
      [requests.endpoint, endpoint],
    ]),
    ...rest.filter((one) => one !== undefined),
  ];
}

function isTagged(tag: string): SQL {
  const end = tag.indexOf("=");
  return sql`${requests.tags} ->> ${tag.slice(0, end)} = ${tag.slice(end + 1)}`;
}

/** Behind `after` and up to `upTo`, which is one of them. */
type Range = Pick<CallQuestion, "order"> & {
  readonly after: Position | null;
  readonly upTo: Position | null;
};

/** Where the first source has had so many calls; null when all of them come to an end before. */
async function findEnd(db: Db, sources: Sources, range: Range, stretch: number): Promise<Position | null> {
  const { projectIds } = sources;
  const each = Math.ceil(stretch / (projectIds.length + 1));
  const found = await db.execute<Position>(sql`
    select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at, id from (${ofEach(
      sources,
      (source) => {
        const within = and(source, sources.times, withinOf(range));
        return sql`
        select at, id from ${requests} where ${within ?? sql`true`} ${inOrder(range)}
        offset ${sql.raw(String(each - 1))} limit 1`;
      },
    )}) as ends order by ${placeIn("ends", range)} limit 1`);
  return found[0] ?? null;
}

async function listWithin(db: Db, sources: Sources, range: Range, rowsMax: number): Promise<RequestRecord[]> {
  const ids = sql`select id from (${ofEach(sources, (source) => {
    const within = and(source, sources.times, withinOf(range), ne(requests.state, "open"), sources.rest);
    return sql`select at, id from ${requests} where ${within} ${inOrder(range)} limit ${rowsMax}`;
  })}) as found order by ${placeIn("found", range)} limit ${rowsMax}`;
  return await db
    .select()
    .from(requests)
    .where(sql`${requests.id} = any(array(${ids}))`)
    .orderBy(placeIn("requests", range));
}

/** One statement over all sources. A call of a person's own in one of their projects is in two of them. */
function ofEach({ first, projectIds }: Sources, one: (source: SQL | undefined) => SQL): SQL {
  if (projectIds.length === 0) return one(first);
  return sql`
    (${one(first)}) union
    select one.* from unnest(${arrayOf(projectIds)}) as mine (project)
    cross join lateral (${one(sql`${requests.projectId} = mine.project`)}) as one`;
}

const arrayOf = (ids: readonly string[]): SQL => sql`${sql.param([...ids])}::text[]`;

function withinOf({ order, after, upTo }: Range): SQL | undefined {
  const [beyond, until] = order === "newest" ? [sql`<`, sql`>=`] : [sql`>`, sql`<=`];
  const place = sql`(${requests.at}, ${requests.id})`;
  const placeOf = ({ at, id }: Position): SQL => sql`(${at}::timestamptz, ${id})`;
  return and(
    after === null ? undefined : sql`${place} ${beyond} ${placeOf(after)}`,
    upTo === null ? undefined : sql`${place} ${until} ${placeOf(upTo)}`,
  );
}

const inOrder = (range: Range): SQL => sql`order by ${placeIn("requests", range)}`;

function placeIn(table: string, { order }: Range): SQL {
  const [at, id] = [sql.raw(`${table}.at`), sql.raw(`${table}.id`)];
  return order === "newest" ? sql`${at} desc, ${id} desc` : sql`${at}, ${id}`;
}
