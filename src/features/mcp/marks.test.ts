/** Text that is slow to normalize holds up nobody, wherever it is sent. */
import { afterAll, expect, test } from "bun:test";
import { localActor } from "../../testing/desk.ts";
import { startGateway } from "../../testing/gateway.ts";
import { callTool, toolAnswer } from "../../testing/mcp.ts";
import { ok } from "../../testing/wire.ts";

const gateway = await startGateway({});
afterAll(() => gateway.close());
const { ada } = await gateway.people();
const { robo } = gateway;

/** Of two kinds, so that they have to be sorted. */
const marks = (pairs: number) => `a${"\u0301\u0316".repeat(pairs)}`;

/** How long nobody else was served. */
async function longestStall(work: () => Promise<unknown>): Promise<number> {
  let isDone = false;
  let longest = 0;
  const watching = (async () => {
    while (!isDone) {
      const from = performance.now();
      await Bun.sleep(5);
      longest = Math.max(longest, performance.now() - from);
    }
  })();
  await work();
  isDone = true;
  await watching;
  return longest;
}

test("a row of accents in a report, in tasks, or under a policy with conditions, holds up nobody", async () => {
  const made = { project_id: robo.projectId, title: "x" };
  const { id: session } = await toolAnswer<{ id: string }>(robo, "session_start", made);
  const scope = "mcp:read mcp:write control:read";
  const client = await gateway.clients.create(localActor, {
    name: "r",
    kind: "runner",
    projectId: robo.projectId,
    redirectUris: [],
    scope,
  });
  const { key } = await gateway.keys.create(localActor, { owner: { clientId: client.client_id }, scope });
  const runner = gateway.as(key, client.client_id);
  const condition = { path: "cursor", op: "eq", value: "y" };
  await ok(ada, "PUT", `/mcp/policies/${client.client_id}`, {
    rules: [
      { effect: "allow", tool: "**" },
      { effect: "deny", tool: "project_list", args: [condition] },
    ],
  });
  const report = { session_id: session, title: "x", body: marks(200_000) };
  const tasks = Array.from({ length: 20 }, (_, at) => ({
    title: `t${at}`,
    acceptance_criteria: marks(9_900),
  }));
  const rows: [string, () => Promise<unknown>, unknown][] = [
    [
      "a report by tool",
      async () => (await callTool(robo, "report_submit", report)).result?.isError ?? false,
      false,
    ],
    [
      "a report by HTTP",
      async () =>
        (
          await robo.fetch(`/api/v1/sessions/${session}/reports`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ title: "x", body: report.body }),
          })
        ).status,
      201,
    ],
    [
      "tasks",
      async () =>
        (await callTool(robo, "task_upsert", { session_id: session, tasks })).result?.isError ?? false,
      false,
    ],
    [
      "an argument that a condition is about",
      async () => (await callTool(runner, "project_list", { cursor: marks(200_000) })).error?.message,
      expect.stringContaining("rule 2: deny project_list"),
    ],
    [
      "a member that no condition is about",
      async () => (await callTool(runner, "project_list", { [marks(200_000)]: 1 })).error?.message,
      expect.stringContaining("rule 2: deny project_list"),
    ],
  ];
  for (const [what, work, answer] of rows) {
    const stall = await longestStall(async () => expect([what, await work()]).toEqual([what, answer]));
    expect([what, stall < 500]).toEqual([what, true]);
  }
}, 60_000);
