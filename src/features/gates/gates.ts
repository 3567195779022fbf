/**
 * Gates: what a project means by "done", and the verdicts about its iterations and sessions.
 *
 * Every evaluation is kept with the policy it went by, and none is ever changed. It looks at everything at one moment;
 * that the moment lasts until a session is completed is up to the caller, who is then alone in it. Evaluating decides
 * nothing by itself: what follows from a verdict stands with whoever asked for it.
 */
import type { Actor } from "../../db/audit-entry.ts";
import type { Change, Changes } from "../../db/changes.ts";
import type { Database } from "../../db/database.ts";
import { requireOpenProject, requireOpenSession } from "../../db/open-session.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import { requireVersion } from "../../platform/versions.ts";
import type { EvaluationView, PolicyView } from "./contract.ts";
import { judge } from "./judge.ts";
import { type Policy, usualPolicy } from "./policy.ts";
import {
  type EvaluationRow,
  findPolicy,
  gather,
  holdCommit,
  insertEvaluation,
  insertPolicy,
  listEvaluations,
  lockPolicy,
  type PolicyRow,
  updatePolicy,
} from "./store.ts";

/** What is to be judged; without an iteration there are no checks and no waivers. */
export type Judged = {
  readonly projectId: string;
  readonly sessionId: string;
  readonly iterationId: string | null;
  readonly commitSha: string | null;
};
export type Verdict = { readonly ok: boolean; readonly evaluation: EvaluationView };

export type GatesNeeds = { database: Database; changes: Changes; cursors: Cursors };

type Query = { limit: number; cursor?: string | undefined };

export class Gates {
  readonly #needs: GatesNeeds;

  constructor(needs: GatesNeeds) {
    this.#needs = needs;
  }

  async policy(projectId: string): Promise<PolicyView> {
    return policyView(projectId, await findPolicy(this.#needs.database.db, projectId));
  }

  /** The first one is set over version 0. Throws `closed` in an archived project, `stale_version`. */
  setPolicy(actor: Actor, projectId: string, policy: Policy, seen: number | null): Promise<PolicyView> {
    return this.#needs.changes.make(actor, async (change) => {
      await requireOpenProject(change.tx, projectId);
      const set = { projectId, policy, updatedBy: actor.id };
      const mayBeFirst = seen === null || seen === 0;
      const first = mayBeFirst ? await insertPolicy(change.tx, set) : undefined;
      if (first !== undefined) return this.#followPolicy(change, first, usualPolicy);
      const before = await lockPolicy(change.tx, projectId);
      requireVersion(before ?? { version: 0 }, seen);
      if (before !== undefined && Bun.deepEquals(before.policy, policy)) return policyView(projectId, before);
      return this.#followPolicy(change, await updatePolicy(change.tx, set), before?.policy ?? usualPolicy);
    });
  }

  /** Throws `closed`. */
  async create(
    change: Change,
    { iterationId, sessionId }: { iterationId: string; sessionId: string },
  ): Promise<EvaluationView> {
    const { projectId } = await requireOpenSession(change.tx, sessionId);
    const commitSha = await holdCommit(change.tx, iterationId);
    const { evaluation } = await this.evaluate(change, { projectId, sessionId, iterationId, commitSha });
    return evaluation;
  }

  /** Judges and keeps the verdict, whatever it is. The session is locked already. */
  async evaluate(change: Change, judged: Judged): Promise<Verdict> {
    const { policy, evidence } = await gather(change.tx, judged);
    const { ok, checks } = judge(policy, evidence);
    const made = { createdBy: change.actor.id, createdAt: evidence.now };
    const fresh = { id: newId("gev"), ...judged, ok, policy, checks, ...made };
    const evaluation = evaluationView(await insertEvaluation(change.tx, fresh));
    const { projectId, sessionId, iterationId: iteration_id } = judged;
    const { id } = evaluation;
    const failed = checks.filter((gate) => !gate.ok).map(({ name }) => name);
    const waived = checks.filter(({ code }) => code === "waived").map(({ name }) => name);
    const details = { ok, iteration_id, failed, waived };
    await change.record({ action: "gate.evaluated", subject: id, projectId, sessionId, details });
    const payload = { id, session_id: sessionId, iteration_id, ok };
    await change.tell({ projectId, sessionId, type: "gate_evaluation.created", payload });
    return { ok, evaluation };
  }

  /** Newest first. */
  async page(iterationId: string, query: Query): Promise<Page<EvaluationView>> {
    const { cursors, database } = this.#needs;
    const list = `gate-evaluations ${iterationId}`;
    const [after = null] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const rows = await listEvaluations(database.db, { iterationId, after, rowsMax: query.limit + 1 });
    const page = pageOf(rows, query.limit, ({ id }) => cursors.seal(list, [id]));
    return { ...page, data: page.data.map(evaluationView) };
  }

  async #followPolicy(change: Change, row: PolicyRow, before: Policy): Promise<PolicyView> {
    const { projectId, version } = row;
    // Both, because the row holds only what it is now.
    const details = { from: before, to: row.policy };
    await change.record({ action: "gate_policy.updated", subject: projectId, projectId, details });
    const payload = { id: projectId, version, project_id: projectId };
    await change.tell({ projectId, sessionId: null, type: "gate_policy.updated", payload });
    return policyView(projectId, row);
  }
}

const policyView = (projectId: string, row: PolicyRow | undefined): PolicyView => ({
  project_id: projectId,
  policy: row?.policy ?? usualPolicy,
  updated_by: row?.updatedBy ?? null,
  updated_at: row?.updatedAt.toISOString() ?? null,
  version: row?.version ?? 0,
});

const evaluationView = (row: EvaluationRow): EvaluationView => ({
  id: row.id,
  project_id: row.projectId,
  session_id: row.sessionId,
  iteration_id: row.iterationId,
  ok: row.ok,
  commit_sha: row.commitSha,
  // Both as they were judged: `evaluate` wrote them, and nobody changes them.
  policy: row.policy as EvaluationView["policy"],
  checks: row.checks as EvaluationView["checks"],
  created_by: row.createdBy,
  created_at: row.createdAt.toISOString(),
});
