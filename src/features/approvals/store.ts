/**
 * The table approvals. Whatever is read here has the status that it has at this moment: what is over its time is
 * `expired`, whether or not that has been written yet. The database's clock decides, once a statement.
 */
import { and, asc, desc, eq, getTableColumns, inArray, lt, not, type SQL, sql } from "drizzle-orm";
import type { PgUpdateSetSource } from "drizzle-orm/pg-core";
import type { Db } from "../../db/database.ts";
import { approvals, projects } from "../../db/schema.ts";
import type { ApprovalState, NextState } from "./states.ts";

export type ApprovalRow = typeof approvals.$inferSelect;
type NewApprovalRow = Omit<typeof approvals.$inferInsert, "pendingUntil">;

const { status, pendingUntil, expiresAt, endedAt } = approvals;
/** Not `now()`: a transaction that waited for others would still live in the past. */
const isOver = sql`((${status} = 'pending' and ${pendingUntil} <= statement_timestamp())
  or (${status} = 'approved' and ${expiresAt} <= statement_timestamp()))`;
/** When what is over its time ended. */
const itsTime = sql`case ${status} when 'pending' then ${pendingUntil} else ${expiresAt} end`;
const effective = sql<ApprovalState>`case when ${isOver} then 'expired' else ${status} end`;
const columns = {
  ...getTableColumns(approvals),
  status: effective,
  endedAt: sql<Date | null>`case when ${isOver} then ${itsTime} else ${endedAt} end`.mapWith(endedAt),
};

const after = (seconds: SQL | number): SQL => sql`now() + ${seconds} * interval '1 second'`;

export async function insertApproval(
  tx: Db,
  row: NewApprovalRow,
  pendingSeconds: number,
): Promise<ApprovalRow> {
  const [inserted] = await tx
    .insert(approvals)
    .values({ ...row, pendingUntil: after(pendingSeconds) })
    .returning(columns);
  if (inserted === undefined) throw new Error("an insert returned no row");
  return inserted;
}

export async function findApproval(db: Db, id: string): Promise<ApprovalRow | undefined> {
  const [row] = await db.select(columns).from(approvals).where(eq(approvals.id, id));
  return row;
}

/** Locked until the transaction ends. */
export async function lockApproval(tx: Db, id: string): Promise<ApprovalRow | undefined> {
  const [row] = await tx.select(columns).from(approvals).where(eq(approvals.id, id)).for("update");
  return row;
}

/** Newest first, from behind `after`. */
export function listApprovals(
  db: Db,
  asked: { sessionId: string; after: string | null; status: ApprovalState | undefined; rowsMax: number },
): Promise<ApprovalRow[]> {
  return db
    .select(columns)
    .from(approvals)
    .where(
      and(
        eq(approvals.sessionId, asked.sessionId),
        asked.status === undefined ? undefined : eq(effective, asked.status),
        asked.after === null ? undefined : lt(approvals.id, asked.after),
      ),
    )
    .orderBy(desc(approvals.id))
    .limit(asked.rowsMax);
}

/** One statement decides each of these, so that of many who ask at once one is granted; undefined for all others. */
export const decideApproval = (
  tx: Db,
  id: string,
  { to, ...decision }: { to: "approved" | "rejected"; decidedBy: string; note: string | null; self: boolean },
): Promise<ApprovalRow | undefined> =>
  move(tx, id, "pending", to, {
    ...decision,
    decidedAt: sql`now()`,
    expiresAt: to === "approved" ? after(sql`${approvals.ttlSeconds}`) : null,
  });

export const withdrawApproval = (tx: Db, id: string, by: string): Promise<ApprovalRow | undefined> =>
  move(tx, id, "pending", "withdrawn", endedBy(by));

export const revokeApproval = (tx: Db, id: string, by: string): Promise<ApprovalRow | undefined> =>
  move(tx, id, "approved", "revoked", endedBy(by));

export type Subject = Pick<ApprovalRow, "action" | "subjectSha256">;

export const consumeApproval = (
  tx: Db,
  id: string,
  by: string,
  { action, subjectSha256 }: Subject,
): Promise<ApprovalRow | undefined> => {
  const isOfIt = and(eq(approvals.action, action), eq(approvals.subjectSha256, subjectSha256));
  return move(tx, id, "approved", "consumed", endedBy(by), isOfIt);
};

/** Writes that their time is over, of the oldest such; what another instance is writing is left to it. */
export async function expireApprovals(tx: Db, rowsMax: number): Promise<ApprovalRow[]> {
  const found = await tx
    .select({ id: approvals.id })
    .from(approvals)
    .where(isOver)
    .orderBy(asc(approvals.id))
    .limit(rowsMax)
    .for("update", { skipLocked: true });
  if (found.length === 0) return [];
  const ids = found.map(({ id }) => id);
  return tx
    .update(approvals)
    .set({ status: "expired", endedAt: itsTime, version: nextVersion })
    .where(inArray(approvals.id, ids))
    .returning(columns);
}

/** What the project says at this moment: nobody changes it while a session of it is being written in. */
export async function findApprovalsSelf(tx: Db, projectId: string): Promise<"deny" | "allow"> {
  const [row] = await tx
    .select({ approvalsSelf: projects.approvalsSelf })
    .from(projects)
    .where(eq(projects.id, projectId));
  return row?.approvalsSelf ?? "deny";
}

type Values = PgUpdateSetSource<typeof approvals>;

const endedBy = (by: string): Values => ({ endedBy: by, endedAt: sql`now()` });
const nextVersion = sql`${approvals.version} + 1`;

async function move<From extends ApprovalState>(
  tx: Db,
  id: string,
  from: From,
  to: NextState<From>,
  values: Values,
  only?: SQL,
): Promise<ApprovalRow | undefined> {
  const [row] = await tx
    .update(approvals)
    .set({ ...values, status: to as ApprovalState, version: nextVersion })
    .where(and(eq(approvals.id, id), eq(status, from), not(isOver), only))
    .returning(columns);
  return row;
}
