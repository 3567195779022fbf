import { afterAll, beforeAll, expect, test } from "bun:test";
import { testDatabase } from "../../testing/cluster.ts";
import { type Desk, localActor, openDesk } from "../../testing/desk.ts";

let desk: Desk;
beforeAll(async () => {
  desk = await openDesk((await testDatabase()).database);
});
afterAll(() => desk.close());

test("a project is created, audited and listed; two may share a name", async () => {
  const one = await desk.projects.create(localActor, { name: " โครงการ Alpha " });
  const other = await desk.projects.create(localActor, { name: one.name });
  expect(one).toEqual({ id: expect.stringMatching(/^prj_[0-9a-f]{32}$/), name: "โครงการ Alpha" });
  expect(await desk.projects.list()).toEqual(
    [one, other].map((project) => ({ ...project, archived: false })),
  );
  expect(await desk.entries(one.id)).toMatchObject([
    { action: "project.created", projectId: one.id, actor: "ada", details: { name: one.name } },
  ]);
});

test.each(["", "   ", "a\u0000b", "a\nb", "x".repeat(201)])("%p is no name", async (name) => {
  await expect(desk.projects.create(localActor, { name })).rejects.toMatchObject({ code: "invalid_name" });
});
