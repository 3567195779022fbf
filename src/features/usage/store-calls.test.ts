import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { newId } from "../../platform/ids.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import type { CallFilters } from "./contract.ts";
import { mergeBatch } from "./merge.ts";
import type { Sight } from "./store.ts";
import { type CallQuestion, type Patience, type Position, searchCalls } from "./store-calls.ts";

const { database, drop } = await testDatabase();
afterAll(drop);

const names = {
  user: ["usr_a", "usr_b"],
  project: ["prj_a", "prj_b", "prj_c"],
  model: ["mini", "max"],
  session: ["ses_a", "ses_b"],
};
const pick = <T>(values: readonly T[], by: number): T | null => values[by % (values.length + 1)] ?? null;
const minute = (number: number): string => new Date(Date.UTC(2026, 4, 1, 0, number)).toISOString();

/** Several a minute, so that the id has to break ties; some are still open. */
const calls = Array.from({ length: 240 }, (_, n) => {
  const start = startRecord({
    req: newId("req"),
    at: minute(Math.floor(n / 3)),
    user_id: pick(names.user, n),
    client_id: n % 5 === 0 ? "cli_a" : null,
    project_id: pick(names.project, Math.floor(n / 2)),
    session_id: pick(names.session, Math.floor(n / 7)),
    model: n === 3 ? "rare" : (pick(names.model, n * 7) ?? "mini"),
    tags: n % 11 === 0 ? { team: "red" } : null,
  });
  return { start, isOpen: n % 13 === 0, state: n % 9 === 0 ? ("failed" as const) : ("settled" as const) };
});

beforeAll(async () => {
  const records = calls.flatMap(({ start, isOpen, state }) => [
    start,
    ...(isOpen ? [] : [endRecord(start, { state })]),
  ]);
  const batch = { records: records.map((record) => JSON.stringify(record)), epoch: 1, reach: null };
  await mergeBatch(database.sql, { instance: crypto.randomUUID(), epoch: 1 }, batch);
});

function mayBeSeen({ start }: (typeof calls)[number], sight: Sight): boolean {
  if (sight.of === "all") return true;
  if (sight.of === "person")
    return start.user_id === sight.id || sight.projectIds.includes(start.project_id ?? "");
  return (sight.of === "project" ? start.project_id : start.client_id) === sight.id;
}

/** What is to be found, in the order of time. */
const wanted = (
  sight: Sight,
  { from, to, model, user, project, session, tag, state }: CallFilters,
): string[] =>
  calls
    .filter((call) => {
      const { start, isOpen } = call;
      const at = new Date(start.at);
      return (
        !isOpen &&
        mayBeSeen(call, sight) &&
        (from === undefined || at >= from) &&
        (to === undefined || at < to) &&
        [model ?? start.model, user ?? start.user_id, project ?? start.project_id].every(
          (one, which) => one === [start.model, start.user_id, start.project_id][which],
        ) &&
        (session ?? start.session_id) === start.session_id &&
        (tag === undefined || start.tags !== null) &&
        (state ?? call.state) === call.state
      );
    })
    .map(({ start }) => ({ id: start.req, at: start.at }))
    .sort((a, b) => (a.at === b.at ? (a.id < b.id ? -1 : 1) : a.at < b.at ? -1 : 1))
    .map(({ id }) => id);

async function readThrough(asked: Omit<CallQuestion, "position">, patience: Patience) {
  const seen: string[] = [];
  let position: Position | null = null;
  let pages = 0;
  do {
    const { rows, next } = await searchCalls(database.db, { ...asked, position }, patience);
    expect(rows.length).toBeLessThanOrEqual(asked.rowsMax);
    seen.push(...rows.map(({ id }) => id));
    position = next;
    pages++;
  } while (position !== null);
  return { seen, pages };
}

const sight: fc.Arbitrary<Sight> = fc.oneof(
  fc.constant<Sight>({ of: "all" }),
  fc.constant<Sight>({ of: "client", id: "cli_a" }),
  fc.constantFrom(...names.project).map((id): Sight => ({ of: "project", id })),
  fc
    .record({ id: fc.constantFrom(...names.user, "usr_none"), projectIds: fc.subarray(names.project) })
    .map((person): Sight => ({ of: "person", ...person })),
);
const filters = fc.record(
  {
    from: fc.integer({ min: -5, max: 85 }).map((n) => new Date(minute(n))),
    to: fc.integer({ min: -5, max: 85 }).map((n) => new Date(minute(n))),
    model: fc.constantFrom("mini", "max", "rare", "none"),
    user: fc.constantFrom(...names.user),
    project: fc.constantFrom(...names.project),
    session: fc.constantFrom(...names.session),
    tag: fc.constant("team=red"),
    state: fc.constantFrom("settled" as const, "failed" as const, "unknown" as const),
  },
  { requiredKeys: [] },
);

test("whatever is asked for is found whole and once, in order, in however small stretches", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ sight, filters, order: fc.constantFrom("newest" as const, "oldest" as const) }),
      fc.integer({ min: 1, max: 60 }),
      fc.tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 100 })),
      fc.constantFrom(0, 1_000),
      async (asked, rowsMax, stretch, milliseconds) => {
        const { seen } = await readThrough({ ...asked, rowsMax }, { milliseconds, stretch });
        const found = wanted(asked.sight, asked.filters);
        expect(seen).toEqual(asked.order === "oldest" ? found : found.reverse());
      },
    ),
    { numRuns: 150 },
  );
}, 60_000);

test("what is rare is looked for a while at a time", async () => {
  const rare = { sight: { of: "all" }, filters: { model: "rare" }, order: "newest", rowsMax: 50 } as const;
  const hasty = await readThrough(rare, { milliseconds: 0, stretch: [20, 20] });
  expect(hasty).toMatchObject({ seen: { length: 1 }, pages: 13 });
  const patient = await readThrough(rare, { milliseconds: 10_000, stretch: [20, 20] });
  expect(patient).toMatchObject({ seen: { length: 1 }, pages: 1 });
  // Where an index knows all that is asked for, nobody has to look.
  const known = { ...rare, filters: { session: "ses_a" }, rowsMax: 200 };
  expect((await readThrough(known, { milliseconds: 0, stretch: [1, 1] })).pages).toBe(1);
});
