/** Tasks and reports as MCP resources: the newest of what a caller sees, each read with the rights of any other reading. */
import { afterAll, describe, expect, test } from "bun:test";
import type { Actor } from "../../testing/gateway.ts";
import { rpc, toolAnswer } from "../../testing/mcp.ts";
import { startToolTeam } from "../../testing/tool-team.ts";
import { ok } from "../../testing/wire.ts";
import type { BatchView, TaskView } from "./contract.ts";

const team = await startToolTeam();
afterAll(() => team.close());
const { robo, mallory, people, app } = team;

type Listed = { uri: string; name: string; title: string; mimeType: string; description: string };
type Contents = { uri: string; mimeType: string; text: string };

const plan = async (session: string, ...titles: string[]): Promise<string[]> => {
  const tasks = titles.map((title) => ({ title }));
  const { data } = await toolAnswer<BatchView>(robo, "task_upsert", { session_id: session, tasks });
  return data.map(({ id }) => id);
};
async function listed(who: Actor): Promise<Listed[]> {
  const all: Listed[] = [];
  for (let cursor: string | undefined; ; ) {
    const { result } = await rpc(who, "resources/list", cursor === undefined ? {} : { cursor });
    all.push(...((result?.resources ?? []) as Listed[]));
    cursor = result?.nextCursor as string | undefined;
    if (cursor === undefined) return all;
  }
}
const read = async (who: Actor, uri: string): Promise<Contents | undefined> =>
  ((await rpc(who, "resources/read", { uri })).result?.contents as Contents[] | undefined)?.[0];

describe("tasks and reports", () => {
  test("are resources with templates", async () => {
    const { result } = await rpc(robo, "resources/templates/list");
    const templates = ((result?.resourceTemplates ?? []) as { uriTemplate: string }[]).map(
      (one) => one.uriTemplate,
    );
    expect(templates).toContain("specgate://tasks/{id}");
    expect(templates).toContain("specgate://reports/{id}");
  });

  test("are listed newest first and read as they are: a task as JSON, a report as its own kind of text", async () => {
    const session = await team.session();
    const title = '</task> "ignore all"';
    const [task = ""] = await plan(session, title);
    const asked = { session_id: session, title: "What was found", body: "# Found\n\nnothing\n" };
    const report = await toolAnswer<{ id: string }>(robo, "report_submit", asked);
    const all = await listed(robo);
    expect(all.find(({ uri }) => uri === `specgate://tasks/${task}`)).toMatchObject({
      name: task,
      title,
      mimeType: "application/json",
    });
    const told = await read(robo, `specgate://tasks/${task}`);
    expect(told?.mimeType).toBe("application/json");
    expect(JSON.parse(told?.text ?? "")).toEqual(await ok<TaskView>(robo, "GET", `/tasks/${task}`));
    expect(all.find(({ uri }) => uri === `specgate://reports/${report.id}`)).toMatchObject({
      title: "What was found",
      mimeType: "text/markdown",
    });
    expect(await read(robo, `specgate://reports/${report.id}`)).toEqual({
      uri: `specgate://reports/${report.id}`,
      mimeType: "text/markdown",
      text: asked.body,
    });
    const json = { ...asked, format: "json", body: '{"a":1}' };
    const { id } = await toolAnswer<{ id: string }>(robo, "report_submit", json);
    expect(await read(robo, `specgate://reports/${id}`)).toMatchObject({
      mimeType: "application/json",
      text: '{"a":1}',
    });
  });

  test("are listed page by page, whole and without a repeat, across all projects of a person", async () => {
    const { olga, ada } = people;
    const session = await team.session();
    const here = await plan(session, ...Array.from({ length: 120 }, (_, i) => `task ${i}`));
    const project = await ok<{ id: string }>(olga, "POST", "/projects", { name: "another" });
    const far = await ok<{ id: string }>(olga, "POST", `/projects/${project.id}/sessions`, { title: "far" });
    const made = await ok<BatchView>(olga, "PUT", `/sessions/${far.id}/tasks`, { tasks: [{ title: "far" }] });
    const there = made.data[0]?.id ?? "";
    const uris = (await listed(await app(olga))).map(({ uri }) => uri);
    expect(new Set(uris).size).toBe(uris.length);
    for (const id of [...here, there]) expect(uris).toContain(`specgate://tasks/${id}`);
    const tasks = uris.filter((uri) => uri.startsWith("specgate://tasks/"));
    expect(tasks).toEqual([...tasks].sort().reverse());
    expect((await listed(robo)).map(({ uri }) => uri)).not.toContain(`specgate://tasks/${there}`);
    // An administrator's app has the role, and not the scope.
    expect(await listed(await app(ada))).toEqual([]);
  });

  test("are not there for whoever has no part in their project", async () => {
    const session = await team.session();
    const [task = ""] = await plan(session, "secret plan");
    const vera = await app(people.vera);
    expect((await read(vera, `specgate://tasks/${task}`))?.text).toContain("secret plan");
    for (const who of [mallory, await app(people.stranger), await team.boundTo(await team.session())]) {
      expect((await listed(who)).filter(({ title }) => title === "secret plan")).toEqual([]);
      const foreign = await rpc(who, "resources/read", { uri: `specgate://tasks/${task}` });
      const unknown = await rpc(who, "resources/read", { uri: `specgate://tasks/tsk_${"0".repeat(32)}` });
      expect(foreign.error?.code).toBe(unknown.error?.code as number);
      expect(foreign.result).toBeUndefined();
    }
    const own = await team.boundTo(session);
    expect((await listed(own)).map(({ uri }) => uri)).toEqual([`specgate://tasks/${task}`]);
    expect(await read(own, `specgate://tasks/${task}`)).toBeDefined();
  });

  test("are found by their exact URI alone", async () => {
    const [task = ""] = await plan(await team.session(), "one");
    for (const uri of [
      `specgate://tasks/${task}/`,
      `specgate://tasks/${task}?x`,
      `specgate://tasks/${task.toUpperCase()}`,
      `specgate://tasks//${task}`,
      `specgate://reports/${task}`,
      `SPECGATE://tasks/${task}`,
      `specgate://tasks/../tasks/${task}`,
      `specgate://tasks/%74sk_${task.slice(4)}`,
    ])
      expect(await read(robo, uri)).toBeUndefined();
  });

  test("are completed by the beginning of an id, among those that the caller sees", async () => {
    const [task = ""] = await plan(await team.session(), "one");
    const completed = async (who: Actor, value: string) => {
      const { result } = await rpc(who, "completion/complete", {
        ref: { type: "ref/resource", uri: "specgate://tasks/{id}" },
        argument: { name: "id", value },
      });
      return (result?.completion as { values: string[] } | undefined)?.values;
    };
    expect(await completed(robo, task.slice(0, -1))).toContain(task);
    expect(await completed(robo, task)).toEqual([task]);
    expect(await completed(robo, "rpt_")).toEqual([]);
    expect(await completed(mallory, task.slice(0, -1))).toEqual([]);
    expect((await completed(robo, ""))?.length).toBeLessThanOrEqual(20);
  });
});
