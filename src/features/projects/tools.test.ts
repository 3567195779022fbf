import { afterAll, expect, test } from "bun:test";
import { promisedAnswer, toolRefusal } from "../../testing/tool-answers.ts";
import { startToolTeam } from "../../testing/tool-team.ts";
import { ok } from "../../testing/wire.ts";
import type { ProjectDetail } from "./contract.ts";

const team = await startToolTeam();
afterAll(() => team.close());
const { robo, mallory, people, app, projectId } = team;

type List = { data: ProjectDetail[]; next_cursor: string | null };

test("each caller is told of the projects that it has a part in, as over HTTP", async () => {
  const { vera, olga, stranger } = people;
  for (const [who, role] of [
    [await app(vera), "viewer"],
    [await app(olga), "owner"],
    [robo, "editor"],
  ] as const) {
    const { data } = await promisedAnswer<List>(who, "project_list");
    expect(data.map((project) => [project.id, project.role])).toEqual([[projectId, role]]);
  }
  const { data } = await promisedAnswer<List>(robo, "project_list");
  expect(data).toEqual((await ok<List>(robo, "GET", "/projects")).data);
  expect((await promisedAnswer<List>(mallory, "project_list")).data.map(({ id }) => id)).toEqual([
    mallory.projectId,
  ]);
  expect(await promisedAnswer(await app(stranger), "project_list")).toEqual({ data: [], next_cursor: null });
});

test("a list is handed out page by page, and no further than it goes", async () => {
  const { olga } = people;
  const who = await app(olga);
  for (const name of ["two", "three"]) await ok(olga, "POST", "/projects", { name });
  const names: string[] = [];
  let cursor: string | null = null;
  do {
    const page: List = await promisedAnswer<List>(who, "project_list", {
      limit: 2,
      ...(cursor === null ? {} : { cursor }),
    });
    expect(page.data.length).toBeLessThanOrEqual(2);
    names.push(...page.data.map(({ name }) => name));
    cursor = page.next_cursor;
  } while (cursor !== null);
  expect(names).toEqual(["robo's project", "two", "three"]);
  for (const wrong of [{ cursor: "made up" }, { limit: 0 }, { limit: 201 }, { limit: "2" }, { page: 1 }])
    expect(await toolRefusal(who, "project_list", wrong)).toBe("200 invalid_request");
});
