import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Failure } from "../../platform/failure.ts";
import { mayMove } from "../../platform/states.ts";
import { listedOf, planBatch } from "./batch.ts";
import type { TaskItem } from "./contract.ts";
import type { Task } from "./revision.ts";
import { taskMoves, taskStates } from "./states.ts";

/** A session's tasks by key, in order: what the planner must agree with. */
type Model = Map<string, Content & { version: number }>;
type Content = Pick<Task, "title" | "notes" | "status">;

const state = fc.constantFrom(...taskStates);
const item = fc.record(
  {
    dedupe_key: fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h"),
    title: fc.constantFrom("one", "two"),
    notes: fc.constantFrom("n", null),
    status: state,
  },
  { requiredKeys: ["dedupe_key", "title"] },
);
const list = fc.uniqueArray(item, { selector: ({ dedupe_key }) => dedupe_key, maxLength: 8 });
const mode = fc.constantFrom("merge" as const, "replace" as const);

let drawn = 0;
const drawId = () => `tsk_${++drawn}`;

function tasksOf(model: Model): Task[] {
  return [...model].map(([dedupeKey, { title, notes, status, version }], index) => ({
    id: `tsk_${dedupeKey}`,
    dedupeKey,
    taskRef: null,
    title,
    originatingSpec: null,
    acceptanceCriteria: null,
    mappedFiles: [],
    mappedTests: [],
    status,
    notes,
    position: index + 1,
    version,
  }));
}

/** In one line for each rule. */
function applied(model: Model, items: readonly TaskItem[], isWhole: boolean): Map<string, Content> {
  const next = new Map<string, Content>();
  const put = ({ dedupe_key = "", title = "", notes, status }: TaskItem) => {
    const old: Content = model.get(dedupe_key) ?? { title, notes: null, status: "planned" };
    next.set(dedupe_key, {
      title,
      notes: notes === undefined ? old.notes : notes,
      status: status ?? old.status,
    });
  };
  const listed = new Set(items.map(({ dedupe_key }) => dedupe_key));
  if (isWhole) items.forEach(put);
  for (const [key, { title, notes, status }] of model) {
    const isDropped = isWhole && (status === "planned" || status === "blocked");
    if (!listed.has(key)) next.set(key, { title, notes, status: isDropped ? "cancelled" : status });
    else if (!isWhole) put(items.find(({ dedupe_key }) => dedupe_key === key) as TaskItem);
  }
  if (!isWhole) for (const one of items) if (!next.has(one.dedupe_key ?? "")) put(one);
  return next;
}

/** What is there after a plan, in order. */
function outcomeOf(before: readonly Task[], after: readonly Task[]): Task[] {
  const byId = new Map(before.map((task) => [task.id, task]));
  for (const task of after) byId.set(task.id, task);
  return [...byId.values()].sort((one, other) => one.position - other.position);
}

const contentOf = ({ title, notes, status }: Task): Content => ({ title, notes, status });

