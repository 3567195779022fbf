/**
 * The audit log as administrators read it: newest first, page by page, narrowed by who, what, where and when.
 *
 * Rows never change and never go, so a page goes on from the time and id of the last row: whatever was there when the
 * reading began is shown once, however much is written meanwhile. A row is shown as soon as it is committed, with the
 * seal that covers it or none yet. Nothing is checked here; that is `verify`.
 */
import type { Db } from "../../db/database.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import type { AuditQuery, AuditRow } from "./contract.ts";
import { browseRows, type ShownRow } from "./store-reading.ts";

const list = "audit";

export class AuditTrail {
  constructor(private readonly needs: { db: Db; cursors: Cursors }) {}

  /** Throws 400 for a cursor that this list never handed out. */
  async list(query: AuditQuery): Promise<Page<AuditRow>> {
    const { limit, cursor, ...filters } = query;
    const { db, cursors } = this.needs;
    const [at, id] = cursor === undefined ? [] : cursors.open(list, cursor);
    const position = at !== undefined && id !== undefined ? { at: new Date(at), id } : undefined;
    const found = await browseRows(db, { filters, position, rowsMax: limit + 1 });
    const page = pageOf(found, limit, (last) => cursors.seal(list, [last.at, last.id]));
    return { ...page, data: page.data.map(auditRow) };
  }
}

const auditRow = (row: ShownRow): AuditRow => ({
  id: row.eventId,
  at: row.at,
  actor: row.actor,
  actor_kind: row.actorKind,
  client_id: row.clientId,
  action: row.action,
  subject: row.subject,
  project_id: row.projectId,
  session_id: row.sessionId,
  ip: row.ip,
  user_agent: row.userAgent,
  request_id: row.requestId,
  outcome: row.outcome,
  details: row.details,
  hash: row.hash,
  seal: row.seal,
});
