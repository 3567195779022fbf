import { describe, expect, test } from "bun:test";
import { startGateway } from "../../testing/gateway.ts";
import { type Answered, call, ok } from "../../testing/wire.ts";
import type { BatchView, TaskHistoryView, TaskView } from "./contract.ts";

const gateway = await startGateway({ yaml: "limits: { control: { requests_per_minute: 100000 } }\n" });
const { robo } = gateway;
const { ed } = await gateway.people();

type Page<Row> = { data: Row[]; next_cursor: string | null };

const newSession = async (): Promise<string> =>
  (await ok<{ id: string }>(robo, "POST", `/projects/${robo.projectId}/sessions`, { title: "Crowd" })).id;
const put = (session: string, tasks: object[], mode = "merge"): Promise<Answered<BatchView>> =>
  call<BatchView>(robo, "PUT", `/sessions/${session}/tasks`, { tasks, mode });

async function everyTask(session: string): Promise<TaskView[]> {
  const found: TaskView[] = [];
  for (let next: string | null = ""; next !== null; ) {
    const page: Page<TaskView> = await ok(robo, "GET", `/sessions/${session}/tasks?limit=200${next}`);
    found.push(...page.data);
    next = page.next_cursor === null ? null : `&cursor=${page.next_cursor}`;
  }
  return found;
}

const historyOf = async (id: string): Promise<TaskHistoryView[]> =>
  (await ok<Page<TaskHistoryView>>(robo, "GET", `/tasks/${id}/history?limit=200`)).data;

const oneTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

/** The fields that writers share out among themselves. */
const fields = ["notes", "acceptance_criteria", "title"] as const;

describe("64 writers at once", () => {
  test("leave no gap, no repeat, and lose nothing that one of them wrote", async () => {
    const session = await newSession();
    await put(session, [{ dedupe_key: "shared", title: "0" }]);
    const [shared] = await everyTask(session);
    const path = `/tasks/${shared?.id}`;
    const writer = (no: number): Promise<Answered<unknown>>[] => {
      const own = { dedupe_key: `own-${no}`, title: `own ${no}` };
      const paired = {
        dedupe_key: `pair-${Math.floor(no / 2)}`,
        title: "pair",
        [fields[no % 2] ?? ""]: `by ${no}`,
      };
      // In both orders, so that rows locked as they are listed would wait for each other.
      const list = [paired, own, { dedupe_key: "shared", mapped_files: [`${no}`] }];
      return [
        put(session, no % 2 === 0 ? list : list.toReversed()),
        call(ed, "PATCH", path, { mapped_tests: [`${no}`] }),
      ];
    };
    const answers = await Promise.all(Array.from({ length: 64 }, (_, no) => writer(no)).flat());
    expect(answers.map(({ http }) => http)).toEqual(answers.map(() => 200));

    const tasks = await everyTask(session);
    expect(tasks.map(({ position }) => position)).toEqual(oneTo(1 + 64 + 32));
    const byKey = new Map(tasks.map((task) => [task.dedupe_key, task]));
    expect(byKey.size).toBe(tasks.length);
    for (let no = 0; no < 64; no++) {
      expect(byKey.get(`own-${no}`)).toMatchObject({ title: `own ${no}`, version: 1 });
      expect(byKey.get(`pair-${Math.floor(no / 2)}`)?.[fields[no % 2] ?? "notes"]).toBe(`by ${no}`);
    }
    // Each of them wrote something else than was there, so each made one version, and each is in the history.
    const history = await historyOf(shared?.id ?? "");
    expect(byKey.get("shared")?.version).toBe(1 + 64 + 64);
    expect(history.map(({ version }) => version)).toEqual(oneTo(1 + 64 + 64).reverse());
    const wrote = (field: string) => history.map(({ changes }) => changes[field]?.to).filter(Boolean);
    for (const field of ["mapped_files", "mapped_tests"])
      expect(new Set(wrote(field).map(String)).size).toBe(64);
    // What one version found is what the one before it left.
    for (const field of ["mapped_files", "mapped_tests"]) {
      const steps = history.map(({ changes }) => changes[field]).filter((step) => step !== undefined);
      for (const [at, step] of steps.slice(0, -1).entries()) expect(step.from).toEqual(steps[at + 1]?.to);
    }
  });

  test("that count with If-Match count right", async () => {
    const session = await newSession();
    await put(session, [{ dedupe_key: "count", title: "0" }]);
    const [{ id = "" } = {}] = await everyTask(session);
    const count = async (): Promise<void> => {
      for (;;) {
        const { title, version } = await ok<TaskView>(ed, "GET", `/tasks/${id}`);
        const headers = { "if-match": `"${version}"` };
        const { http } = await call(ed, "PATCH", `/tasks/${id}`, { title: `${Number(title) + 1}` }, headers);
        if (http === 200) return;
        expect(http).toBe(412);
      }
    };
    const merges = oneTo(16).map((no) =>
      put(session, [
        { dedupe_key: `m-${no}`, title: "m" },
        { dedupe_key: "count", notes: `${no}` },
      ]),
    );
    await Promise.all([...oneTo(16).map(count), ...merges]);
    expect(await ok<TaskView>(ed, "GET", `/tasks/${id}`)).toMatchObject({
      title: "16",
      version: 1 + 16 + 16,
    });
  });

  test("that replace, merge and change one session keep its order whole", async () => {
    const session = await newSession();
    const list = oneTo(20).map((no) => ({ dedupe_key: `k-${no}`, title: `t ${no}` }));
    await put(session, list);
    const first = await everyTask(session);
    const jobs = oneTo(64).map((no) => {
      if (no % 4 === 0) return put(session, no % 8 === 0 ? list : list.toReversed(), "replace");
      if (no % 4 === 1) return put(session, [{ dedupe_key: `new-${no}`, title: "n", status: "doing" }]);
      return call(ed, "PATCH", `/tasks/${first[no % 20]?.id}`, { notes: `${no}` });
    });
    const answers = await Promise.all(jobs);
    expect(answers.map(({ http }) => http)).toEqual(answers.map(() => 200));
    const tasks = await everyTask(session);
    expect(tasks.map(({ position }) => position)).toEqual(oneTo(20 + 16));
    for (const { id, version } of tasks)
      expect((await historyOf(id)).map((entry) => entry.version)).toEqual(oneTo(version).reverse());
  });
});

