/**
 * Single calls whose time is over. Their sums stay: the roll-ups hold what each call came to.
 *
 * A call that is still open stays too, however old it is: its end may be in the journal of an instance that is away, and
 * would be counted without its beginning. So nothing that is gone from here can come back from a journal that the
 * database has seen. A journal that it has not seen can bring back a call of a lost instance: one that was `unknown` and
 * is gone by then is counted anew, because nobody knows that it was counted. Whoever merges does not change rows
 * meanwhile: the instance is locked as the merge locks it.
 */
import { lt, type SQL, sql } from "drizzle-orm";
import type { Database, Db } from "../../db/database.ts";
import { providerStates } from "../../db/schema.ts";
import { type SweepTerms, sweepRows } from "../../db/sweep.ts";
import { mergeLock } from "./merge.ts";

type Calls = { requests: number; attempts: number };

/** The drain waits for one piece at most. */
const pieceRows = 2_000;

export async function sweepCalls(
  database: Pick<Database, "db" | "transaction">,
  before: Date,
  { dryRun, signal }: SweepTerms,
): Promise<Calls> {
  const isOver = sql`at < ${before.toISOString()}::timestamptz and state <> 'open'`;
  if (dryRun) return countCalls(database.db, isOver);
  const gone: Calls = { requests: 0, attempts: 0 };
  await noteSwept(database.db, before);
  for (;;) {
    const piece = await database.transaction((tx) => sweepPiece(tx, isOver));
    gone.requests += piece.requests;
    gone.attempts += piece.attempts;
    if (piece.requests === 0 || signal?.aborted) return gone;
  }
}

/** What providers keep of calls as old as that; whoever names it then is refused. */
export const sweepStates = (db: Db, before: Date, terms: SweepTerms): Promise<number> =>
  sweepRows(db, { table: providerStates, isOver: lt(providerStates.at, before) }, terms);

/** Said first: from now on nobody takes what is missing before it for lost. */
const noteSwept = (db: Db, before: Date) =>
  db.execute(sql`
    insert into usage_marks as old (name, at) values ('swept', ${before.toISOString()}::timestamptz)
    on conflict (name) do update set at = greatest(old.at, excluded.at)`);

/** Of the instance to which the oldest of them belongs. */
async function sweepPiece(tx: Db, isOver: SQL): Promise<Calls> {
  const [oldest] = await tx.execute<{ instance: string }>(
    sql`select instance from requests where ${isOver} order by at, id limit 1`,
  );
  if (oldest === undefined) return { requests: 0, attempts: 0 };
  const { instance } = oldest;
  await tx.execute(sql`select pg_advisory_xact_lock(${mergeLock}::int, hashtext(${instance}))`);
  const [gone] = await tx.execute<Calls>(sql`
    with over as materialized (
      select id from requests where ${isOver} and instance = ${instance}::uuid order by at, id limit ${pieceRows}
    ),
    gone as (delete from requests where id = any (array(select id from over)) returning id),
    tries as (delete from attempts where request_id = any (array(select id from over)) returning 1)
    select (select count(*) from gone)::int as requests, (select count(*) from tries)::int as attempts`);
  return gone ?? { requests: 0, attempts: 0 };
}

async function countCalls(db: Db, isOver: SQL): Promise<Calls> {
  const [found] = await db.execute<Calls>(sql`
    with over as materialized (select id from requests where ${isOver})
    select (select count(*) from over)::int as requests,
      (select count(*) from attempts where request_id in (select id from over))::int as attempts`);
  return found ?? { requests: 0, attempts: 0 };
}
