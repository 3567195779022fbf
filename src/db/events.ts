/**
 * The event log's writing half: what happened in a project, in the transaction in which it happened. Whoever reads it
 * (features/events) sees commits in their order, whatever the order of these inserts.
 */
import { sql } from "drizzle-orm";
import type { Database, Db } from "./database.ts";
import { storableJson } from "./storable.ts";

export type NewEvent = {
  readonly projectId: string;
  readonly sessionId: string | null;
  /** `<noun>.<created|updated|deleted>` */
  readonly type: `${string}.${"created" | "updated" | "deleted"}` | "usage.tick";
  /** On the wire as it is: the thing's `id`, its `version` where it has one, and what a list needs to show. */
  readonly payload: Record<string, unknown>;
};

/** One statement, however many there are. */
export async function insertEvents(tx: Db, told: readonly NewEvent[]): Promise<void> {
  if (told.length === 0) return;
  await tx.execute(sql`
    insert into events (project_id, session_id, type, payload)
    select "projectId", "sessionId", type, payload
    from jsonb_to_recordset(${storableJson(JSON.stringify(told))}::text::jsonb)
      as told ("projectId" text, "sessionId" text, type text, payload jsonb)`);
}

const sweptAtOnce = 20_000;

/** Forgets what happened before, a piece at a time: as one statement it could take longer than a statement may. */
export async function sweepEvents({ db }: Pick<Database, "db">, before: Date): Promise<void> {
  for (let swept = sweptAtOnce; swept === sweptAtOnce; ) {
    const found = await db.execute<{ swept: number }>(sql`
      with gone as (
        delete from events where (xid, id) in (select xid, id from events where at < ${before.toISOString()}::timestamptz limit ${sweptAtOnce})
        returning id
      ) select count(*)::int as swept from gone`);
    swept = found[0]?.swept ?? 0;
  }
}
