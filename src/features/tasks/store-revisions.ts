/**
 * The tables tasks and task_history: writing, with one statement for all that is made, one for all that changes, and one
 * for the history of both.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Actor } from "../../db/audit-entry.ts";
import type { Db } from "../../db/database.ts";
import { searchText, searchVector } from "../../db/search-text.ts";
import { storableJson } from "../../db/storable.ts";
import { others } from "../../platform/turns.ts";
import type { Revision, Task } from "./revision.ts";

type Place = { readonly projectId: string; readonly sessionId: string };

/** What a statement gets done long before its time is over, also on a busy server. */
export const revisionsAtOnceMax = 1_000;

/** At most a thousand, each of a task that is locked, or new. */
export async function writeTasks(tx: Db, place: Place, revisions: readonly Revision[]): Promise<void> {
  await insertTasks(
    tx,
    place,
    revisions.filter(({ before }) => before === null),
  );
  await updateTasks(
    tx,
    revisions.filter(({ before }) => before !== null),
  );
}

const pieceRows = 50;

/** Thai words are looked up in a dictionary: a thousand long texts would hold everybody else up for a second. */
async function inPieces<Row, Made>(rows: readonly Row[], make: (row: Row) => Made): Promise<Made[]> {
  const made: Made[] = [];
  for (let from = 0; from < rows.length; from += pieceRows) {
    if (from > 0) await others();
    made.push(...rows.slice(from, from + pieceRows).map(make));
  }
  return made;
}

async function insertTasks(
  tx: Db,
  { projectId, sessionId }: Place,
  made: readonly Revision[],
): Promise<void> {
  if (made.length === 0) return;
  const rows = await inPieces(made, ({ after }) => written(after));
  await tx.execute(sql`
    insert into tasks (id, project_id, session_id, dedupe_key, task_ref, title, originating_spec,
      acceptance_criteria, mapped_files, mapped_tests, status, notes, position, search)
    select id, ${projectId}, ${sessionId}, "dedupeKey", "taskRef", title, "originatingSpec",
      "acceptanceCriteria", "mappedFiles", "mappedTests", status, notes, position, ${vector}
    from json_to_recordset(${records(rows)})
      as made (id text, "dedupeKey" text, ${texts}, status text, position integer)`);
}

/** A task that only moved or went on to another status is not sent whole. */
async function updateTasks(tx: Db, changed: readonly Revision[]): Promise<void> {
  if (changed.length === 0) return;
  const rows = await inPieces(changed, ({ after, changes }) => {
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
    from json_to_recordset(${records(rows)})
      as next (id text, ${texts}, status text, position integer, version integer, rewritten boolean)
    where tasks.id = next.id`);
}

export async function insertHistory(tx: Db, actor: Actor, revisions: readonly Revision[]): Promise<void> {
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
    from json_to_recordset(${records(rows)}) as past (id text, version integer, action text, changes jsonb)`);
}

function actionOf({ before, after, changes }: Revision): "created" | "updated" | "cancelled" {
  if (before === null) return "created";
  return changes.status !== undefined && after.status === "cancelled" ? "cancelled" : "updated";
}

const isRewritten = ({ status: _status, position: _position, ...others }: Revision["changes"]): boolean =>
  Object.keys(others).length > 0;

function written(task: Task) {
  const { words, grams } = searchText(
    [task.title],
    [task.taskRef, task.originatingSpec, task.acceptanceCriteria, task.notes],
  );
  // One text, because a list of them takes the database as long as all the rest of the row. No trigram has a space in it.
  return { ...task, words, grams: grams.join("\n") };
}

/** The columns of what `written` makes that are no numbers and no states. */
const texts = sql.raw(
  `"taskRef" text, title text, "originatingSpec" text, "acceptanceCriteria" text, "mappedFiles" text[],
   "mappedTests" text[], notes text, words text, grams text`,
);
const vector = searchVector(sql.raw("words"), sql.raw("string_to_array(grams, E'\\n')"));

/** Half of a surrogate pair may stand in a trigram. */
const records = (rows: readonly object[]): SQL => sql`${storableJson(JSON.stringify(rows))}::text::json`;
