/**
 * What a list of tasks does to a session, decided before anything is written: pure, so that a property can try it.
 *
 * Positions are 1, 2, 3, … without a gap or a repeat: merged tasks go behind those that are there, a replacing list comes
 * first and in its own order. A list is taken whole or refused whole, with everything that is wrong with it named.
 */
import { Failure, type FieldError } from "../../platform/failure.ts";
import { mayMove, whyNoMove } from "../../platform/states.ts";
import { mistakesMax } from "../../platform/wire-body.ts";
import type { Batch, BatchView, Outcome, TaskItem } from "./contract.ts";
import { dedupeKeyOf } from "./dedupe-key.ts";
import {
  fieldsOf,
  firstOf,
  hasChanges,
  nextOf,
  type Revision,
  type Task,
  type TaskFields,
} from "./revision.ts";
import { taskMoves } from "./states.ts";

/** One item of a list: its key, and the fields that it names. */
export type Listed = { readonly dedupeKey: string; readonly fields: Partial<TaskFields> };

export type Plan = {
  /** Of every task that changes. */
  readonly revisions: readonly Revision[];
  readonly answer: BatchView;
};

/** Throws 422 `duplicate_key` where two items have one key, `invalid_request` where one has none. */
export function listedOf(items: readonly TaskItem[]): Listed[] {
  const errors: FieldError[] = [];
  const seen = new Map<string, number>();
  const listed = items.map((item, index) => {
    const fields = fieldsOf(item);
    const dedupeKey = dedupeKeyOf({ ...fields, dedupeKey: item.dedupe_key });
    if (dedupeKey === null) {
      errors.push(untitled(index));
      return { dedupeKey: "", fields };
    }
    const first = seen.get(dedupeKey);
    if (first === undefined) seen.set(dedupeKey, index);
    else errors.push(duplicate(first, index));
    return { dedupeKey, fields };
  });
  if (errors.length > 0) throw refusal(errors);
  return listed;
}

/**
 * `existing`: the tasks that are listed and there, all of the session's for `replace`. `last`: the session's last
 * position. Throws 422 where a new task has no title, 409 `invalid_transition`.
 */
export function planBatch(asked: {
  existing: readonly Task[];
  listed: readonly Listed[];
  mode: Batch["mode"];
  last: number;
  drawId: () => string;
}): Plan {
  const { existing, listed, mode, drawId } = asked;
  const byKey = new Map(existing.map((task) => [task.dedupeKey, task]));
  requireTitles(listed, byKey);
  requireMoves(listed, byKey);
  const isWhole = mode === "replace";
  let position = isWhole ? 0 : asked.last;
  const named = listed.map(({ dedupeKey, fields }) => {
    const before = byKey.get(dedupeKey);
    if (before === undefined) {
      const place = { id: drawId(), dedupeKey, position: ++position };
      // That it has a title was looked at above.
      return firstOf(place, fields as Parameters<typeof firstOf>[1]);
    }
    return nextOf(before, isWhole ? { ...fields, position: ++position } : fields);
  });
  const others = isWhole ? othersOf(existing, listed) : [];
  const left = others.map((task) => nextOf(task, { ...leftAlone(task), position: ++position }));
  return {
    revisions: [...named, ...left].filter(({ changes }) => hasChanges(changes)),
    answer: answerOf(named, left),
  };
}

/** In the order in which they stand. */
function othersOf(existing: readonly Task[], listed: readonly Listed[]): Task[] {
  const keys = new Set(listed.map(({ dedupeKey }) => dedupeKey));
  return existing
    .filter(({ dedupeKey }) => !keys.has(dedupeKey))
    .sort((one, other) => one.position - other.position);
}

/** What nobody has begun, or cannot go on with, is cancelled when it is listed no more. */
const leftAlone = ({ status }: Task): Partial<TaskFields> =>
  status === "planned" || status === "blocked" ? { status: "cancelled" } : {};

function answerOf(named: readonly Revision[], left: readonly Revision[]): BatchView {
  const cancelled = left.filter(({ changes }) => changes.status !== undefined);
  const lines = [
    ...named.map((revision) => lineOf(revision, outcomeOf(revision))),
    ...cancelled.map((revision) => lineOf(revision, "cancelled")),
  ];
  const counts = { created: 0, updated: 0, unchanged: 0, cancelled: 0 };
  for (const { outcome } of lines) counts[outcome]++;
  return { data: lines, counts };
}

const lineOf = ({ after: { id, dedupeKey, status, version } }: Revision, outcome: Outcome) => ({
  id,
  dedupe_key: dedupeKey,
  outcome,
  status,
  version,
});

function outcomeOf({ before, changes }: Revision): Outcome {
  if (before === null) return "created";
  return hasChanges(changes) ? "updated" : "unchanged";
}

function requireTitles(listed: readonly Listed[], byKey: ReadonlyMap<string, Task>): void {
  const errors = listed.flatMap(({ dedupeKey, fields }, index) =>
    fields.title === undefined && !byKey.has(dedupeKey) ? [untitled(index)] : [],
  );
  if (errors.length > 0) throw refusal(errors);
}

function requireMoves(listed: readonly Listed[], byKey: ReadonlyMap<string, Task>): void {
  const errors = listed.flatMap(({ dedupeKey, fields: { status: to } }, index) => {
    const from = byKey.get(dedupeKey)?.status;
    if (from === undefined || to === undefined || mayMove(taskMoves, from, to)) return [];
    const message = `This task cannot do that: ${whyNoMove(taskMoves, from, to)}`;
    return [{ path: `tasks.${index}.status`, code: "invalid_transition", message }];
  });
  if (errors.length === 0) return;
  const message = `Some tasks cannot change as asked, so none was changed; ${told(errors)}.`;
  throw new Failure("conflict", "invalid_transition", message, { errors: errors.slice(0, mistakesMax) });
}

function refusal(errors: FieldError[]): Failure {
  const isOnlyKeys = errors.every(({ code }) => code === "duplicate_key");
  return new Failure(
    "unprocessable",
    isOnlyKeys ? "duplicate_key" : "invalid_request",
    `The list of tasks has mistakes; ${told(errors)}.`,
    { errors: errors.slice(0, mistakesMax) },
  );
}

const told = ({ length }: readonly FieldError[]): string =>
  `\`errors\` names ${length > mistakesMax ? `the first ${mistakesMax} of ${length}` : "each"}`;

const untitled = (index: number): FieldError => ({
  path: `tasks.${index}.title`,
  code: "required",
  message: "There is no such task yet, and a new one needs a title.",
});

const duplicate = (first: number, index: number): FieldError => ({
  path: `tasks.${index}`,
  code: "duplicate_key",
  message: `tasks.${first} and tasks.${index} have the same key, so they are one task: leave one out, or give each a dedupe_key.`,
});
