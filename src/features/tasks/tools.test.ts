/** Tasks as MCP clients work on them: by the same rules as over HTTP. */
import { afterAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { callTool, rpc, toolAnswer } from "../../testing/mcp.ts";
import { promisedAnswer, toolRefusal } from "../../testing/tool-answers.ts";
import { anySession, startToolTeam } from "../../testing/tool-team.ts";
import { call, ok } from "../../testing/wire.ts";
import { type BatchView, type TaskView, taskItemForm } from "./contract.ts";

const team = await startToolTeam();
afterAll(() => team.close());
const { robo, mallory, people, app } = team;

type List = { data: TaskView[]; next_cursor: string | null };
const upsert = (session: string, tasks: object[], more: object = {}) =>
  promisedAnswer<BatchView>(robo, "task_upsert", { session_id: session, tasks, ...more });
type Items = { properties: Record<string, { description: string }> };
const itemsOf = (schema: unknown): Items =>
  (schema as { properties: { tasks: { items: Items } } }).properties.tasks.items;
const list = async (session: string, more: object = {}) =>
  (await promisedAnswer<List>(robo, "task_list", { session_id: session, ...more })).data;

const full = {
  dedupe_key: "form",
  task_ref: "T-1",
  title: "Build the form",
  originating_spec: "docs/login.md",
  acceptance_criteria: "It takes an address\nand a password.",
  mapped_files: ["src/form.ts"],
  mapped_tests: ["src/form.test.ts"],
  status: "doing",
  notes: "ปุ่มสีเขียว",
};

describe("an MCP client", () => {
  test("writes a plan down, and the same again changes nothing", async () => {
    const session = await team.session();
    const plan = [full, { task_ref: "T-2", title: "Send the mail" }];
    const { data, counts } = await upsert(session, plan);
    expect(counts).toEqual({ created: 2, updated: 0, unchanged: 0, cancelled: 0 });
    expect((await upsert(session, plan)).counts).toEqual({
      created: 0,
      updated: 0,
      unchanged: 2,
      cancelled: 0,
    });
    const listed = await list(session);
    expect(listed.map(({ id }) => id)).toEqual(data.map(({ id }) => id));
    expect(listed[0]).toMatchObject({ ...full, position: 1, version: 1 } as object);
    const one = await promisedAnswer<TaskView>(robo, "task_get", { task_id: listed[0]?.id });
    expect(one).toEqual(listed[0] as TaskView);
    expect(await ok<TaskView>(robo, "GET", `/tasks/${one.id}`)).toEqual(one);
  });

  test("replaces a list, which cancels what nobody has begun", async () => {
    const session = await team.session();
    await upsert(session, [full, { title: "left alone" }]);
    const { counts } = await upsert(session, [full], { mode: "replace" });
    expect(counts).toEqual({ created: 0, updated: 0, unchanged: 1, cancelled: 1 });
    expect((await upsert(session, [], { mode: "replace" })).counts.cancelled).toBe(0);
    expect((await list(session)).map(({ status }) => status)).toEqual(["doing", "cancelled"]);
  });

  test("finds tasks by state, by specification and by words, page by page", async () => {
    const session = await team.session();
    await upsert(session, [full, { title: "Send the mail", status: "blocked" }, { title: "Write it down" }]);
    const titles = async (more: object) => (await list(session, more)).map(({ title }) => title);
    expect(await titles({ status: ["doing", "blocked"] })).toEqual(["Build the form", "Send the mail"]);
    expect(await titles({ spec: "docs/login.md" })).toEqual(["Build the form"]);
    expect(await titles({ text: "mail" })).toEqual(["Send the mail"]);
    const first = await promisedAnswer<List>(robo, "task_list", { session_id: session, limit: 2 });
    expect(first.data).toHaveLength(2);
    expect(await titles({ limit: 2, cursor: first.next_cursor })).toEqual(["Write it down"]);
  });

  test("changes what it names of one task, and only the version that it has seen", async () => {
    const session = await team.session();
    const { data } = await upsert(session, [full]);
    const asked = { task_id: data[0]?.id, status: "done", notes: null };
    const done = await promisedAnswer<TaskView>(robo, "task_update", { ...asked, if_version: 1 });
    expect(done).toMatchObject({ status: "done", notes: null, title: full.title, version: 2 });
    expect(await toolAnswer<TaskView>(robo, "task_update", asked)).toEqual(done);
    expect(await toolRefusal(robo, "task_update", { ...asked, title: "x", if_version: 1 })).toBe(
      "200 stale_version",
    );
    expect(await toolRefusal(robo, "task_update", { ...asked, status: "blocked" })).toBe(
      "200 invalid_transition",
    );
  });

  test("is told which field of which task is wrong, and nothing is written", async () => {
    const session = await team.session();
    for (const [tasks, path] of [
      [[full, { task_ref: "T-2" }], "tasks.1.title"],
      [[{ title: "x", state: "done" }], "tasks.0.state"],
      [[{ title: "x".repeat(501) }], "tasks.0.title"],
      [[{ title: "x" }, 7], "tasks.1"],
      [[], "tasks"],
      [Array.from({ length: 1_001 }, (_, i) => ({ title: `t${i}` })), "tasks"],
    ] as const) {
      const args = { session_id: session, tasks };
      expect(await toolRefusal(robo, "task_upsert", args)).toBe("200 invalid_request");
      expect(JSON.stringify((await callTool(robo, "task_upsert", args)).result)).toContain(path);
    }
    const twice = { session_id: session, tasks: [full, full] };
    expect(await toolRefusal(robo, "task_upsert", twice)).toBe("200 duplicate_key");
    expect(await list(session)).toEqual([]);
  });

  test("is told what a task may hold, field by field", async () => {
    const { result } = await rpc(robo, "tools/list");
    const tool = result?.tools.find(({ name }) => name === "task_upsert");
    const { properties } = itemsOf(tool?.inputSchema);
    expect(Object.keys(properties).sort()).toEqual(Object.keys(taskItemForm.shape).sort());
    for (const { description } of Object.values(properties)) expect(description).toBeString();
  });

  test("has its list taken exactly where HTTP takes it", async () => {
    const [here, there] = [await team.session(), await team.session()];
    const odd = fc.oneof(
      fc.string({ maxLength: 6 }),
      fc.constantFrom(null, 1, [], "a\u0000b", "\ud800", " x "),
    );
    const item = fc.record(
      {
        dedupe_key: fc.oneof(fc.constantFrom("a", "b", "c"), odd),
        task_ref: odd,
        title: fc.oneof(fc.string({ minLength: 1, maxLength: 8 }), odd),
        mapped_files: fc.oneof(fc.array(fc.string({ maxLength: 4 }), { maxLength: 2 }), odd),
        status: fc.constantFrom("planned", "doing", "blocked", "done", "cancelled", "over"),
      },
      { requiredKeys: [] },
    );
    const mode = fc.constantFrom("merge", "replace", undefined);
    await fc.assert(
      fc.asyncProperty(fc.array(item, { maxLength: 4 }), mode, async (tasks, mode) => {
        const body = { tasks, ...(mode === undefined ? {} : { mode }) };
        const over = await call<BatchView & { code?: string }>(robo, "PUT", `/sessions/${here}/tasks`, body);
        const { result } = await callTool(robo, "task_upsert", { session_id: there, ...body });
        const answer = result?.structuredContent as BatchView | undefined;
        if (over.http === 200) expect(answer?.counts).toEqual(over.body.counts);
        else expect(result?.content[0]?.text).toStartWith(over.body.code ?? "?");
      }),
      { numRuns: 60 },
    );
  }, 30_000);
});

describe("tasks are closed", () => {
  test("to writing for whoever may only read, by scope or by role", async () => {
    const session = await team.session();
    const { data } = await upsert(session, [full]);
    const writes = [
      ["task_upsert", { session_id: session, tasks: [{ title: "x" }] }],
      ["task_update", { task_id: data[0]?.id, status: "done" }],
    ] as const;
    const [reader, vera] = [await app(people.ed, "mcp:read"), await app(people.vera)];
    for (const who of [reader, vera]) {
      await promisedAnswer(who, "task_list", { session_id: session });
      await promisedAnswer(who, "task_get", { task_id: data[0]?.id });
    }
    for (const [tool, args] of writes) {
      expect(await toolRefusal(reader, tool, args)).toBe("403 insufficient_scope");
      expect(await toolRefusal(vera, tool, args)).toBe("200 insufficient_role");
    }
  });

  test("to strangers and to tokens of another session", async () => {
    const session = await team.session();
    const { data } = await upsert(session, [full]);
    const bound = await team.boundTo(await team.session());
    for (const who of [mallory, bound])
      for (const [tool, args] of [
        ["task_list", { session_id: session }],
        ["task_list", { session_id: anySession }],
        ["task_get", { task_id: data[0]?.id }],
        ["task_update", { task_id: data[0]?.id, status: "done" }],
        ["task_upsert", { session_id: session, tasks: [{ title: "x" }] }],
      ] as const)
        expect(await toolRefusal(who, tool, args)).toBe("200 not_found");
  });

  test("to everybody once their session is over", async () => {
    const session = await team.session();
    const { data } = await upsert(session, [full]);
    await ok(robo, "PATCH", `/sessions/${session}`, { status: "cancelled" });
    const again = { session_id: session, tasks: [{ title: "x" }] };
    expect(await toolRefusal(robo, "task_upsert", again)).toBe("200 closed");
    const done = { task_id: data[0]?.id, status: "done" };
    expect(await toolRefusal(robo, "task_update", done)).toBe("200 closed");
    expect(await list(session)).toHaveLength(1);
  });
});

test("the audit says through which tool, in the change's own row and once", async () => {
  const session = await team.session();
  const { data } = await upsert(session, [full]);
  const id = data[0]?.id ?? "";
  await toolAnswer(robo, "task_update", { task_id: id, status: "done" });
  expect((await team.trail(session)).slice(1)).toEqual([{ action: "tasks.upserted", tool: "task_upsert" }]);
  expect(await team.trail(id)).toEqual([{ action: "task.updated", tool: "task_update" }]);
});
