import { beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { and, eq } from "drizzle-orm";
import { audit } from "../db/schema.ts";
import type { SessionView } from "../features/sessions/contract.ts";
import type { BatchView, TaskView } from "../features/tasks/contract.ts";
import { startGateway, type TestGateway } from "../testing/gateway.ts";
import { openShell, type Shell } from "../testing/shell.ts";

let gateway: TestGateway;
let robo: Shell;
beforeAll(async () => {
  gateway = await startGateway();
  robo = openShell(gateway.url, gateway.robo.bearer);
  return () => gateway.close();
});

const newSession = async (): Promise<string> => (await robo.json<SessionView>("session create Synced")).id;
const sync = (file: string, session: string, more = "", stdin = "") =>
  robo.specgate(`sync tasks ${file} --session ${session}${more}`, { stdin });
const tasksIn = async (session: string): Promise<Record<string, string>> => {
  const { data } = await robo.json<{ data: TaskView[] }>(`task list --session ${session}`);
  return Object.fromEntries(data.map(({ task_ref, title, status }) => [task_ref ?? title, status]));
};

describe("a list that replaces the session's", () => {
  test("is written, found unchanged, changed, and cancels what it no longer has", async () => {
    const session = await newSession();
    robo.write("tasks.md", "- [x] T001 Begin\n- [ ] T002 Go on\n- [ ] T003 End\n");
    const first = await sync("tasks.md", session);
    expect(first).toEqual({ code: 0, out: "", err: "3 created, 0 updated, 0 unchanged, 0 cancelled\n" });
    expect((await sync("tasks.md", session)).err).toBe("0 created, 0 updated, 3 unchanged, 0 cancelled\n");
    robo.write("tasks.md", "- [x] T001 Begin\n- [/] T002 Go on\n- [ ] T004 Celebrate\n");
    const last = await sync("tasks.md", session, " --json");
    expect([last.code, last.err]).toEqual([0, "1 created, 1 updated, 1 unchanged, 1 cancelled\n"]);
    const { data, counts } = JSON.parse(last.out) as BatchView;
    expect(counts).toEqual({ created: 1, updated: 1, unchanged: 1, cancelled: 1 });
    expect(data.map(({ outcome }) => outcome)).toEqual(["unchanged", "updated", "created", "cancelled"]);
    expect(await tasksIn(session)).toEqual({
      T001: "done",
      T002: "doing",
      T004: "planned",
      T003: "cancelled",
    });
  });

  test("may be empty as JSON, where that is meant, but not as a text that has none", async () => {
    const session = await newSession();
    await sync("-", session, "", "- [ ] T001 One\n");
    robo.write("readme.md", "# A project\n\nNothing to do.\n");
    const said = await sync("readme.md", session);
    expect([said.code, said.out]).toEqual([2, ""]);
    expect(said.err).toContain("warning: readme.md:1: there are no tasks in it\n");
    expect(said.err).toContain(
      "specgate: readme.md: there are no tasks in it, and an empty list would cancel",
    );
    expect(await tasksIn(session)).toEqual({ T001: "planned" });
    expect((await sync("-", session, "", "[]")).err).toEndWith(
      "0 created, 0 updated, 0 unchanged, 1 cancelled\n",
    );
  });

  test("goes out in one piece, however long", async () => {
    const session = await newSession();
    const tasks = Array.from({ length: 2_345 }, (_, index) => `- [ ] T${index} Step ${index}\n`);
    robo.write("long.md", tasks.join(""));
    const said = await sync("long.md", session);
    expect(said).toEqual({ code: 0, out: "", err: "2,345 created, 0 updated, 0 unchanged, 0 cancelled\n" });
    expect(await upserts(session)).toBe(1);
  });
});

const upserts = async (session: string): Promise<number> =>
  (
    await gateway.database.db
      .select()
      .from(audit)
      .where(and(eq(audit.sessionId, session), eq(audit.action, "tasks.upserted")))
  ).length;

describe("a list that is merged", () => {
  test("cancels nothing, and goes out in pieces of 1,000 with one answer", async () => {
    const session = await newSession();
    await sync("-", session, "", "- [ ] T8888 Stays\n");
    const tasks = Array.from({ length: 2_100 }, (_, index) => ({ ref: `T${index}`, title: `Step ${index}` }));
    robo.write("many.json", JSON.stringify(tasks));
    const said = await sync("many.json", session, " --merge --json");
    expect([said.code, said.err]).toEqual([0, "2,100 created, 0 updated, 0 unchanged, 0 cancelled\n"]);
    const { data, counts } = JSON.parse(said.out) as BatchView;
    expect([data.length, counts.created]).toEqual([2_100, 2_100]);
    expect(await upserts(session)).toBe(4);
    expect((await tasksIn(session)).T8888).toBe("planned");
    expect((await sync("-", session, " --merge", "[]")).code).toBe(2);
  });

  test("says how much of it is written when a later piece is refused", async () => {
    const session = await newSession();
    robo.write("done.md", "- [x] T1201 Step\n");
    await sync("done.md", session);
    const line = (index: number) => `- [${index === 1_201 ? "!" : " "}] T${index} Step\n`;
    robo.write("half.md", Array.from({ length: 1_202 }, (_, index) => line(index)).join(""));
    const said = await sync("half.md", session, " --merge");
    expect([said.code, said.out]).toEqual([1, ""]);
    expect(said.err).toContain("half.md: 1000 of 1202 tasks are written, and the rest is not:\n");
    expect(said.err).toContain("half.md:1202: status: ");
    expect(Object.keys(await tasksIn(session))).toHaveLength(1_001);
  });
});

describe("mistakes", () => {
  test("that the reader finds are said with file and line, and nothing is written", async () => {
    const session = await newSession();
    robo.write("twice.md", "# Tasks\n\n- [ ] T001 One\n- [ ] T001 Two\n");
    const said = await sync("twice.md", session);
    expect([said.code, said.out]).toEqual([2, ""]);
    expect(said.err).toMatch(/^specgate: twice\.md:4: .*T001 again/m);
    robo.write("wrong.json", '[{"title": "One", "stauts": "done"}]');
    expect((await sync("wrong.json", session)).err).toContain("specgate: wrong.json: task 1: ");
    robo.write("tasks.txt", "- [ ] One\n");
    expect((await sync("tasks.txt", session)).err).toContain("would end in .md or .json");
    expect(await tasksIn(session)).toEqual({});
  });

  test("what says the same twice is warned of and kept apart, sync after sync", async () => {
    const session = await newSession();
    const list = "# Tasks\n\n- [ ] Commit\n- [ ] Read it\n- [ ] commit\n";
    robo.write("same.md", list);
    const said = await sync("same.md", session);
    expect([said.code, said.out]).toEqual([0, ""]);
    expect(said.err).toMatch(/^warning: same\.md:5: the same as line 3/m);
    expect(said.err).toContain("3 created");
    robo.write("same.md", list.replace("- [ ] commit", "- [x] commit"));
    expect((await sync("same.md", session)).err).toContain("0 created, 1 updated, 2 unchanged, 0 cancelled");
  });

  test("a status that cannot become what the file says names its task, and exit 1", async () => {
    const session = await newSession();
    await sync("-", session, "", "- [x] T001 One\n- [x] T002 Two\n- [ ] T003 Three\n");
    robo.write("back.md", "- [!] T001 One\n- [x] T002 Two\n- [x] T003 Three\n");
    const said = await sync("back.md", session);
    expect([said.code, said.out]).toEqual([1, ""]);
    expect(said.err).toStartWith("specgate: Some tasks cannot change as asked");
    expect(said.err).toMatch(/^ {2}back\.md:1: status: .*done cannot become blocked/m);
    expect(said.err).not.toContain("back.md:2");
    expect(await tasksIn(session)).toEqual({ T001: "done", T002: "done", T003: "planned" });
  });

  test("what is refused as a whole is said as such", async () => {
    const session = await newSession();
    await robo.json(`session cancel ${session}`);
    const said = await sync("-", session, "", "- [ ] T001 One\n");
    expect([said.code, said.out]).toEqual([1, ""]);
    expect(said.err).toContain("cancelled");
    const lost = await robo.specgate("sync tasks -", { stdin: "- [ ] T001 One\n" });
    expect([lost.code, lost.err]).toEqual([2, expect.stringContaining("--session is missing")]);
  });
});

describe("without sending anything", () => {
  const nobody = openShell("http://127.0.0.1:1");

  test("a file is read and shown, with no gateway and no session", async () => {
    nobody.write("specs/tasks.md", "# Tasks\n\n- [ ] T001 One\n- [x] T002 Two\n");
    const said = await nobody.specgate("sync tasks specs/tasks.md --dry-run");
    expect([said.code, said.err]).toEqual([0, "2 tasks read; nothing was sent\n"]);
    expect(said.out).toMatch(
      /^PLACE +STATUS +TASK_REF +TITLE\nspecs\/tasks\.md:3 +planned +T001 +One\nspecs\/tasks\.md:4 +done +T002 +Two\n$/,
    );
    const { out } = await nobody.specgate("sync tasks specs/tasks.md --dry-run --json");
    const [first] = (JSON.parse(out) as { tasks: object[] }).tasks;
    expect(first).toMatchObject({ task_ref: "T001", title: "One", status: "planned", mapped_files: [] });
    expect(first).not.toHaveProperty("line");
  });

  test("standard input says by its first sign what it is", async () => {
    for (const [stdin, title] of [
      ["- [ ] A box\n", "A box"],
      ["[link](x)\n\n- [ ] After a link\n", "After a link"],
      ['  [ {"title": "A list"} ]', "A list"],
      ['\n{"tasks": [{"title": "An object"}]}', "An object"],
    ] as const) {
      const { out } = await nobody.specgate("sync tasks - --dry-run --json", { stdin });
      expect((JSON.parse(out) as { tasks: { title: string }[] }).tasks.map((task) => task.title)).toEqual([
        title,
      ]);
    }
  });
});

test("lists as teams keep them are taken by the gateway as they are read, and found unchanged", async () => {
  const folder = join(import.meta.dir, "../testing/task-files");
  for (const file of readdirSync(folder)) {
    const session = await newSession();
    robo.write(file, readFileSync(join(folder, file)));
    const first = await sync(file, session, " --json");
    expect([file, first.code]).toEqual([file, 0]);
    const { created } = (JSON.parse(first.out) as BatchView).counts;
    expect(created).toBeGreaterThan(0);
    const again = (JSON.parse((await sync(file, session, " --json")).out) as BatchView).counts;
    expect([file, again]).toEqual([file, { created: 0, updated: 0, unchanged: created, cancelled: 0 }]);
  }
});
