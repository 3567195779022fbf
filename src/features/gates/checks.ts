/**
 * Checks: what runners found out about one commit of an iteration.
 *
 * A check is written once and never changed: whoever finds something else writes another one, and the latest of its kind
 * counts. What it says is not verified here, only who said it. An iteration that is over still takes checks, because they
 * may come late and a session is judged by its last iteration; a session that is over takes none.
 */
import type { Change } from "../../db/changes.ts";
import type { Database } from "../../db/database.ts";
import { requireArtifactOf, requireOpenSession } from "../../db/open-session.ts";
import { notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import type { CheckKind, CheckView, NewCheck } from "./contract.ts";
import { type CheckRow, findCheck, insertCheck, listChecks } from "./store.ts";

export type ChecksNeeds = { database: Database; cursors: Cursors };

type Query = { limit: number; cursor?: string | undefined; kind?: CheckKind | undefined };

export class Checks {
  readonly #needs: ChecksNeeds;

  constructor(needs: ChecksNeeds) {
    this.#needs = needs;
  }

  /** Throws `closed`, and 422 for an artifact of another session. */
  async create(
    change: Change,
    place: { iterationId: string; sessionId: string },
    asked: NewCheck,
  ): Promise<CheckView> {
    const { iterationId, sessionId } = place;
    const { projectId } = await requireOpenSession(change.tx, sessionId);
    const { kind, name = null, status, percent = null, summary = null } = asked;
    const { commit_sha: commitSha = null, artifact_id: artifactId = null } = asked;
    await requireArtifactOf(change.tx, sessionId, artifactId);
    const found = { kind, name, status, percent, commitSha, summary, artifactId };
    const home = { id: newId("chk"), projectId, sessionId, iterationId };
    const view = checkView(await insertCheck(change.tx, { ...home, ...found, createdBy: change.actor.id }));
    const shown = { iteration_id: iterationId, kind, name, status, percent, commit_sha: commitSha };
    const subject = view.id;
    await change.record({ action: "check.created", subject, projectId, sessionId, details: shown });
    const payload = { id: view.id, session_id: sessionId, ...shown };
    await change.tell({ projectId, sessionId, type: "check.created", payload });
    return view;
  }

  async get(id: string): Promise<CheckView> {
    const row = await findCheck(this.#needs.database.db, id);
    if (row === undefined) throw notFound();
    return checkView(row);
  }

  /** Newest first. */
  async page(iterationId: string, query: Query): Promise<Page<CheckView>> {
    const { cursors, database } = this.#needs;
    const list = `checks ${iterationId}`;
    const [no] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const after = no === undefined ? null : Number(no);
    const asked = { iterationId, after, kind: query.kind, rowsMax: query.limit + 1 };
    const page = pageOf(await listChecks(database.db, asked), query.limit, (last) =>
      cursors.seal(list, [String(last.no)]),
    );
    return { ...page, data: page.data.map(checkView) };
  }
}

const checkView = (row: CheckRow): CheckView => ({
  id: row.id,
  project_id: row.projectId,
  session_id: row.sessionId,
  iteration_id: row.iterationId,
  kind: row.kind,
  name: row.name,
  status: row.status,
  percent: row.percent,
  commit_sha: row.commitSha,
  summary: row.summary,
  artifact_id: row.artifactId,
  created_by: row.createdBy,
  created_at: row.createdAt.toISOString(),
});
