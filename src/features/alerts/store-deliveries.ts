/**
 * The table alert_deliveries.
 *
 * Whoever sends one claims it first: it counts the try and moves the next one into the future, and until then nobody else
 * takes it. What came of a try is written only while the claim is still the last one. The database's clock alone decides
 * what is due, because the instances' own may differ.
 */
import { and, desc, eq, inArray, lt, lte, notInArray, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { alertDeliveries, alertHooks } from "../../db/schema.ts";
import { type SweepTerms, sweepRows } from "../../db/sweep.ts";
import type { DeliveryStatus } from "./contract.ts";

export type DeliveryRow = typeof alertDeliveries.$inferSelect;
export type NewDelivery = Pick<DeliveryRow, "id" | "hookId" | "messageId" | "type" | "payload">;

const isPending = eq(alertDeliveries.status, "pending");
const later = (milliseconds: number) => sql`now() + ${milliseconds} * interval '1 millisecond'`;

/** To be sent at once. */
export async function insertDeliveries(tx: Db, rows: readonly NewDelivery[]): Promise<DeliveryRow[]> {
  if (rows.length === 0) return [];
  const due = { status: "pending", nextAt: sql`now()` } as const;
  return tx
    .insert(alertDeliveries)
    .values(rows.map((row) => ({ ...row, ...due })))
    .returning();
}

/** Hooks with something to send now, of those whose secret comes from one of these keys. */
export async function listDueHooks(db: Db, kids: readonly string[]): Promise<string[]> {
  const rows = await db
    .select({ id: alertDeliveries.hookId })
    .from(alertDeliveries)
    .innerJoin(alertHooks, eq(alertHooks.id, alertDeliveries.hookId))
    .where(and(isPending, lte(alertDeliveries.nextAt, sql`now()`), inArray(alertHooks.kid, [...kids])))
    .groupBy(alertDeliveries.hookId);
  return rows.map(({ id }) => id);
}

/** The hook's next one, which for the lease's time is nobody else's. */
export async function claimDelivery(
  db: Db,
  hookId: string,
  leaseMs: number,
): Promise<DeliveryRow | undefined> {
  const next = sql`(select id from ${alertDeliveries}
    where hook_id = ${hookId} and status = 'pending' and next_at <= now()
    order by next_at, id limit 1 for update skip locked)`;
  const [row] = await db
    .update(alertDeliveries)
    .set({ tries: sql`${alertDeliveries.tries} + 1`, nextAt: later(leaseMs) })
    .where(eq(alertDeliveries.id, next))
    .returning();
  return row;
}

type Claimed = Pick<DeliveryRow, "id" | "tries">;
const isClaimed = ({ id, tries }: Claimed) =>
  and(eq(alertDeliveries.id, id), isPending, eq(alertDeliveries.tries, tries));

type Ending = {
  status: Exclude<DeliveryStatus, "pending">;
  lastStatus: number | null;
  lastError: string | null;
};
const ended = { nextAt: null, endedAt: sql`now()` };

export async function endDelivery(db: Db, claimed: Claimed, ending: Ending): Promise<void> {
  await db
    .update(alertDeliveries)
    .set({ ...ending, ...ended })
    .where(isClaimed(claimed));
}

export type Postponed = {
  lastStatus: number | null;
  lastError: string;
  delayMs: number;
  /** How long after it was made the last try is. */
  triedForMs: number;
};

/** What became of it: tried again later or, when its time is over, dead; undefined when the claim was another's by then. */
export async function postponeDelivery(
  db: Db,
  claimed: Claimed,
  { lastStatus, lastError, delayMs, triedForMs }: Postponed,
): Promise<DeliveryStatus | undefined> {
  const lastAt = sql`${alertDeliveries.createdAt} + ${triedForMs} * interval '1 millisecond'`;
  const [row] = await db
    .update(alertDeliveries)
    .set({
      lastStatus,
      lastError,
      status: sql`case when now() >= ${lastAt} then 'dead' else 'pending' end`,
      nextAt: sql`case when now() >= ${lastAt} then null else least(${later(delayMs)}, ${lastAt}) end`,
      endedAt: sql`case when now() >= ${lastAt} then now() end`,
    })
    .where(isClaimed(claimed))
    .returning({ status: alertDeliveries.status });
  return row?.status;
}

/** Gives the claim back, as if there had been none. */
export async function releaseDelivery(db: Db, claimed: Claimed): Promise<void> {
  await db
    .update(alertDeliveries)
    .set({ tries: claimed.tries - 1, nextAt: sql`now()` })
    .where(isClaimed(claimed));
}

export async function endPending(tx: Db, hookId: string, lastError: string): Promise<void> {
  await tx
    .update(alertDeliveries)
    .set({ status: "dead", lastError, ...ended })
    .where(and(eq(alertDeliveries.hookId, hookId), isPending));
}

/** How many were overdue for this long and could be signed with none of these keys. */
export async function endUnsigned(
  db: Db,
  kids: readonly string[],
  { overdueMs, lastError }: { overdueMs: number; lastError: string },
): Promise<number> {
  const unsigned = db
    .select({ id: alertHooks.id })
    .from(alertHooks)
    .where(notInArray(alertHooks.kid, [...kids]));
  const rows = await db
    .update(alertDeliveries)
    .set({ status: "dead", lastError, ...ended })
    .where(
      and(
        isPending,
        lt(alertDeliveries.nextAt, later(-overdueMs)),
        inArray(alertDeliveries.hookId, unsigned),
      ),
    )
    .returning({ id: alertDeliveries.id });
  return rows.length;
}

/** Locked until the transaction ends. */
export async function lockDelivery(tx: Db, id: string): Promise<DeliveryRow | undefined> {
  const [row] = await tx.select().from(alertDeliveries).where(eq(alertDeliveries.id, id)).for("update");
  return row;
}

type PageAsked = {
  hookId: string;
  status: DeliveryStatus | undefined;
  after: { createdAt: string; id: string } | null;
  rowsMax: number;
};

/** Newest first. */
export function listDeliveries(
  db: Db,
  { hookId, status, after, rowsMax }: PageAsked,
): Promise<DeliveryRow[]> {
  return db
    .select()
    .from(alertDeliveries)
    .where(
      and(
        eq(alertDeliveries.hookId, hookId),
        status === undefined ? undefined : eq(alertDeliveries.status, status),
        after === null
          ? undefined
          : sql`(${alertDeliveries.createdAt}, ${alertDeliveries.id}) < (${after.createdAt}::timestamptz, ${after.id})`,
      ),
    )
    .orderBy(desc(alertDeliveries.createdAt), desc(alertDeliveries.id))
    .limit(rowsMax);
}

export const sweepDeliveries = (db: Db, before: Date, terms: SweepTerms): Promise<number> =>
  sweepRows(db, { table: alertDeliveries, isOver: lt(alertDeliveries.endedAt, before) }, terms);
