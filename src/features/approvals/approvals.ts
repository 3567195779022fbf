/**
 * Approvals: a person's word that one thing may be done once, asked for by whoever wants to do it.
 *
 * What is approved is one action on one subject, named by its hash. Whoever is behind a request does not decide it,
 * unless the project lets its owners. An approval is consumed at most once, and only while its time lasts: each verb is
 * one conditional statement, so that of many at once one wins and all others learn what the approval is instead. What is
 * over its time is so at once; `expireDue` writes it down afterwards.
 */
import { gatewayItself } from "../../db/audit-entry.ts";
import type { Change, Changes } from "../../db/changes.ts";
import type { Database, Db } from "../../db/database.ts";
import { requireIterationOf, requireOpenSession } from "../../db/open-session.ts";
import { notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import type { Principal } from "../../platform/principal.ts";
import type { ProjectRole } from "../../platform/scopes.ts";
import { requireVersion } from "../../platform/versions.ts";
import type { ApprovalsQuery, ApprovalView, Consumption, Decision, NewApproval } from "./contract.ts";
import {
  consumeScopeMissing,
  notApproved,
  notPending,
  notTheRequester,
  selfApproval,
  subjectMismatch,
} from "./refusals.ts";
import {
  type ApprovalRow,
  consumeApproval,
  decideApproval,
  expireApprovals,
  findApproval,
  findApprovalsSelf,
  insertApproval,
  listApprovals,
  lockApproval,
  revokeApproval,
  withdrawApproval,
} from "./store.ts";
import { untilDecided, type Waiter, type WaitingNeeds } from "./waiting.ts";

export type ApprovalsNeeds = WaitingNeeds & { database: Database; changes: Changes; cursors: Cursors };

/** Which one, and the session that it belongs to. */
export type Named = {
  readonly approvalId: string;
  readonly sessionId: string;
  /** The version that the caller has seen, or null. */
  readonly seen: number | null;
};
/** Who decides, and what they are in the project. */
export type Judge = { readonly principal: Principal; readonly role: ProjectRole };

const expiredAtOnceMax = 100;

export class Approvals {
  readonly #needs: ApprovalsNeeds;
  readonly #closing = new AbortController();

  constructor(needs: ApprovalsNeeds) {
    this.#needs = needs;
  }

  /** Throws 422 for an iteration of another session, 409 `closed`. */
  async request(
    change: Change,
    sessionId: string,
    { id: requestedBy, userId, clientId }: Principal,
    asked: NewApproval,
  ): Promise<ApprovalView> {
    const { projectId } = await requireOpenSession(change.tx, sessionId);
    const { action, subject_sha256: subjectSha256, reason, ttl_seconds: ttlSeconds } = asked;
    const { iteration_id: iterationId = null, pending_seconds: pendingSeconds } = asked;
    await requireIterationOf(change.tx, sessionId, iterationId);
    const place = { id: newId("apv"), projectId, sessionId, iterationId };
    const requester = { requestedBy, requestedByUser: userId, requestedByClient: clientId };
    const fresh = {
      ...place,
      ...requester,
      action,
      subjectSha256,
      reason,
      status: "pending",
      ttlSeconds,
    } as const;
    const row = await insertApproval(change.tx, fresh, pendingSeconds);
    return follow(change, "requested", row, { action, subject_sha256: subjectSha256 });
  }

  async get(id: string): Promise<ApprovalView> {
    return approvalView(await get(this.#needs.database.db, id));
  }

  /** As it is when it is not pending any more, or when the waiter's time is over. */
  getOnceDecided(id: string, waiter: Waiter): Promise<ApprovalView> {
    const needs = { ...this.#needs, closing: this.#closing.signal };
    return untilDecided(needs, waiter, () => this.get(id));
  }

  /** Whoever waits is answered at once, and nobody waits from now on: no shutdown is held up by them. */
  endWaits(): void {
    this.#closing.abort();
  }

  /** Newest first. */
  async page(sessionId: string, query: ApprovalsQuery): Promise<Page<ApprovalView>> {
    const { cursors, database } = this.#needs;
    const list = `approvals ${sessionId}`;
    const { limit, cursor, status } = query;
    const [after = null] = cursor === undefined ? [] : cursors.open(list, cursor);
    const rows = await listApprovals(database.db, { sessionId, after, status, rowsMax: limit + 1 });
    const page = pageOf(rows, limit, ({ id }) => cursors.seal(list, [id]));
    return { ...page, data: page.data.map(approvalView) };
  }

  /** Throws 403 `self_approval`, and 409 `already_decided`, `expired`, `withdrawn`, `closed`. */
  async decide(
    change: Change,
    { approvalId, sessionId, seen }: Named,
    judge: Judge,
    { decision, note = null }: Decision,
  ): Promise<ApprovalView> {
    const { tx } = change;
    await requireOpenSession(tx, sessionId);
    const asked = await lock(tx, approvalId, seen);
    const self = isPersonBehind(asked, judge.principal);
    if (self) await requireMayDecideOwn(tx, asked.projectId, judge.role);
    const to = decision === "approve" ? "approved" : "rejected";
    const row = await decideApproval(tx, approvalId, { to, decidedBy: judge.principal.id, note, self });
    if (row === undefined) throw notPending((await get(tx, approvalId)).status);
    return follow(change, "decided", row, { action: row.action, decision, self });
  }

  /**
   * Once, by a runner with `approvals:consume` or by whoever asked. Throws 403 for anybody else, and 409
   * `subject_mismatch`, `already_consumed`, `expired`, `not_approved`, `closed`.
   */
  async consume(
    change: Change,
    { approvalId, sessionId, seen }: Named,
    principal: Principal,
    { action, subject_sha256: subjectSha256 }: Consumption,
  ): Promise<ApprovalView> {
    const { tx } = change;
    await requireOpenSession(tx, sessionId);
    requireConsumer(await lock(tx, approvalId, seen), principal);
    const row = await consumeApproval(tx, approvalId, principal.id, { action, subjectSha256 });
    if (row !== undefined) return follow(change, "consumed", row, { action, subject_sha256: subjectSha256 });
    const found = await get(tx, approvalId);
    if (found.action !== action || found.subjectSha256 !== subjectSha256) throw subjectMismatch();
    throw notApproved(found.status);
  }

  /** By whoever asked. Throws 403 `not_the_requester`, and 409 `already_decided`, `expired`, `withdrawn`, `closed`. */
  async withdraw(
    change: Change,
    { approvalId, sessionId, seen }: Named,
    principal: Principal,
  ): Promise<ApprovalView> {
    const { tx } = change;
    await requireOpenSession(tx, sessionId);
    if (!isRequester(await lock(tx, approvalId, seen), principal))
      throw notTheRequester("Only whoever asked for this may withdraw it. An editor or owner may reject it.");
    const row = await withdrawApproval(tx, approvalId, principal.id);
    if (row === undefined) throw notPending((await get(tx, approvalId)).status);
    return follow(change, "withdrawn", row, { action: row.action });
  }

  /** Throws 409 `not_approved`, `already_consumed`, `expired`, `closed`. */
  async revoke(
    change: Change,
    { approvalId, sessionId, seen }: Named,
    principal: Principal,
  ): Promise<ApprovalView> {
    const { tx } = change;
    await requireOpenSession(tx, sessionId);
    await lock(tx, approvalId, seen);
    const row = await revokeApproval(tx, approvalId, principal.id);
    if (row === undefined) throw notApproved((await get(tx, approvalId)).status);
    return follow(change, "revoked", row, { action: row.action });
  }

  /** Writes what is over its time, also in sessions that are closed. Returns how many; each is written by one instance. */
  async expireDue(): Promise<number> {
    for (let total = 0; ; ) {
      const written = await this.#needs.changes.make(gatewayItself, async (change) => {
        const rows = await expireApprovals(change.tx, expiredAtOnceMax);
        for (const row of rows) await follow(change, "expired", row, { action: row.action });
        return rows.length;
      });
      total += written;
      if (written < expiredAtOnceMax) return total;
    }
  }
}

async function follow(
  change: Change,
  verb: "requested" | "decided" | "consumed" | "withdrawn" | "revoked" | "expired",
  row: ApprovalRow,
  details: Record<string, unknown>,
): Promise<ApprovalView> {
  const { id, version, projectId, sessionId, action, status } = row;
  await change.record({ action: `approval.${verb}`, subject: id, projectId, sessionId, details });
  const type = verb === "requested" ? "approval.created" : "approval.updated";
  const payload = { id, version, session_id: sessionId, action, status };
  await change.tell({ projectId, sessionId, type, payload });
  return approvalView(row);
}

async function get(db: Db, id: string): Promise<ApprovalRow> {
  const row = await findApproval(db, id);
  if (row === undefined) throw notFound();
  return row;
}

/** Nobody else changes it until the transaction ends. Throws `stale_version`. */
async function lock(tx: Db, id: string, seen: number | null): Promise<ApprovalRow> {
  const row = await lockApproval(tx, id);
  if (row === undefined) throw notFound();
  requireVersion(row, seen);
  return row;
}

/** Whichever browser, app or key of theirs it came through. */
const isPersonBehind = ({ requestedByUser }: ApprovalRow, { userId }: Principal): boolean =>
  requestedByUser !== null && requestedByUser === userId;

const isRequester = (row: ApprovalRow, principal: Principal): boolean =>
  row.requestedBy === principal.id || isPersonBehind(row, principal);

async function requireMayDecideOwn(tx: Db, projectId: string, role: ProjectRole): Promise<void> {
  const isAllowed = (await findApprovalsSelf(tx, projectId)) === "allow";
  if (!isAllowed || role !== "owner") throw selfApproval(isAllowed);
}

/** Throws 403 for a credential that may consume no approval at all. */
export function requireMayConsumeAny({ clientKind, scopes }: Principal): void {
  if (clientKind === "runner" && scopes.has("approvals:consume")) return;
  if (!scopes.has("approvals:request")) throw consumeScopeMissing();
}

function requireConsumer({ requestedBy }: ApprovalRow, { id, clientKind, scopes }: Principal): void {
  const isRunner = clientKind === "runner";
  if (isRunner && scopes.has("approvals:consume")) return;
  if (requestedBy === id && scopes.has("approvals:request")) return;
  if (isRunner || requestedBy === id) throw consumeScopeMissing();
  throw notTheRequester("Only a runner of this project, or whoever asked for this, may consume it.");
}

const approvalView = (row: ApprovalRow): ApprovalView => ({
  id: row.id,
  project_id: row.projectId,
  session_id: row.sessionId,
  iteration_id: row.iterationId,
  action: row.action,
  subject_sha256: row.subjectSha256,
  reason: row.reason,
  status: row.status,
  ttl_seconds: row.ttlSeconds,
  requested_by: row.requestedBy,
  requested_by_user: row.requestedByUser,
  requested_by_client: row.requestedByClient,
  created_at: row.createdAt.toISOString(),
  pending_until: row.pendingUntil.toISOString(),
  decided_by: row.decidedBy,
  decided_at: row.decidedAt?.toISOString() ?? null,
  note: row.note,
  self: row.self,
  expires_at: row.expiresAt?.toISOString() ?? null,
  ended_by: row.endedBy,
  ended_at: row.endedAt?.toISOString() ?? null,
  version: row.version,
});
