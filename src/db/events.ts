/**
 * The event log's writing half: what happened in a project, in the transaction in which it happened. Whoever reads it
 * (features/events) sees commits in their order, whatever the order of these inserts.
 */
import { lt, sql } from "drizzle-orm";
import type { Database, Db } from "./database.ts";
import { events } from "./schema.ts";
import { storableJson } from "./storable.ts";
import { forGood, type SweepTerms, sweepRows } from "./sweep.ts";

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

/** Forgets what happened before, in the order in which it is read: what is kept behind a cursor that is kept is whole. */
export const sweepEvents = (
  { db }: Pick<Database, "db">,
  before: Date,
  terms: SweepTerms = forGood,
): Promise<number> =>
  sweepRows(db, { table: events, isOver: lt(events.at, before), order: sql`xid, id` }, terms);
