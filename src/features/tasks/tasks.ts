/**
 * The tasks of a session: a list that plans are merged into, or replaced with, as often as one likes.
 *
 * A task is known again by its dedupe key, which never changes. Positions are 1, 2, 3, … without a gap or a repeat,
 * whoever writes at the same time. A list is taken whole or not at all, and one that says what is there already writes
 * nothing. Each version of a task is in its history with whoever made it. Nothing is ever removed: it is cancelled.
 */
import type { Change } from "../../db/changes.ts";
import type { Database } from "../../db/database.ts";
import { requireOpenSession } from "../../db/open-session.ts";
import { notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import { requireMove } from "../../platform/states.ts";
import { Turns } from "../../platform/turns.ts";
import { requireVersion } from "../../platform/versions.ts";
import { listedOf, planBatch } from "./batch.ts";
import type { Batch, BatchView, TaskChange, TaskHistoryView, TasksQuery, TaskView } from "./contract.ts";
import { fieldsOf, hasChanges, nextOf, type Revision } from "./revision.ts";
import { taskMoves } from "./states.ts";
import {
  findLastPosition,
  findTask,
  listHistory,
  listTasks,
  lockTask,
  lockTasks,
  type TaskHistoryRow,
  type TaskRow,
} from "./store.ts";
import { insertHistory, revisionsAtOnceMax, writeTasks } from "./store-revisions.ts";

export type TasksNeeds = { database: Database; cursors: Cursors };

type Place = { readonly projectId: string; readonly sessionId: string };

export class Tasks {
  /** For `upsert`: one writes, one waits in the database for it; the lists of a busy session must not take all of its connections. */
  readonly turns = new Turns({ atOnce: 2 });
  readonly #needs: TasksNeeds;

  constructor(needs: TasksNeeds) {
    this.#needs = needs;
  }

  /**
   * Merges a list into the session's tasks, or makes it the session's list. Throws `closed`, `duplicate_key`,
   * `invalid_transition`, and `invalid_request` for a new task without a title.
   */
  async upsert(change: Change, sessionId: string, { tasks, mode }: Batch): Promise<BatchView> {
    const listed = listedOf(tasks);
    const { projectId } = await requireOpenSession(change.tx, sessionId, "numbering");
    const isWhole = mode === "replace";
    const keys = isWhole ? null : listed.map(({ dedupeKey }) => dedupeKey);
    const existing = await lockTasks(change.tx, sessionId, keys);
    const last = isWhole ? 0 : await findLastPosition(change.tx, sessionId);
    const drawId = () => newId("tsk");
    const { revisions, answer } = planBatch({ existing, listed, mode, last, drawId });
    if (revisions.length === 0) return answer;
    const place = { projectId, sessionId };
    await this.#keep(change, place, revisions);
    const details = { mode, ...answer.counts };
    await change.record({ action: "tasks.upserted", subject: sessionId, ...place, details });
    return answer;
  }

  async get(id: string): Promise<TaskView> {
    return taskView(found(await findTask(this.#needs.database.db, id)));
  }

  /** In the session's order. */
  async page(sessionId: string, query: TasksQuery): Promise<Page<TaskView>> {
    const { cursors, database } = this.#needs;
    const { limit, cursor, status: statuses, spec, text } = query;
    const list = `tasks ${sessionId}`;
    const [position = 0] = cursor === undefined ? [] : cursors.open(list, cursor);
    const asked = { sessionId, after: Number(position), statuses, spec, text, rowsMax: limit + 1 };
    const page = pageOf(await listTasks(database.db, asked), limit, (last) =>
      cursors.seal(list, [String(last.position)]),
    );
    return { ...page, data: page.data.map(taskView) };
  }

  /** Throws `closed`, `invalid_transition`, `stale_version`. */
  async change(
    change: Change,
    place: { taskId: string; sessionId: string },
    asked: TaskChange,
    seen: number | null,
  ): Promise<TaskView> {
    const { tx } = change;
    const { id: sessionId, projectId } = await requireOpenSession(tx, place.sessionId);
    const row = found(await lockTask(tx, place.taskId));
    requireVersion(row, seen);
    if (asked.status !== undefined) requireMove(taskMoves, "task", row.status, asked.status);
    const revision = nextOf(row, fieldsOf(asked));
    if (!hasChanges(revision.changes)) return taskView(row);
    await this.#keep(change, { projectId, sessionId }, [revision]);
    const { status } = revision.changes;
    const details = {
      fields: Object.keys(revision.changes),
      ...(status === undefined ? {} : { status: status.to }),
    };
    await change.record({ action: "task.updated", subject: row.id, projectId, sessionId, details });
    return taskView(found(await findTask(tx, row.id)));
  }

  /** The last version first. */
  async history(taskId: string, query: Pick<TasksQuery, "limit" | "cursor">): Promise<Page<TaskHistoryView>> {
    const { cursors, database } = this.#needs;
    const list = `task history ${taskId}`;
    const [version] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const before = version === undefined ? null : Number(version);
    const rows = await listHistory(database.db, { taskId, before, rowsMax: query.limit + 1 });
    const page = pageOf(rows, query.limit, (last) => cursors.seal(list, [String(last.version)]));
    return { ...page, data: page.data.map(historyView) };
  }

  async #keep(change: Change, place: Place, revisions: readonly Revision[]): Promise<void> {
    const { tx, actor } = change;
    for (let from = 0; from < revisions.length; from += revisionsAtOnceMax) {
      const some = revisions.slice(from, from + revisionsAtOnceMax);
      await together([
        insertHistory(tx, actor, some),
        change.tell(...some.map((revision) => eventOf(place, revision))),
        // In a turn of its own: what is looked for is made ready while the database is busy with the others.
        Bun.sleep(0).then(() => writeTasks(tx, place, some)),
      ]);
    }
  }
}

/** Throws what went wrong first, and only when all have ended: nothing may be sent behind a rollback. */
async function together(works: readonly Promise<void>[]): Promise<void> {
  for (const end of await Promise.allSettled(works)) if (end.status === "rejected") throw end.reason;
}

function eventOf(place: Place, { before, after }: Revision) {
  const { id, version, dedupeKey: dedupe_key, taskRef: task_ref, title, status, position } = after;
  const type = before === null ? ("task.created" as const) : ("task.updated" as const);
  const session_id = place.sessionId;
  const payload = { id, version, session_id, dedupe_key, task_ref, title, status, position };
  return { ...place, type, payload };
}

function found<Row>(row: Row | undefined): Row {
  if (row === undefined) throw notFound();
  return row;
}

const taskView = (row: TaskRow): TaskView => ({
  id: row.id,
  project_id: row.projectId,
  session_id: row.sessionId,
  dedupe_key: row.dedupeKey,
  task_ref: row.taskRef,
  title: row.title,
  originating_spec: row.originatingSpec,
  acceptance_criteria: row.acceptanceCriteria,
  mapped_files: row.mappedFiles,
  mapped_tests: row.mappedTests,
  status: row.status,
  notes: row.notes,
  position: row.position,
  created_at: row.createdAt.toISOString(),
  updated_at: row.updatedAt.toISOString(),
  version: row.version,
});

const historyView = (row: TaskHistoryRow): TaskHistoryView => ({
  version: row.version,
  at: row.at.toISOString(),
  actor: row.actor,
  actor_kind: row.actorKind,
  client_id: row.clientId,
  request_id: row.requestId,
  action: row.action,
  changes: row.changes,
});
