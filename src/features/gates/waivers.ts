/**
 * Waivers: a person's word that one gate of one iteration need not be passed, with a reason and an end.
 *
 * A waiver names a gate that the project has, lasts 90 days at most, and counts until it is revoked or expires. It is
 * given and taken back by an owner of the project, never by a machine: who does the work does not excuse it. Nothing is
 * deleted: a revoked waiver stays readable, because verdicts name it.
 */
import type { Actor } from "../../db/audit-entry.ts";
import type { Change, Changes } from "../../db/changes.ts";
import type { Database } from "../../db/database.ts";
import { requireOpenSession } from "../../db/open-session.ts";
import { Failure, type FieldError, notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import { requireVersion } from "../../platform/versions.ts";
import type { NewWaiver, WaiverView } from "./contract.ts";
import { isActive } from "./judge.ts";
import { gatesOf, type Policy, usualPolicy } from "./policy.ts";
import {
  findNow,
  findPolicy,
  insertWaiver,
  listWaivers,
  lockWaiver,
  updateWaiver,
  type WaiverRow,
} from "./store.ts";

export type WaiversNeeds = { database: Database; changes: Changes; cursors: Cursors };

type Query = { limit: number; cursor?: string | undefined };

export class Waivers {
  readonly #needs: WaiversNeeds;

  constructor(needs: WaiversNeeds) {
    this.#needs = needs;
  }

  /** Throws `closed`, and 422 for a gate that the project does not have and a time that is past or too far away. */
  async create(
    change: Change,
    { iterationId, sessionId }: { iterationId: string; sessionId: string },
    asked: NewWaiver,
  ): Promise<WaiverView> {
    const { projectId } = await requireOpenSession(change.tx, sessionId);
    const { policy = usualPolicy } = (await findPolicy(change.tx, projectId)) ?? {};
    const now = await findNow(change.tx);
    requireSense(asked, policy, now);
    const { gate, reason, expires_at: expiresAt } = asked;
    const home = { id: newId("wvr"), projectId, sessionId, iterationId };
    const fresh = { ...home, gate, reason, expiresAt, createdBy: change.actor.id };
    const view = waiverView(await insertWaiver(change.tx, fresh), now);
    await this.#follow(change, "created", view);
    return view;
  }

  /** Again is no error and changes nothing. Throws `closed`, `stale_version`. */
  revoke(
    actor: Actor,
    { waiverId, sessionId }: { waiverId: string; sessionId: string },
    seen: number | null,
  ): Promise<WaiverView> {
    return this.#needs.changes.make(actor, async (change) => {
      await requireOpenSession(change.tx, sessionId);
      const row = await lockWaiver(change.tx, waiverId);
      if (row === undefined) throw notFound();
      requireVersion(row, seen);
      const now = await findNow(change.tx);
      if (row.revokedAt !== null) return waiverView(row, now);
      const revoked = { revokedBy: actor.id, revokedAt: now };
      const view = waiverView(await updateWaiver(change.tx, waiverId, revoked), now);
      await this.#follow(change, "revoked", view);
      return view;
    });
  }

  /** Newest first. */
  async page(iterationId: string, query: Query): Promise<Page<WaiverView>> {
    const { cursors, database } = this.#needs;
    const list = `waivers ${iterationId}`;
    const [after = null] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const rows = await listWaivers(database.db, { iterationId, after, rowsMax: query.limit + 1 });
    const page = pageOf(rows, query.limit, ({ id }) => cursors.seal(list, [id]));
    const now = await findNow(database.db);
    return { ...page, data: page.data.map((row) => waiverView(row, now)) };
  }

  async #follow(change: Change, verb: "created" | "revoked", view: WaiverView): Promise<void> {
    const { id, version, project_id: projectId, session_id: sessionId } = view;
    const { iteration_id, gate, active, expires_at } = view;
    const details = { iteration_id, gate, expires_at };
    await change.record({ action: `waiver.${verb}`, subject: id, projectId, sessionId, details });
    const type = verb === "created" ? "waiver.created" : "waiver.updated";
    const payload = { id, version, session_id: sessionId, iteration_id, gate, active, expires_at };
    await change.tell({ projectId, sessionId, type, payload });
  }
}

const daysMax = 90;

function requireSense({ gate, expires_at }: NewWaiver, policy: Policy, now: Date): void {
  const errors: FieldError[] = [];
  const gates = gatesOf(policy).map(({ name }) => name);
  if (!gates.includes(gate)) {
    const message = `This project has no such gate; it has ${gates.join(", ")}.`;
    errors.push({ path: "gate", code: "unknown_gate", message });
  }
  const daysAway = (expires_at.getTime() - now.getTime()) / 86_400_000;
  if (daysAway <= 0 || daysAway > daysMax) {
    const message = `A waiver ends in the future, at most ${daysMax} days away.`;
    errors.push({ path: "expires_at", code: daysAway <= 0 ? "past" : "too_late", message });
  }
  if (errors.length > 0)
    throw new Failure("unprocessable", "invalid_request", "The body has mistakes; `errors` names each.", {
      errors,
    });
}

const waiverView = (row: WaiverRow, now: Date): WaiverView => ({
  id: row.id,
  project_id: row.projectId,
  session_id: row.sessionId,
  iteration_id: row.iterationId,
  gate: row.gate,
  reason: row.reason,
  active: isActive(row, now),
  created_by: row.createdBy,
  created_at: row.createdAt.toISOString(),
  expires_at: row.expiresAt.toISOString(),
  revoked_by: row.revokedBy,
  revoked_at: row.revokedAt?.toISOString() ?? null,
  version: row.version,
});
