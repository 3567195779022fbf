/**
 * Reports: what a runner or a person has to say about a session, in one piece, for people to read and find.
 *
 * A report is written once and never changed; who knows better writes another. Lists leave the text out, which may be a
 * megabyte; the search finds a report by its title and by the beginning of its text. An artifact that it names is
 * there when it is handed in, and may be gone before the report is read.
 */
import type { Change } from "../../db/changes.ts";
import type { Database } from "../../db/database.ts";
import { requireArtifactOf, requireIterationOf, requireOpenSession } from "../../db/open-session.ts";
import { searchText } from "../../db/search-text.ts";
import { notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import type { NewReport, ReportLine, ReportsQuery, ReportView } from "./contract.ts";
import { findReport, insertReport, type LineRow, listReports } from "./store.ts";

export type ReportsNeeds = { database: Database; cursors: Cursors };

/** A tsvector ends at a megabyte, and cutting a text into words takes its time: what is behind is read, but not found. */
const searchedCharactersMax = 50_000;

export class Reports {
  readonly #needs: ReportsNeeds;

  constructor(needs: ReportsNeeds) {
    this.#needs = needs;
  }

  /** Without the text, which whoever sent it has. Throws 422 for an iteration or an artifact of another session, 409 `closed`. */
  async submit(change: Change, sessionId: string, asked: NewReport): Promise<ReportLine> {
    const { projectId } = await requireOpenSession(change.tx, sessionId);
    const { kind, title, format, body, iteration_id = null, artifact_id = null } = asked;
    await requireIterationOf(change.tx, sessionId, iteration_id);
    await requireArtifactOf(change.tx, sessionId, artifact_id);
    const place = { id: newId("rpt"), projectId, sessionId, iterationId: iteration_id };
    const fresh = { ...place, kind, title, format, body, artifactId: artifact_id };
    const found = searchText([title], [body.slice(0, searchedCharactersMax)]);
    const row = await insertReport(change.tx, { ...fresh, createdBy: change.actor.id }, found);
    const { id, bodyBytes } = row;
    const details = { kind, body_bytes: bodyBytes };
    await change.record({ action: "report.created", subject: id, projectId, sessionId, details });
    const payload = { id, session_id: sessionId, iteration_id, kind, title, format };
    await change.tell({ projectId, sessionId, type: "report.created", payload });
    return lineView(row);
  }

  async get(id: string): Promise<ReportView> {
    const row = await findReport(this.#needs.database.db, id);
    if (row === undefined) throw notFound();
    return { ...lineView(row), body: row.body };
  }

  /** Newest first, without the texts. */
  async page(sessionId: string, query: ReportsQuery): Promise<Page<ReportLine>> {
    const { cursors, database } = this.#needs;
    const list = `reports ${sessionId}`;
    const { kind, iteration: iterationId, limit, cursor } = query;
    const [after = null] = cursor === undefined ? [] : cursors.open(list, cursor);
    const rows = await listReports(database.db, { sessionId, after, kind, iterationId, rowsMax: limit + 1 });
    const page = pageOf(rows, limit, ({ id }) => cursors.seal(list, [id]));
    return { ...page, data: page.data.map(lineView) };
  }
}

const lineView = (row: LineRow): ReportLine => ({
  id: row.id,
  project_id: row.projectId,
  session_id: row.sessionId,
  iteration_id: row.iterationId,
  kind: row.kind,
  title: row.title,
  format: row.format,
  body_bytes: row.bodyBytes,
  artifact_id: row.artifactId,
  created_by: row.createdBy,
  created_at: row.createdAt.toISOString(),
});
