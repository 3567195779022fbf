/**
 * The tables checks, gate_policies, gate_evaluations and waivers.
 */
import { and, desc, eq, lt, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { checks, gateEvaluations, gatePolicies, iterations, waivers } from "../../db/schema.ts";
import { type CheckKind, policyForm } from "./contract.ts";
import type { Evidence } from "./judge.ts";
import { type Policy, usualPolicy } from "./policy.ts";

export type CheckRow = typeof checks.$inferSelect;
export type PolicyRow = typeof gatePolicies.$inferSelect & { policy: Policy };
export type EvaluationRow = typeof gateEvaluations.$inferSelect;
export type WaiverRow = typeof waivers.$inferSelect;

/** Newest first, from behind `after`. */
type PageAsked = { iterationId: string; after: string | null; rowsMax: number };

export const insertCheck = async (tx: Db, row: typeof checks.$inferInsert): Promise<CheckRow> =>
  one(await tx.insert(checks).values(row).returning());

export async function findCheck(db: Db, id: string): Promise<CheckRow | undefined> {
  const [row] = await db.select().from(checks).where(eq(checks.id, id));
  return row;
}

/** `after` is a number. */
export function listChecks(
  db: Db,
  asked: { iterationId: string; after: number | null; kind: CheckKind | undefined; rowsMax: number },
): Promise<CheckRow[]> {
  return db
    .select()
    .from(checks)
    .where(
      and(
        eq(checks.iterationId, asked.iterationId),
        asked.kind === undefined ? undefined : eq(checks.kind, asked.kind),
        asked.after === null ? undefined : lt(checks.no, asked.after),
      ),
    )
    .orderBy(desc(checks.no))
    .limit(asked.rowsMax);
}

export async function findPolicy(db: Db, projectId: string): Promise<PolicyRow | undefined> {
  const [row] = await db.select().from(gatePolicies).where(eq(gatePolicies.projectId, projectId));
  return row && parsed(row);
}

/** Locked until the transaction ends. */
export async function lockPolicy(tx: Db, projectId: string): Promise<PolicyRow | undefined> {
  const isIts = eq(gatePolicies.projectId, projectId);
  const [row] = await tx.select().from(gatePolicies).where(isIts).for("update");
  return row && parsed(row);
}

type PolicySet = { projectId: string; policy: Policy; updatedBy: string };

/** Undefined where there is one; whoever is just setting the first one is waited for. */
export async function insertPolicy(tx: Db, set: PolicySet): Promise<PolicyRow | undefined> {
  const [row] = await tx.insert(gatePolicies).values(set).onConflictDoNothing().returning();
  return row && parsed(row);
}

/** The row is locked already. */
export async function updatePolicy(tx: Db, { projectId, policy, updatedBy }: PolicySet): Promise<PolicyRow> {
  const change = { policy, updatedBy, updatedAt: sql`now()`, version: sql`${gatePolicies.version} + 1` };
  const isIts = eq(gatePolicies.projectId, projectId);
  return parsed(one(await tx.update(gatePolicies).set(change).where(isIts).returning()));
}

/** The iteration's commit, which stays so until the transaction ends. */
export async function holdCommit(tx: Db, iterationId: string): Promise<string | null> {
  const rows = await tx
    .select({ commitSha: iterations.commitSha })
    .from(iterations)
    .where(eq(iterations.id, iterationId))
    .for("key share");
  return one(rows).commitSha;
}

/** One statement, so that all of it was so at one moment, also while others write. */
export async function gather(
  tx: Db,
  at: { projectId: string; sessionId: string; iterationId: string | null; commitSha: string | null },
): Promise<{ policy: Policy; evidence: Evidence }> {
  const rows = (await tx.execute(sql`
    select jsonb_build_object(
      'now', clock_timestamp(),
      'policy', (select policy from gate_policies where project_id = ${at.projectId}),
      'counts', (
        select coalesce(jsonb_object_agg(status, tasks), '{}')
        from (select status, count(*) as tasks from tasks where session_id = ${at.sessionId} group by status) counted),
      'checks', (
        select coalesce(jsonb_agg(latest), '[]')
        from (
          select distinct on (kind, name) id, kind, name, status, percent, commit_sha as "commitSha"
          from checks where iteration_id = ${at.iterationId} order by kind, name, no desc) latest),
      'waivers', (
        select coalesce(jsonb_agg(given), '[]')
        from (
          select id, gate, expires_at as "expiresAt", revoked_at as "revokedAt"
          from waivers where iteration_id = ${at.iterationId} order by id desc) given)
    ) as gathered`)) as unknown as { gathered: Gathered }[];
  const { policy, counts, checks, waivers, now } = one(rows).gathered;
  return {
    policy: policy === null ? usualPolicy : policyForm.parse(policy),
    evidence: {
      counts,
      checks,
      commitSha: at.commitSha,
      waivers: waivers.map((waiver) => ({
        ...waiver,
        expiresAt: new Date(waiver.expiresAt),
        revokedAt: waiver.revokedAt === null ? null : new Date(waiver.revokedAt),
      })),
      now: new Date(now),
    },
  };
}

/** As JSON, in which times are text. */
type Gathered = Pick<Evidence, "counts" | "checks"> & {
  policy: unknown;
  waivers: { id: string; gate: string; expiresAt: string; revokedAt: string | null }[];
  now: string;
};

export const insertEvaluation = async (
  tx: Db,
  row: typeof gateEvaluations.$inferInsert,
): Promise<EvaluationRow> => one(await tx.insert(gateEvaluations).values(row).returning());

export function listEvaluations(db: Db, asked: PageAsked): Promise<EvaluationRow[]> {
  return db
    .select()
    .from(gateEvaluations)
    .where(
      and(
        eq(gateEvaluations.iterationId, asked.iterationId),
        asked.after === null ? undefined : lt(gateEvaluations.id, asked.after),
      ),
    )
    .orderBy(desc(gateEvaluations.id))
    .limit(asked.rowsMax);
}

export const insertWaiver = async (tx: Db, row: typeof waivers.$inferInsert): Promise<WaiverRow> =>
  one(await tx.insert(waivers).values(row).returning());

/** Locked until the transaction ends. */
export async function lockWaiver(tx: Db, id: string): Promise<WaiverRow | undefined> {
  const [row] = await tx.select().from(waivers).where(eq(waivers.id, id)).for("update");
  return row;
}

export function listWaivers(db: Db, asked: PageAsked): Promise<WaiverRow[]> {
  return db
    .select()
    .from(waivers)
    .where(
      and(
        eq(waivers.iterationId, asked.iterationId),
        asked.after === null ? undefined : lt(waivers.id, asked.after),
      ),
    )
    .orderBy(desc(waivers.id))
    .limit(asked.rowsMax);
}

/** The row is locked already. */
export const updateWaiver = async (
  tx: Db,
  id: string,
  change: Pick<WaiverRow, "revokedBy" | "revokedAt">,
): Promise<WaiverRow> =>
  one(
    await tx
      .update(waivers)
      .set({ ...change, version: sql`${waivers.version} + 1` })
      .where(eq(waivers.id, id))
      .returning(),
  );

/** By the database's clock: those of several instances may be out of step, and a waiver ends for all of them at once. */
export async function findNow(db: Db): Promise<Date> {
  const rows = (await db.execute(sql`select to_jsonb(clock_timestamp()) as now`)) as unknown as {
    now: string;
  }[];
  return new Date(one(rows).now);
}

const parsed = (row: typeof gatePolicies.$inferSelect): PolicyRow => ({
  ...row,
  policy: policyForm.parse(row.policy),
});

function one<Row>(rows: Row[]): Row {
  const [row] = rows;
  if (row === undefined) throw new Error("a statement returned no row");
  return row;
}
