/**
 * The tables tasks and task_history: writing, for each thousand tasks one statement for those that are made, one for those
 * that change, and one for their history.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Actor } from "../../db/audit-entry.ts";
import type { Db } from "../../db/database.ts";
import { searchText, searchVector } from "../../db/search-text.ts";
import { storableJson } from "../../db/storable.ts";
import type { Revision, Task } from "./revision.ts";

type Place = { readonly projectId: string; readonly sessionId: string };

/** All of them are locked, or new. */
export async function writeRevisions(
  tx: Db,
  place: Place,
  actor: Actor,
  revisions: readonly Revision[],
): Promise<void> {
  for (const some of partsOf(revisions)) {
    await insertTasks(
      tx,
      place,
      some.filter(({ before }) => before === null),
    );
    await updateTasks(
      tx,
      some.filter(({ before }) => before !== null),
    );
    await insertHistory(tx, actor, some);
  }
}

/** What a statement gets done long before its time is over, also on a busy server. */
const rowsAtOnceMax = 1_000;

export const partsOf = <Row>(rows: readonly Row[]): Row[][] =>
  Array.from({ length: Math.ceil(rows.length / rowsAtOnceMax) }, (_, part) =>
    rows.slice(part * rowsAtOnceMax, (part + 1) * rowsAtOnceMax),
  );

async function insertTasks(
  tx: Db,
  { projectId, sessionId }: Place,
  made: readonly Revision[],
): Promise<void> {
  if (made.length === 0) return;
  await tx.execute(sql`
    insert into tasks (id, project_id, session_id, dedupe_key, task_ref, title, originating_spec,
      acceptance_criteria, mapped_files, mapped_tests, status, notes, position, search)
    select id, ${projectId}, ${sessionId}, "dedupeKey", "taskRef", title, "originatingSpec",
      "acceptanceCriteria", "mappedFiles", "mappedTests", status, notes, position, ${vector}
    from jsonb_to_recordset(${records(made.map(({ after }) => written(after)))})
      as made (id text, "dedupeKey" text, ${texts}, status text, position integer)`);
}

/** A task that only moved or went on to another status is not sent whole. */
async function updateTasks(tx: Db, changed: readonly Revision[]): Promise<void> {
  if (changed.length === 0) return;
  const rows = changed.map(({ after, changes }) => {
    const { id, status, position, version } = after;
    return isRewritten(changes) ? { ...written(after), rewritten: true } : { id, status, position, version };
  });
  const keptOr = (column: string, value: SQL): SQL =>
    sql`${sql.identifier(column)} = case when next.rewritten then ${value} else tasks.${sql.identifier(column)} end`;
  await tx.execute(sql`
    update tasks set status = next.status, position = next.position, version = next.version, updated_at = now(),
      ${keptOr("task_ref", sql`next."taskRef"`)},
      ${keptOr("title", sql`next.title`)},
      ${keptOr("originating_spec", sql`next."originatingSpec"`)},
      ${keptOr("acceptance_criteria", sql`next."acceptanceCriteria"`)},
      ${keptOr("mapped_files", sql`next."mappedFiles"`)},
      ${keptOr("mapped_tests", sql`next."mappedTests"`)},
      ${keptOr("notes", sql`next.notes`)},
      ${keptOr("search", vector)}
    from jsonb_to_recordset(${records(rows)})
      as next (id text, ${texts}, status text, position integer, version integer, rewritten boolean)
    where tasks.id = next.id`);
}

async function insertHistory(tx: Db, actor: Actor, revisions: readonly Revision[]): Promise<void> {
  if (revisions.length === 0) return;
  const { id, kind, clientId, requestId } = actor;
  const rows = revisions.map((revision) => ({
    id: revision.after.id,
    version: revision.after.version,
    action: actionOf(revision),
    changes: revision.changes,
  }));
  await tx.execute(sql`
    insert into task_history (task_id, version, actor, actor_kind, client_id, request_id, action, changes)
    select id, version, ${id}, ${kind}, ${clientId}, ${requestId}, action, changes
    from jsonb_to_recordset(${records(rows)}) as past (id text, version integer, action text, changes jsonb)`);
}

function actionOf({ before, after, changes }: Revision): "created" | "updated" | "cancelled" {
  if (before === null) return "created";
  return changes.status !== undefined && after.status === "cancelled" ? "cancelled" : "updated";
}

const isRewritten = ({ status: _status, position: _position, ...others }: Revision["changes"]): boolean =>
  Object.keys(others).length > 0;

const written = (task: Task) => ({
  ...task,
  ...searchText([task.title, task.taskRef], [task.originatingSpec, task.acceptanceCriteria, task.notes]),
});

/** The columns of what `written` makes that are no numbers and no states. */
const texts = sql.raw(
  `"taskRef" text, title text, "originatingSpec" text, "acceptanceCriteria" text, "mappedFiles" text[],
   "mappedTests" text[], notes text, words text, grams text[]`,
);
const vector = searchVector(sql.raw("words"), sql.raw("grams"));

/** Half of a surrogate pair stands in some trigrams. */
const records = (rows: readonly object[]): SQL => sql`${storableJson(JSON.stringify(rows))}::text::jsonb`;
