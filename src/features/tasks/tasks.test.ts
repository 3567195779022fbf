import { describe, expect, test } from "bun:test";
import { and, eq, inArray, sql } from "drizzle-orm";
import { audit, events, taskHistory, tasks } from "../../db/schema.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { BatchView, TaskHistoryView, TaskView } from "./contract.ts";

const gateway = await startGateway();
const { robo, mallory, nobody } = gateway;
const { db } = gateway.database;
const { ada, olga, ed, vera, stranger } = await gateway.people();

type Page<Row> = { data: Row[]; next_cursor: string | null };
type Refused = { code: string; errors: { path: string; code: string; message: string }[] };

const newSession = async (): Promise<string> =>
  (await ok<{ id: string }>(robo, "POST", `/projects/${robo.projectId}/sessions`, { title: "Login" })).id;
const put = (session: string, list: object[], mode = "merge", who: Actor = robo) =>
  ok<BatchView>(who, "PUT", `/sessions/${session}/tasks`, { tasks: list, mode });
const listOf = async (session: string): Promise<TaskView[]> =>
  (await ok<Page<TaskView>>(robo, "GET", `/sessions/${session}/tasks?limit=200`)).data;
const get = (id: string) => ok<TaskView>(robo, "GET", `/tasks/${id}`);
const historyOf = async (id: string): Promise<TaskHistoryView[]> =>
  (await ok<Page<TaskHistoryView>>(robo, "GET", `/tasks/${id}/history`)).data;

/** A session with one task in it. */
async function newTask(fields: object = {}): Promise<TaskView> {
  const { data } = await put(await newSession(), [{ title: "Sign in", ...fields }]);
  return get(data[0]?.id ?? "");
}

/** How many rows tell of the session. */
async function written(session: string) {
  const [row] = (await db.execute(sql`select
    (select count(*)::int from ${audit} where session_id = ${session}) as audit,
    (select count(*)::int from ${events} where session_id = ${session}) as events,
    (select count(*)::int from ${taskHistory} where task_id in (select id from ${tasks} where session_id = ${session})) as history
  `)) as unknown as { audit: number; events: number; history: number }[];
  return row;
}