describe("ten thousand tasks", () => {
  test("are taken, put into the other order, and cancelled, each in one call", async () => {
    const session = await newSession();
    const list = oneTo(10_000).map((no) => ({ task_ref: `T-${no}`, title: `Task number ${no}` }));
    const made = await put(session, list, "replace");
    expect([made.http, made.body.counts]).toEqual([
      200,
      { created: 10_000, updated: 0, unchanged: 0, cancelled: 0 },
    ]);
    const same = await put(session, list, "replace");
    expect(same.body.counts).toEqual({ created: 0, updated: 0, unchanged: 10_000, cancelled: 0 });

    const turned = await put(session, list.toReversed(), "replace");
    expect(turned.body.counts).toEqual({ created: 0, updated: 10_000, unchanged: 0, cancelled: 0 });
    const { data } = await ok<Page<TaskView>>(robo, "GET", `/sessions/${session}/tasks?limit=200`);
    expect(data.map(({ position, task_ref, version }) => [position, task_ref, version])).toEqual(
      oneTo(200).map((position) => [position, `T-${10_001 - position}`, 2]),
    );
    const rows = await gateway.database.sql`
      select count(distinct position)::int as places, min(position) as first, max(position) as last
      from tasks where session_id = ${session}`;
    expect([...rows]).toEqual([{ places: 10_000, first: 1, last: 10_000 }]);

    const none = await put(session, [], "replace");
    expect(none.body.counts).toEqual({ created: 0, updated: 0, unchanged: 0, cancelled: 10_000 });
  }, 120_000);

  test("may fill a body with eight mebibytes, and no more", async () => {
    const session = await newSession();
    const paths = (count: number) => oneTo(count).map((no) => `src/tasks/${no}.ts`);
    const list = oneTo(2_500).map((no) => ({
      task_ref: `T-${no}`,
      title: "x",
      mapped_files: paths(60),
      mapped_tests: paths(60),
    }));
    const taken = await put(session, list, "replace");
    expect([taken.http, taken.body.counts?.created]).toEqual([200, 2_500]);
    const tooMuch = await put(session, list.concat(list), "replace");
    expect(tooMuch.http).toBe(413);
  }, 120_000);
});
