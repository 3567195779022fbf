/**
 * Sessions, the pieces of work of a project, and their iterations, the tries at one.
 *
 * Nothing in a session changes unless it is open. Iterations are numbered 1, 2, 3, … without a gap, whoever starts them
 * at the same time. A session is completed, and an iteration passed, only when the project's gates say so at that moment:
 * they are asked while nobody else can write in the session, and their verdict is kept either way.
 */
import type { Actor } from "../../db/audit-entry.ts";
import type { Change, Changes } from "../../db/changes.ts";
import type { Database } from "../../db/database.ts";
import { newestIds } from "../../db/newest.ts";
import { lockSession, requireOpenProject, requireOpenSession } from "../../db/open-session.ts";
import { changedFields, differenceOf } from "../../platform/difference.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import type { Principal } from "../../platform/principal.ts";
import { requireMove } from "../../platform/states.ts";
import { requireVersion } from "../../platform/versions.ts";
import type {
  IterationChange,
  IterationView,
  NewIteration,
  NewSession,
  SessionChange,
  SessionView,
} from "./contract.ts";
import { type IterationState, iterationMoves, type SessionState, sessionMoves } from "./states.ts";
import {
  drawNumber,
  findIteration,
  findLastIteration,
  findSession,
  type IterationRow,
  insertIteration,
  insertSession,
  listIterations,
  listSessions,
  listTitles,
  lockIteration,
  type SessionRow,
  updateIteration,
  updateSession,
} from "./store.ts";

/** What the gates say, and the stored evaluation as it goes out. */
export type Verdict = { readonly ok: boolean; readonly evaluation: object };
/** What is to be judged; without an iteration there are no checks. */
export type Judged = {
  readonly projectId: string;
  readonly sessionId: string;
  readonly iterationId: string | null;
  readonly commitSha: string | null;
};

export type SessionsNeeds = {
  database: Database;
  changes: Changes;
  cursors: Cursors;
  /** Evaluates the gates within a change and stores the verdict. */
  evaluate: (change: Change, judged: Judged) => Promise<Verdict>;
};

type Query<State> = { limit: number; cursor?: string | undefined; status?: State | undefined };

export class Sessions {
  readonly #needs: SessionsNeeds;

  constructor(needs: SessionsNeeds) {
    this.#needs = needs;
  }

  /** Throws `closed` in an archived project. */
  async create(change: Change, projectId: string, asked: NewSession): Promise<SessionView> {
    await requireOpenProject(change.tx, projectId);
    const { title, spec = null, notes = null } = asked;
    const fresh = { id: newId("ses"), projectId, title, spec, notes, status: "open" } as const;
    const view = sessionView(await insertSession(change.tx, { ...fresh, createdBy: change.actor.id }));
    await this.#followSession(change, "created", view, {});
    return view;
  }