describe("a list of tasks", () => {
  test("is merged, and each task looks the same to whoever may see it", async () => {
    const session = await newSession();
    const full = {
      dedupe_key: "login",
      task_ref: "T-1",
      title: "  เข้าสู่ระบบด้วยอีเมล  ",
      originating_spec: "SSP-WEB-003",
      acceptance_criteria: "หนึ่ง\nสอง 🙂",
      mapped_files: ["src/a b.ts", 'odd"{,}\\name.ts'],
      mapped_tests: ["src/a.test.ts"],
      status: "doing",
      notes: "",
    };
    const answer = await put(session, [full, { title: "Sign out" }]);
    expect(answer.counts).toEqual({ created: 2, updated: 0, unchanged: 0, cancelled: 0 });
    expect(answer.data.map(({ outcome, status, version }) => [outcome, status, version])).toEqual([
      ["created", "doing", 1],
      ["created", "planned", 1],
    ]);
    expect(answer.data[0]?.dedupe_key).toBe("login");
    expect(answer.data[1]?.dedupe_key).toMatch(/^sha256:/);
    const [first, second] = await listOf(session);
    expect(first).toEqual({
      ...full,
      title: "เข้าสู่ระบบด้วยอีเมล",
      id: answer.data[0]?.id ?? "",
      project_id: robo.projectId,
      session_id: session,
      status: "doing",
      position: 1,
      created_at: expect.any(String),
      updated_at: expect.any(String),
      version: 1,
    });
    expect(second).toMatchObject({ task_ref: null, mapped_files: [], notes: null, position: 2 });
    for (const who of [robo, olga, ed, vera])
      expect(await ok<TaskView>(who, "GET", `/tasks/${first?.id}`)).toEqual(first as TaskView);
  });

  test("that is sent again writes nothing", async () => {
    const session = await newSession();
    const list = [
      { dedupe_key: 'a","b\\{}', title: "one \ud83d", status: "blocked", notes: "x\u{1f642}" },
      { task_ref: "T-1", title: "two", mapped_files: ["a", "b"], acceptance_criteria: null },
      { title: "Ünïcödé 税务 🙂🙃", originating_spec: "S" },
    ];
    const first = await put(session, list, "replace");
    const before = await written(session);
    expect(before).toEqual({ audit: 2, events: 4, history: 3 });
    for (const mode of ["replace", "merge"]) {
      const again = await put(session, list, mode);
      expect(again.counts).toEqual({ created: 0, updated: 0, unchanged: 3, cancelled: 0 });
      expect(again.data).toEqual(first.data.map((line) => ({ ...line, outcome: "unchanged" as const })));
    }
    expect(await written(session)).toEqual(before);
  });

  test("changes only the fields that it names, and null clears", async () => {
    const { session_id, id, ...task } = await newTask({
      task_ref: "T-1",
      notes: "n",
      acceptance_criteria: "c",
      mapped_files: ["a"],
      status: "doing",
    });
    const { data } = await put(session_id, [
      { task_ref: "T-1", acceptance_criteria: null, mapped_files: [] },
    ]);
    expect(data).toEqual([
      { id, dedupe_key: 'ref:[null,"t-1"]', outcome: "updated", status: "doing", version: 2 },
    ]);
    expect(await get(id)).toEqual({
      ...task,
      id,
      session_id,
      acceptance_criteria: null,
      mapped_files: [],
      version: 2,
      updated_at: expect.any(String),
    });
  });

  test("knows a task with a reference again when its title was edited, and one without no more", async () => {
    const session = await newSession();
    const first = await put(
      session,
      [{ task_ref: "T-1", title: "Sign in" }, { title: "Sign out" }],
      "replace",
    );
    const second = await put(
      session,
      [{ task_ref: "t-1", title: "Sign in by e-mail" }, { title: "Sign out everywhere" }],
      "replace",
    );
    expect(second.counts).toEqual({ created: 1, updated: 1, unchanged: 0, cancelled: 1 });
    expect(second.data.map(({ outcome }) => outcome)).toEqual(["updated", "created", "cancelled"]);
    expect(second.data[0]?.id).toBe(first.data[0]?.id ?? "");
    expect(second.data[2]?.id).toBe(first.data[1]?.id ?? "");
    expect((await listOf(session)).map(({ title, status, position }) => [title, status, position])).toEqual([
      ["Sign in by e-mail", "planned", 1],
      ["Sign out everywhere", "planned", 2],
      ["Sign out", "cancelled", 3],
    ]);
  });

  test("keeps two Thai titles, and C and C++, apart", async () => {
    const session = await newSession();
    const titles = ["เข้าสู่ระบบ", "เข้าสู่ระบบ่", "ป่า", "ป้า", "ขาว", "ข่าว", "C", "C++", "C#"];
    const { counts } = await put(
      session,
      titles.map((title) => ({ title })),
    );
    expect(counts.created).toBe(titles.length);
    expect((await listOf(session)).map(({ title }) => title)).toEqual(titles);
  });

  test("that replaces cancels what nobody has begun, and keeps the rest behind it", async () => {
    const session = await newSession();
    const states = ["planned", "doing", "blocked", "done", "cancelled"];
    await put(
      session,
      states.map((status) => ({ dedupe_key: status, title: status, status })),
    );
    const answer = await put(
      session,
      [{ dedupe_key: "new", title: "new" }, { dedupe_key: "done" }],
      "replace",
    );
    expect(answer.counts).toEqual({ created: 1, updated: 1, unchanged: 0, cancelled: 2 });
    expect(answer.data.map(({ dedupe_key, outcome }) => `${dedupe_key} ${outcome}`)).toEqual([
      "new created",
      "done updated",
      "planned cancelled",
      "blocked cancelled",
    ]);
    expect(
      (await listOf(session)).map(({ dedupe_key, status, version }) => [dedupe_key, status, version]),
    ).toEqual([
      ["new", "planned", 1],
      ["done", "done", 2],
      ["planned", "cancelled", 2],
      ["doing", "doing", 2],
      ["blocked", "cancelled", 2],
      ["cancelled", "cancelled", 2],
    ]);
  });

  test("that is empty cancels the whole plan", async () => {
    const session = await newSession();
    expect((await put(session, [], "replace")).data).toEqual([]);
    await put(session, [{ title: "one" }, { title: "two", status: "done" }]);
    const answer = await put(session, [], "replace");
    expect(answer.data.map(({ outcome, status }) => [outcome, status])).toEqual([["cancelled", "cancelled"]]);
    expect((await put(session, [], "replace")).counts.cancelled).toBe(0);
  });

  test("is told and recorded once, with each task's own event", async () => {
    const session = await newSession();
    await put(session, [
      { dedupe_key: "a", title: "A" },
      { dedupe_key: "b", title: "B", task_ref: "T" },
    ]);
    const { data } = await put(session, [{ dedupe_key: "b" }], "replace");
    const rows = await db
      .select()
      .from(audit)
      .where(and(eq(audit.sessionId, session), eq(audit.action, "tasks.upserted")))
      .orderBy(audit.id);
    expect(
      rows.map(({ subject, projectId, actor, details }) => [subject, projectId, actor, details]),
    ).toEqual([
      [
        session,
        robo.projectId,
        robo.id,
        { mode: "merge", created: 2, updated: 0, unchanged: 0, cancelled: 0 },
      ],
      [
        session,
        robo.projectId,
        robo.id,
        { mode: "replace", created: 0, updated: 1, unchanged: 0, cancelled: 1 },
      ],
    ]);
    const told = await db
      .select()
      .from(events)
      .where(and(eq(events.sessionId, session), inArray(events.type, ["task.created", "task.updated"])))
      .orderBy(events.id);
    expect(told.map(({ type, payload }) => [type, payload])).toContainEqual([
      "task.updated",
      {
        id: data[0]?.id,
        version: 2,
        session_id: session,
        dedupe_key: "b",
        task_ref: "T",
        title: "B",
        status: "planned",
        position: 1,
      },
    ]);
    expect(told.map(({ type }) => type)).toEqual([
      "task.created",
      "task.created",
      "task.updated",
      "task.updated",
    ]);
  });
});