describe("a list that is planned", () => {
  test("leaves what a simple model says, batch after batch", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(list, mode), { maxLength: 5 }), (batches) => {
        let there: Task[] = [];
        for (const [items, how] of batches) {
          const isWhole = how === "replace";
          const model: Model = new Map(there.map((task) => [task.dedupeKey, task]));
          const expected = applied(model, items, isWhole);
          const keys = new Set<string>(items.map(({ dedupe_key }) => dedupe_key));
          // In another order than they stand in, as the store hands them out by key.
          const existing = there
            .filter(({ dedupeKey }) => isWhole || keys.has(dedupeKey))
            .sort((one, other) => (one.dedupeKey < other.dedupeKey ? -1 : 1));
          const isForbidden = items.some(({ dedupe_key = "", status }) => {
            const from = model.get(dedupe_key)?.status;
            return from !== undefined && status !== undefined && !mayMove(taskMoves, from, status);
          });
          const asked = { existing, listed: listedOf(items), mode: how, last: there.length, drawId };
          if (isForbidden) {
            expect(() => planBatch(asked)).toThrow(Failure);
            continue;
          }
          const { revisions, answer } = planBatch(asked);
          const after = outcomeOf(
            there,
            revisions.map(({ after }) => after),
          );
          expect(after.map(({ position }) => position)).toEqual(after.map((_, index) => index + 1));
          expect(after.map((task) => [task.dedupeKey, contentOf(task)])).toEqual([...expected]);
          for (const { before, after } of revisions) expect(after.version).toBe((before?.version ?? 0) + 1);
          const answered = answer.data.slice(0, items.length).map(({ dedupe_key }) => dedupe_key);
          expect(answered).toEqual(items.map(({ dedupe_key }): string => dedupe_key));
          expect(answer.counts.created).toBe(after.length - there.length);
          expect(answer.counts.cancelled).toBe(answer.data.length - items.length);
          const total = Object.values(answer.counts).reduce((sum, count) => sum + count, 0);
          expect(total).toBe(answer.data.length);
          there = after;
        }
      }),
      { numRuns: 500 },
    );
  });

  test("changes nothing the second time", () => {
    fc.assert(
      fc.property(list, list, mode, (earlier, items, how) => {
        const first = planBatch({ existing: [], listed: listedOf(earlier), mode: how, last: 0, drawId });
        const there = first.revisions.map(({ after }) => after);
        const listed = listedOf(items);
        const keys = new Set(listed.map(({ dedupeKey }) => dedupeKey));
        const ofKeys = (tasks: Task[]) =>
          tasks.filter(({ dedupeKey }) => how === "replace" || keys.has(dedupeKey));
        const isForbidden = listed.some(({ dedupeKey, fields }) => {
          const from = there.find((task) => task.dedupeKey === dedupeKey)?.status;
          return (
            from !== undefined && fields.status !== undefined && !mayMove(taskMoves, from, fields.status)
          );
        });
        fc.pre(!isForbidden);
        const once = planBatch({ existing: ofKeys(there), listed, mode: how, last: there.length, drawId });
        const after = outcomeOf(
          there,
          once.revisions.map(({ after }) => after),
        );
        const twice = planBatch({ existing: ofKeys(after), listed, mode: how, last: after.length, drawId });
        expect(twice.revisions).toEqual([]);
        expect(twice.answer.counts).toEqual({
          created: 0,
          updated: 0,
          unchanged: items.length,
          cancelled: 0,
        });
      }),
      { numRuns: 500 },
    );
  });

  test("is refused with every item named that cannot be", () => {
    const existing = tasksOf(
      new Map([
        ["a", { title: "one", notes: null, status: "done", version: 3 }],
        ["b", { title: "two", notes: null, status: "cancelled", version: 1 }],
      ]),
    );
    const listed = listedOf([
      { dedupe_key: "a", status: "blocked" },
      { dedupe_key: "c", title: "three", status: "blocked" },
      { dedupe_key: "b", status: "blocked" },
    ]);
    const refused = refusalOf(() => planBatch({ existing, listed, mode: "merge", last: 2, drawId }));
    expect([refused.status, refused.code]).toEqual([409, "invalid_transition"]);
    expect(refused.errors).toEqual([
      {
        path: "tasks.0.status",
        code: "invalid_transition",
        message:
          "This task cannot do that: done cannot become blocked; what is done may become planned, doing, cancelled.",
      },
      {
        path: "tasks.2.status",
        code: "invalid_transition",
        message:
          "This task cannot do that: cancelled cannot become blocked; what is cancelled may become planned, doing, done.",
      },
    ]);
  });

  test("is refused where two items are one task, or one is none", () => {
    const refused = refusalOf(() =>
      listedOf([{ title: "C" }, { title: "C++" }, { task_ref: "T" }, { title: " c " }, { task_ref: "ｔ" }]),
    );
    expect([refused.status, refused.code]).toEqual([422, "duplicate_key"]);
    expect(refused.errors?.map(({ path }) => path)).toEqual(["tasks.3", "tasks.4"]);
    expect(refused.errors?.[0]?.message).toContain("tasks.0 and tasks.3");
    const both = refusalOf(() => listedOf([{ title: "C" }, { notes: "x" }, { title: "C" }]));
    expect([both.code, both.errors?.map(({ path }) => path)]).toEqual([
      "invalid_request",
      ["tasks.1.title", "tasks.2"],
    ]);
  });
});

test("a list full of mistakes is told of the first hundred, and how many there are", () => {
  const refused = refusalOf(() => listedOf(Array.from({ length: 301 }, () => ({ title: "again" }))));
  expect([refused.errors?.length, refused.code]).toEqual([100, "duplicate_key"]);
  expect(refused.message).toContain("the first 100 of 300");
});

function refusalOf(work: () => unknown): Failure {
  try {
    work();
  } catch (error) {
    if (error instanceof Failure) return error;
  }
  throw new Error("nothing was refused");
}

describe("the states of a task", () => {
  test("are all reached from all others, but blocked from what is over", () => {
    fc.assert(
      fc.property(state, state, (from, to) => {
        const isRefused = to === "blocked" && (from === "done" || from === "cancelled");
        expect(mayMove(taskMoves, from, to)).toBe(!isRefused);
      }),
    );
  });

  test("are the ones of the table, and no others", () => {
    expect(Object.keys(taskMoves).sort()).toEqual([...taskStates].sort());
    for (const to of Object.values(taskMoves).flat()) expect(taskStates).toContain(to);
  });
});