  async get(id: string): Promise<SessionView> {
    return sessionView(found(await findSession(this.#needs.database.db, id)));
  }

  /** Newest first. `only`: the one session that the credential is bound to. */
  async page(projectId: string, only: string | null, query: Query<SessionState>): Promise<Page<SessionView>> {
    const { cursors, database } = this.#needs;
    const list = `sessions ${projectId}`;
    const [after = null] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const asked = { projectId, only, after, status: query.status, rowsMax: query.limit + 1 };
    const page = pageOf(await listSessions(database.db, asked), query.limit, ({ id }) =>
      cursors.seal(list, [id]),
    );
    return { ...page, data: page.data.map(sessionView) };
  }

  /** Of all projects that the caller sees, newest first. */
  async newest(principal: Principal, rowsMax: number): Promise<{ id: string; title: string }[]> {
    const { db } = this.#needs.database;
    const range = { from: "ses_", below: "ses_g", rowsMax };
    return listTitles(db, await newestIds(db, "sessions", principal, range));
  }

  /**
   * `byPerson`: whether a person asks, who alone may open again what is over. Throws `closed`, `invalid_transition`,
   * `stale_version`, and `gate_failed` with the evaluation in it.
   */
  async change(
    actor: Actor,
    id: string,
    asked: SessionChange,
    seen: number | null,
    byPerson: boolean,
  ): Promise<SessionView> {
    const outcome = await this.#needs.changes.make(actor, async (change) => {
      await lockSession(change.tx, id, "alone");
      const row = found(await findSession(change.tx, id));
      requireVersion(row, seen);
      const difference = differenceOf(row, asked);
      if (Object.keys(difference).length === 0) return sessionView(row);
      const { status } = difference;
      requireMayChange(row, status, byPerson);
      if (status === "completed") {
        const last = await findLastIteration(change.tx, id);
        const verdict = await this.#needs.evaluate(change, judgedAt(row, last));
        if (!verdict.ok) return verdict;
      }
      const closing = status === undefined ? {} : { closedAt: status === "open" ? null : new Date() };
      const view = sessionView(await updateSession(change.tx, id, { ...difference, ...closing }));
      await this.#followSession(change, "updated", view, changedFields(difference));
      return view;
    });
    return passed(outcome);
  }

  /** Throws `closed`. */
  async startIteration(change: Change, sessionId: string, asked: NewIteration): Promise<IterationView> {
    const { projectId } = await requireOpenSession(change.tx, sessionId, "numbering");
    const number = await drawNumber(change.tx, sessionId);
    const { step, commit_sha = null, notes = null } = asked;
    const place = { id: newId("itr"), projectId, sessionId, number };
    const fresh = { ...place, step, status: "running", commitSha: commit_sha, notes } as const;
    const view = iterationView(await insertIteration(change.tx, { ...fresh, createdBy: change.actor.id }));
    await this.#followIteration(change, "created", view, { number, step });
    return view;
  }

  async getIteration(id: string): Promise<IterationView> {
    return iterationView(found(await findIteration(this.#needs.database.db, id)));
  }

  /** The last one first. */
  async iterations(sessionId: string, query: Query<IterationState>): Promise<Page<IterationView>> {
    const { cursors, database } = this.#needs;
    const list = `iterations ${sessionId}`;
    const [number] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const after = number === undefined ? null : Number(number);
    const asked = { sessionId, after, status: query.status, rowsMax: query.limit + 1 };
    const page = pageOf(await listIterations(database.db, asked), query.limit, (last) =>
      cursors.seal(list, [String(last.number)]),
    );
    return { ...page, data: page.data.map(iterationView) };
  }

  /** Throws `closed`, `invalid_transition`, `stale_version`, and `gate_failed` with the evaluation in it. */
  async changeIteration(
    actor: Actor,
    place: { iterationId: string; sessionId: string },
    asked: IterationChange,
    seen: number | null,
  ): Promise<IterationView> {
    const outcome = await this.#needs.changes.make(actor, async (change) => {
      await requireOpenSession(change.tx, place.sessionId, asked.status === "passed" ? "alone" : "shared");
      const row = found(await lockIteration(change.tx, place.iterationId));
      requireVersion(row, seen);
      const { commit_sha, ...rest } = asked;
      const difference = differenceOf(row, { ...rest, commitSha: commit_sha });
      if (Object.keys(difference).length === 0) return iterationView(row);
      const { status } = difference;
      requireRunning(row, status);
      if (status === "passed") {
        const verdict = await this.#needs.evaluate(change, judgedAt(row, { ...row, ...difference }));
        if (!verdict.ok) return verdict;
      }
      const ending = status === undefined ? {} : { endedAt: new Date() };
      const view = iterationView(await updateIteration(change.tx, row.id, { ...difference, ...ending }));
      await this.#followIteration(change, "updated", view, changedFields(difference));
      return view;
    });
    return passed(outcome);
  }

  async #followSession(
    change: Change,
    verb: "created" | "updated",
    view: SessionView,
    details: Record<string, unknown>,
  ): Promise<void> {
    const { id, version, project_id: projectId, title, status } = view;
    await change.record({ action: `session.${verb}`, subject: id, projectId, sessionId: id, details });
    const payload = { id, version, project_id: projectId, title, status };
    await change.tell({ projectId, sessionId: id, type: `session.${verb}`, payload });
  }

  async #followIteration(
    change: Change,
    verb: "created" | "updated",
    view: IterationView,
    details: Record<string, unknown>,
  ): Promise<void> {
    const { id, version, project_id: projectId, session_id: sessionId, number, step, status } = view;
    await change.record({ action: `iteration.${verb}`, subject: id, projectId, sessionId, details });
    const payload = { id, version, session_id: sessionId, number, step, status };
    await change.tell({ projectId, sessionId, type: `iteration.${verb}`, payload });
  }
}

function requireMayChange(row: SessionRow, status: SessionState | undefined, byPerson: boolean): void {
  if (status !== undefined) requireMove(sessionMoves, "session", row.status, status);
  if (status === "open" && !byPerson) {
    throw new Failure(
      "forbidden",
      "people_only",
      "Only a person opens a session again; this credential is a machine's.",
    );
  }
  if (status === undefined && row.status !== "open") {
    throw new Failure(
      "conflict",
      "closed",
      `This session is ${row.status}; nothing in it changes any more. An editor may open it again.`,
    );
  }
}

function requireRunning(row: IterationRow, status: IterationState | undefined): void {
  if (status !== undefined) requireMove(iterationMoves, "iteration", row.status, status);
  if (row.status === "running") return;
  throw new Failure(
    "conflict",
    "closed",
    `This iteration is ${row.status} and stays as it is. Start another one.`,
  );
}

const judgedAt = (
  row: SessionRow | IterationRow,
  iteration: Pick<IterationRow, "id" | "commitSha"> | undefined,
): Judged => ({
  projectId: row.projectId,
  sessionId: "sessionId" in row ? row.sessionId : row.id,
  iterationId: iteration?.id ?? null,
  commitSha: iteration?.commitSha ?? null,
});

/** The verdict is stored by now, so it may be thrown. */
function passed<View extends object>(outcome: View | Verdict): View {
  if (!("evaluation" in outcome)) return outcome;
  throw new Failure(
    "conflict",
    "gate_failed",
    "Not every gate is passed; `evaluation` names those that are not, and why.",
    { members: { evaluation: outcome.evaluation } },
  );
}

function found<Row>(row: Row | undefined): Row {
  if (row === undefined) throw notFound();
  return row;
}

const sessionView = (row: SessionRow): SessionView => ({
  id: row.id,
  project_id: row.projectId,
  title: row.title,
  spec: row.spec,
  notes: row.notes,
  status: row.status,
  iterations: row.iterations,
  created_by: row.createdBy,
  created_at: row.createdAt.toISOString(),
  updated_at: row.updatedAt.toISOString(),
  closed_at: row.closedAt?.toISOString() ?? null,
  version: row.version,
});

const iterationView = (row: IterationRow): IterationView => ({
  id: row.id,
  project_id: row.projectId,
  session_id: row.sessionId,
  number: row.number,
  step: row.step,
  status: row.status,
  commit_sha: row.commitSha,
  notes: row.notes,
  created_by: row.createdBy,
  created_at: row.createdAt.toISOString(),
  updated_at: row.updatedAt.toISOString(),
  ended_at: row.endedAt?.toISOString() ?? null,
  version: row.version,
});