test("a list whose events cannot be told is not taken, and nothing of it is written later", async () => {
  const session = await newSession();
  const before = await written(session);
  const actor = {
    id: "me",
    kind: "local",
    clientId: null,
    ip: null,
    userAgent: null,
    requestId: null,
  } as const;
  const { changes, control } = gateway.parts;
  const batch = { tasks: [{ title: "one" }, { title: "two" }], mode: "merge" } as const;
  const making = changes.make(actor, (change) => {
    const tell = () => Promise.reject(new Error("nobody listens"));
    return control.tasks.upsert({ ...change, tell }, session, { ...batch, tasks: [...batch.tasks] });
  });
  expect(making).rejects.toThrow("nobody listens");
  await making.catch(() => undefined);
  await Bun.sleep(100);
  expect(await listOf(session)).toEqual([]);
  expect(await written(session)).toEqual(before);
});

describe("a list of tasks is refused whole", () => {
  const mistakes = async (session: string, body: unknown) => {
    const answered = await call<Refused>(robo, "PUT", `/sessions/${session}/tasks`, body);
    return [
      `${answered.http} ${answered.body.code}`,
      ...(answered.body.errors ?? []).map(({ path }) => path).sort(),
    ];
  };

  test("with every mistake named", async () => {
    const session = await newSession();
    const bad = [
      { title: "x".repeat(501), id: "tsk_1", version: 2, position: 3 },
      { title: "ok", mapped_files: ["", "a\nb"], status: "started", notes: "\0" },
      { title: null, task_ref: "r".repeat(201), dedupe_key: "" },
    ];
    expect(await mistakes(session, { tasks: bad, mood: "merge" })).toEqual([
      "422 invalid_request",
      "mood",
      "tasks.0.id",
      "tasks.0.position",
      "tasks.0.title",
      "tasks.0.version",
      "tasks.1.mapped_files.0",
      "tasks.1.mapped_files.1",
      "tasks.1.notes",
      "tasks.1.status",
      "tasks.2.dedupe_key",
      "tasks.2.task_ref",
      "tasks.2.title",
    ]);
    expect(await mistakes(session, {})).toEqual(["422 invalid_request", "tasks"]);
    expect(await mistakes(session, { tasks: [] })).toEqual(["422 invalid_request", "tasks"]);
    expect(await listOf(session)).toEqual([]);
  });

  test("when it names a version, because a list has none", async () => {
    const session = await newSession();
    const [path, body] = [`/sessions/${session}/tasks`, { tasks: [{ title: "A" }] }];
    expect(await refused(robo, "PUT", path, body, { "if-match": '"1"' })).toBe("400 invalid_request");
    expect(await listOf(session)).toEqual([]);
  });

  test("when two of its items are one task", async () => {
    const session = await newSession();
    const answered = await call<Refused>(robo, "PUT", `/sessions/${session}/tasks`, {
      tasks: [{ title: "C" }, { title: "C++" }, { title: " c " }],
    });
    expect([answered.http, answered.body.code]).toEqual([422, "duplicate_key"]);
    expect(answered.body.errors).toEqual([
      { path: "tasks.2", code: "duplicate_key", message: expect.stringContaining("tasks.0 and tasks.2") },
    ]);
    expect(await listOf(session)).toEqual([]);
  });

  test("when a task that is not there yet has no title", async () => {
    const session = await newSession();
    await put(session, [{ dedupe_key: "a", title: "A" }]);
    const list = [{ dedupe_key: "a", notes: "x" }, { dedupe_key: "b" }, { task_ref: "T" }, { notes: "y" }];
    expect(await mistakes(session, { tasks: list.slice(0, 3) })).toEqual([
      "422 invalid_request",
      "tasks.1.title",
      "tasks.2.title",
    ]);
    expect(await mistakes(session, { tasks: list })).toEqual(["422 invalid_request", "tasks.3.title"]);
    expect((await listOf(session)).map(({ notes }) => notes)).toEqual([null]);
  });

  test("when one of its tasks may not become what is asked", async () => {
    const session = await newSession();
    await put(session, [{ dedupe_key: "a", title: "A", status: "done" }]);
    const before = await written(session);
    const answered = await call<Refused>(robo, "PUT", `/sessions/${session}/tasks`, {
      tasks: [
        { dedupe_key: "b", title: "B" },
        { dedupe_key: "a", status: "blocked" },
      ],
    });
    expect([answered.http, answered.body.code]).toEqual([409, "invalid_transition"]);
    expect(answered.body.errors).toEqual([
      {
        path: "tasks.1.status",
        code: "invalid_transition",
        message: expect.stringContaining("may become planned, doing, cancelled"),
      },
    ]);
    expect(await written(session)).toEqual(before);
    expect((await listOf(session)).map(({ dedupe_key }) => dedupe_key)).toEqual(["a"]);
  });

  test("when a merge holds more than a thousand, or a list more than ten thousand", async () => {
    const session = await newSession();
    const list = Array.from({ length: 10_001 }, (_, index) => ({ task_ref: `T-${index}` }));
    expect(await mistakes(session, { tasks: list.slice(0, 1_001) })).toEqual([
      "422 invalid_request",
      "tasks",
    ]);
    expect(await mistakes(session, { tasks: list, mode: "replace" })).toEqual([
      "422 invalid_request",
      "tasks",
    ]);
  });
});

describe("a task", () => {
  test("is changed at the version that was seen, and keeps its key", async () => {
    const { id, dedupe_key } = await newTask();
    const path = `/tasks/${id}`;
    const changed = await call<TaskView>(
      ed,
      "PATCH",
      path,
      { title: "Sign up", notes: "n" },
      { "if-match": '"1"' },
    );
    expect([changed.http, changed.headers.get("etag")]).toEqual([200, '"2"']);
    expect(changed.body).toMatchObject({ title: "Sign up", notes: "n", dedupe_key, version: 2, position: 1 });
    expect(await refused(ed, "PATCH", path, { notes: "o" }, { "if-match": '"1"' })).toBe("412 stale_version");
    expect(await get(id)).toEqual(changed.body);
  });

  test("that is changed into what it is stays as it is", async () => {
    const task = await newTask({ mapped_tests: ["a"], notes: "n" });
    const before = await written(task.session_id);
    const same = { title: task.title, mapped_tests: ["a"], notes: "n", status: "planned" };
    expect(await ok<TaskView>(ed, "PATCH", `/tasks/${task.id}`, same)).toEqual(task);
    expect(await ok<TaskView>(ed, "PATCH", `/tasks/${task.id}`, {})).toEqual(task);
    expect(await written(task.session_id)).toEqual(before);
  });

  test("that is over does not become blocked", async () => {
    const { id } = await newTask();
    for (const over of ["done", "cancelled"]) {
      await ok(robo, "PATCH", `/tasks/${id}`, { status: over });
      const answered = await call(robo, "PATCH", `/tasks/${id}`, { status: "blocked", notes: "why" });
      expect(answered.http).toBe(409);
      expect(answered.body).toMatchObject({ code: "invalid_transition", from: over, to: "blocked" });
      expect((await get(id)).notes).toBeNull();
    }
    await ok(robo, "PATCH", `/tasks/${id}`, { status: "planned" });
    expect((await ok<TaskView>(robo, "PATCH", `/tasks/${id}`, { status: "blocked" })).status).toBe("blocked");
  });

  test("refuses a bad body with every mistake named", async () => {
    const { id } = await newTask();
    const body = { title: null, dedupe_key: "x", position: 2, status: "started", mapped_files: "a" };
    const answered = await call<Refused>(robo, "PATCH", `/tasks/${id}`, body);
    expect([answered.http, answered.body.code]).toEqual([422, "invalid_request"]);
    expect(answered.body.errors.map(({ path }) => path).sort()).toEqual([
      "dedupe_key",
      "mapped_files",
      "position",
      "status",
      "title",
    ]);
  });

  test("takes every field at its longest", async () => {
    const { id } = await newTask();
    const longest = {
      title: "ท".repeat(500),
      acceptance_criteria: "ก ข".repeat(6_666),
      notes: "\u{1f642} ".repeat(6_666),
      mapped_files: Array.from({ length: 500 }, (_, index) => `${"ไ".repeat(490)}${index}`),
      mapped_tests: Array.from({ length: 500 }, (_, index) => `${"x".repeat(490)}${index}`),
    };
    expect(await ok<TaskView>(ed, "PATCH", `/tasks/${id}`, longest)).toMatchObject(longest);
  });

  test("tells and records each change, without its texts in the audit", async () => {
    const { id, session_id } = await newTask();
    const long = "x".repeat(5_000);
    await ok(ed, "PATCH", `/tasks/${id}`, { notes: long, status: "doing" });
    const [row] = await db.select().from(audit).where(eq(audit.subject, id));
    expect(row).toMatchObject({
      action: "task.updated",
      actor: ed.id,
      projectId: robo.projectId,
      sessionId: session_id,
      details: { fields: ["status", "notes"], status: "doing" },
    });
    const told = await db
      .select()
      .from(events)
      .where(and(eq(events.sessionId, session_id), eq(events.type, "task.updated")));
    expect(told.map(({ payload }) => payload)).toEqual([
      expect.objectContaining({ id, version: 2, session_id, status: "doing", title: "Sign in" }),
    ]);
  });

  test("has a history with whoever made each version", async () => {
    const session = await newSession();
    const { data } = await put(session, [
      { task_ref: "T", title: "A", notes: "n" },
      { task_ref: "U", title: "B" },
    ]);
    const [{ id = "" } = {}, { id: other = "" } = {}] = data;
    await ok(ed, "PATCH", `/tasks/${id}`, { title: "AA", status: "doing", notes: null });
    await put(session, [{ task_ref: "U" }, { task_ref: "T" }], "replace", olga);
    const [third, second, first, ...none] = await historyOf(id);
    expect(none).toEqual([]);
    expect(first).toEqual({
      version: 1,
      at: expect.any(String),
      actor: robo.id,
      actor_kind: "client",
      client_id: robo.id,
      request_id: expect.stringMatching(/^req_/),
      action: "created",
      changes: { status: { from: null, to: "planned" } },
    });
    expect(second).toMatchObject({
      version: 2,
      actor: ed.id,
      actor_kind: "user",
      action: "updated",
      changes: {
        title: { from: "A", to: "AA" },
        status: { from: "planned", to: "doing" },
        notes: { from: "n", to: null },
      },
    });
    expect(third).toMatchObject({
      version: 3,
      actor: olga.id,
      action: "updated",
      changes: { position: { from: 1, to: 2 } },
    });
    await put(session, [{ task_ref: "T" }], "replace", olga);
    expect((await historyOf(other))[0]).toMatchObject({
      version: 3,
      action: "cancelled",
      changes: { status: { from: "planned", to: "cancelled" }, position: { from: 1, to: 2 } },
    });
  });

  test("has its history in pages", async () => {
    const { id } = await newTask();
    for (const notes of ["a", "b", "c", "d"]) await ok(ed, "PATCH", `/tasks/${id}`, { notes });
    const path = `/tasks/${id}/history?limit=2`;
    const versions: number[][] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page: Page<TaskHistoryView> = await ok(
        vera,
        "GET",
        cursor === "" ? path : `${path}&cursor=${cursor}`,
      );
      versions.push(page.data.map(({ version }) => version));
      cursor = page.next_cursor;
    }
    expect(versions).toEqual([[5, 4], [3, 2], [1]]);
    const other = await newTask();
    const [first] = [await ok<Page<TaskHistoryView>>(vera, "GET", path)];
    expect(await refused(vera, "GET", `/tasks/${other.id}/history?cursor=${first?.next_cursor}`)).toBe(
      "400 invalid_request",
    );
  });
});

describe("tasks are listed", () => {
  const states = ["planned", "doing", "blocked", "done", "cancelled"] as const;
  const build = async () => {
    const session = await newSession();
    const list = Array.from({ length: 25 }, (_, index) => ({
      task_ref: `T-${index + 1}`,
      title: index % 2 === 0 ? `Sign in ${index + 1}` : `ทดสอบระบบชำระเงิน ${index + 1}`,
      originating_spec: index % 5 === 0 ? "SSP-A" : "SSP-B",
      status: states[index % 5],
    }));
    await put(session, list);
    return session;
  };
  const shown = async (session: string, query: string): Promise<number[]> =>
    (await ok<Page<TaskView>>(vera, "GET", `/sessions/${session}/tasks?${query}`)).data.map(
      ({ position }) => position,
    );

  test("in order, in pages, and by every filter", async () => {
    const session = await build();
    const all = Array.from({ length: 25 }, (_, index) => index + 1);
    const ofStates = (...wanted: string[]) => all.filter((at) => wanted.includes(states[(at - 1) % 5] ?? ""));
    expect(await shown(session, "")).toEqual(all);
    expect(await shown(session, "status=doing")).toEqual(ofStates("doing"));
    expect(await shown(session, "status=done,planned")).toEqual(ofStates("done", "planned"));
    expect(await shown(session, "status=done&status=blocked,doing")).toEqual(
      ofStates("done", "blocked", "doing"),
    );
    expect(await shown(session, "spec=SSP-A")).toEqual([1, 6, 11, 16, 21]);
    expect(await shown(session, "spec=SSP-B&status=planned")).toEqual([]);
    expect(await shown(session, "spec=SSP-B&status=doing,done&limit=3")).toEqual([2, 4, 7]);
    expect(await shown(session, "text=sign")).toEqual(all.filter((at) => at % 2 === 1));
    expect(await shown(session, `text=${encodeURIComponent("ชำระเงิน 12")}`)).toEqual([12]);
    expect(await shown(session, "text=igN")).toEqual(all.filter((at) => at % 2 === 1));
    expect(await shown(session, `text=${encodeURIComponent("ระเงิน")}`)).toEqual(
      all.filter((at) => at % 2 === 0),
    );
    expect(await shown(session, "text=%2e%2e")).toEqual([]);
    expect(await shown(session, "text=sign&status=planned,done&spec=SSP-A")).toEqual([1, 11, 21]);
  });

  test.each(["", "status=doing,done,planned", "spec=SSP-B", "text=sign"])(
    "page by page with %j",
    async (query) => {
      const session = await build();
      const whole = await shown(session, query);
      const seen: number[] = [];
      let next: string | null = "";
      while (next !== null) {
        const page: Page<TaskView> = await ok(
          vera,
          "GET",
          `/sessions/${session}/tasks?${query}&limit=4${next}`,
        );
        seen.push(...page.data.map(({ position }) => position));
        next = page.next_cursor === null ? null : `&cursor=${page.next_cursor}`;
      }
      expect(seen).toEqual(whole);
    },
  );

  test("by what is asked, and nothing else", async () => {
    const session = await build();
    const path = `/sessions/${session}/tasks`;
    for (const query of [
      "status=started",
      "status=",
      "status=doing,,done",
      "colour=red",
      "text=",
      "limit=0",
      "cursor=x",
    ])
      expect([query, await refused(vera, "GET", `${path}?${query}`)]).toEqual([query, "400 invalid_request"]);
    const { next_cursor } = await ok<Page<TaskView>>(vera, "GET", `${path}?limit=1`);
    const other = await build();
    expect(await refused(vera, "GET", `/sessions/${other}/tasks?cursor=${next_cursor}`)).toBe(
      "400 invalid_request",
    );
  });
});

describe("tasks are nobody's business", () => {
  const doors = (task: TaskView): [string, string, object?][] => [
    ["GET", `/sessions/${task.session_id}/tasks`],
    ["PUT", `/sessions/${task.session_id}/tasks`, { tasks: [{ title: "mine" }] }],
    ["GET", `/tasks/${task.id}`],
    ["PATCH", `/tasks/${task.id}`, { title: "mine" }],
    ["GET", `/tasks/${task.id}/history`],
  ];

  test("outside of their project", async () => {
    const task = await newTask();
    for (const [method, path, body] of doors(task)) {
      expect([path, await refused(mallory, method, path, body)]).toEqual([path, "404 not_found"]);
      expect([path, await refused(stranger, method, path, body)]).toEqual([path, "404 not_found"]);
      expect([path, await refused(nobody, method, path, body)]).toEqual([path, "401 unauthenticated"]);
    }
    expect(await get(task.id)).toEqual(task);
    expect(await refused(robo, "GET", `/tasks/tsk_${"0".repeat(32)}`)).toBe("404 not_found");
  });

  test("of a viewer, who reads and does not write", async () => {
    const task = await newTask();
    for (const [method, path, body] of doors(task))
      expect([path, await refused(vera, method, path, body)]).toEqual([
        path,
        method === "GET" ? "200" : "403 insufficient_role",
      ]);
  });

  test("once their session is over, or their project archived", async () => {
    const task = await newTask();
    await ok(robo, "PATCH", `/sessions/${task.session_id}`, { status: "failed" });
    const writes = doors(task).filter(([method]) => method !== "GET");
    for (const [method, path, body] of writes)
      expect([path, await refused(robo, method, path, body)]).toEqual([path, "409 closed"]);
    await ok(ed, "PATCH", `/sessions/${task.session_id}`, { status: "open" });
    await put(task.session_id, [{ title: "again" }]);

    const { id: project } = await ok<{ id: string }>(ada, "POST", "/projects", { name: "short-lived" });
    const { id } = await ok<{ id: string }>(ada, "POST", `/projects/${project}/sessions`, { title: "x" });
    await put(id, [{ title: "one" }], "merge", ada);
    await ok(ada, "DELETE", `/projects/${project}`);
    expect(await refused(ada, "PUT", `/sessions/${id}/tasks`, { tasks: [{ title: "two" }] })).toBe(
      "409 closed",
    );
  });
});
