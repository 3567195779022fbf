/** Sessions and iterations as MCP clients work on them: by the same rules as over HTTP. */
import { afterAll, describe, expect, test } from "bun:test";
import { newId } from "../../platform/ids.ts";
import { callTool, toolAnswer } from "../../testing/mcp.ts";
import { promisedAnswer, toolRefusal } from "../../testing/tool-answers.ts";
import { anyIteration, anySession, startToolTeam } from "../../testing/tool-team.ts";
import { ok } from "../../testing/wire.ts";
import type { IterationView, SessionView } from "./contract.ts";

const team = await startToolTeam();
afterAll(() => team.close());
const { robo, mallory, people, app, keyOf, projectId } = team;
const commit = "0123456789abcdef";

type List = { data: SessionView[]; next_cursor: string | null };

describe("an MCP client", () => {
  test("starts a session and tries at it, which looks the same over HTTP", async () => {
    const asked = { title: " Login by e-mail ", spec: "docs/login.md", notes: "first\nsecond" };
    const session = await promisedAnswer<SessionView>(robo, "session_start", {
      project_id: projectId,
      ...asked,
    });
    expect(session).toMatchObject({
      ...asked,
      title: "Login by e-mail",
      status: "open",
      created_by: robo.id,
    });
    expect(await ok<SessionView>(robo, "GET", `/sessions/${session.id}`)).toEqual(session);
    const first = await promisedAnswer<IterationView>(robo, "iteration_start", { session_id: session.id });
    expect(first).toMatchObject({ number: 1, step: "SPEC", status: "running", commit_sha: null });
    const ended = await promisedAnswer<IterationView>(robo, "iteration_finish", {
      iteration_id: first.id,
      status: "failed",
      commit_sha: commit,
      notes: "the tests hang",
    });
    expect(ended).toMatchObject({
      status: "failed",
      commit_sha: commit,
      notes: "the tests hang",
      version: 2,
    });
    expect(await ok<IterationView>(robo, "GET", `/iterations/${first.id}`)).toEqual(ended);
    const again = { iteration_id: first.id, status: "failed" };
    expect(await toolAnswer(robo, "iteration_finish", again)).toEqual(ended);
    const other = { iteration_id: first.id, status: "abandoned" };
    expect(await toolRefusal(robo, "iteration_finish", other)).toBe("200 invalid_transition");
    const second = { session_id: session.id, step: "IMPLEMENT", commit_sha: commit };
    expect(await promisedAnswer(robo, "iteration_start", second)).toMatchObject({ number: 2 });
  });

  test("finds sessions by their state, newest first, page by page", async () => {
    const ids = [await team.session("one"), await team.session("two"), await team.session("three")];
    await ok(robo, "PATCH", `/sessions/${ids[1]}`, { status: "cancelled" });
    const asked = { project_id: projectId, limit: 2 };
    const first = await promisedAnswer<List>(robo, "session_list", asked);
    expect(first.data.map(({ id }) => id)).toEqual([ids[2], ids[1]] as string[]);
    const next = await promisedAnswer<List>(robo, "session_list", { ...asked, cursor: first.next_cursor });
    expect(next.data[0]?.id).toBe(ids[0] as string);
    const cancelled = { project_id: projectId, status: "cancelled" };
    expect((await promisedAnswer<List>(robo, "session_list", cancelled)).data.map(({ id }) => id)).toEqual([
      ids[1],
    ] as string[]);
  });

  test("is told by the gates why an iteration is not passed, and the iteration keeps running", async () => {
    const iteration = await team.iteration(await team.session());
    const asked = { iteration_id: iteration, status: "passed" };
    expect(await toolRefusal(robo, "iteration_finish", asked)).toBe("200 gate_failed");
    const { result } = await callTool(robo, "iteration_finish", asked);
    const said = JSON.stringify(result);
    for (const part of ["evaluation", "too_few_tasks", "check_missing", "coverage"])
      expect(said).toContain(part);
    expect(await ok<IterationView>(robo, "GET", `/iterations/${iteration}`)).toMatchObject({
      status: "running",
      version: 1,
    });
  });

  test("ends only the version that it has seen", async () => {
    const iteration = await team.iteration(await team.session());
    const asked = { iteration_id: iteration, status: "abandoned", if_version: 2 };
    expect(await toolRefusal(robo, "iteration_finish", asked)).toBe("200 stale_version");
    expect(await toolAnswer(robo, "iteration_finish", { ...asked, if_version: 1 })).toMatchObject({
      version: 2,
    });
  });

  test("changes nothing in a session that is over", async () => {
    const session = await team.session();
    const iteration = await team.iteration(session);
    await ok(robo, "PATCH", `/sessions/${session}`, { status: "failed" });
    expect(await toolRefusal(robo, "iteration_start", { session_id: session })).toBe("200 closed");
    const asked = { iteration_id: iteration, status: "abandoned" };
    expect(await toolRefusal(robo, "iteration_finish", asked)).toBe("200 closed");
  });

  test("is told which argument is wrong", async () => {
    const session = await team.session();
    for (const [tool, args, field] of [
      ["session_start", { project_id: projectId, title: "" }, "title"],
      ["session_start", { project_id: projectId }, "title"],
      ["session_start", { project_id: projectId, title: "x", specs: "y" }, "specs"],
      ["session_list", { project_id: projectId, status: "over" }, "status"],
      ["iteration_start", { session_id: session, step: "spec" }, "step"],
      ["iteration_start", { session_id: session, commit_sha: "HEAD" }, "commit_sha"],
      ["iteration_finish", { iteration_id: anyIteration, status: "running" }, "status"],
    ] as const) {
      expect(await toolRefusal(robo, tool, args)).toBe("200 invalid_request");
      expect(JSON.stringify((await callTool(robo, tool, args)).result)).toContain(field);
    }
  });
});

describe("sessions are closed", () => {
  test("to writing for a credential that may only read, and unknown to one that never could", async () => {
    const reader = await app(people.ed, "mcp:read");
    const session = await team.session();
    expect((await promisedAnswer<List>(reader, "session_list", { project_id: projectId })).data[0]?.id).toBe(
      session,
    );
    const asked = { project_id: projectId, title: "x" };
    expect(await toolRefusal(reader, "session_start", asked)).toBe("403 insufficient_scope");
    expect(await toolRefusal(reader, "iteration_start", { session_id: session })).toBe(
      "403 insufficient_scope",
    );
    expect(await toolRefusal(await keyOf("mcp:read"), "session_start", asked)).toBe("200 -32602");
  });

  test("to writing for a viewer, whatever their app may do", async () => {
    const vera = await app(people.vera);
    const session = await team.session();
    const iteration = await team.iteration(session);
    await promisedAnswer(vera, "session_list", { project_id: projectId });
    for (const [tool, args] of [
      ["session_start", { project_id: projectId, title: "x" }],
      ["iteration_start", { session_id: session }],
      ["iteration_finish", { iteration_id: iteration, status: "failed" }],
    ] as const)
      expect(await toolRefusal(vera, tool, args)).toBe("200 insufficient_role");
  });

  test("to strangers, who cannot tell them from what never was", async () => {
    const session = await team.session();
    const iteration = await team.iteration(session);
    for (const [tool, args, never] of [
      ["session_list", { project_id: projectId }, { project_id: newId("prj") }],
      ["session_start", { project_id: projectId, title: "x" }, { project_id: "prj_1", title: "x" }],
      ["iteration_start", { session_id: session }, { session_id: anySession }],
      [
        "iteration_finish",
        { iteration_id: iteration, status: "failed" },
        { iteration_id: "x", status: "failed" },
      ],
    ] as const) {
      expect(await toolRefusal(mallory, tool, args)).toBe("200 not_found");
      const [foreign, unknown] = [await callTool(mallory, tool, args), await callTool(mallory, tool, never)];
      expect(withoutRequestId(foreign.result)).toBe(withoutRequestId(unknown.result));
    }
  });

  test("to a token of another session, which sees and writes in its own alone", async () => {
    const [own, other] = [await team.session(), await team.session()];
    const bound = await team.boundTo(own);
    const { data } = await promisedAnswer<List>(bound, "session_list", { project_id: projectId });
    expect(data.map(({ id }) => id)).toEqual([own]);
    await promisedAnswer(bound, "iteration_start", { session_id: own });
    expect(await toolRefusal(bound, "iteration_start", { session_id: other })).toBe("200 not_found");
    const asked = { project_id: projectId, title: "x" };
    expect(await toolRefusal(bound, "session_start", asked)).toBe("200 bound_to_session");
  });
});

test("the audit says through which tool, in the change's own row and once", async () => {
  const session = await team.session();
  expect(await team.trail(session)).toEqual([{ action: "session.created", tool: "session_start" }]);
  const iteration = await team.iteration(session);
  await toolAnswer(robo, "iteration_finish", { iteration_id: iteration, status: "abandoned" });
  expect(await team.trail(iteration)).toEqual([
    { action: "iteration.created", tool: "iteration_start" },
    { action: "iteration.updated", tool: "iteration_finish" },
  ]);
  const { id } = await ok<SessionView>(robo, "POST", `/projects/${projectId}/sessions`, { title: "by hand" });
  expect(await team.trail(id)).toEqual([{ action: "session.created", tool: undefined }]);
});

const withoutRequestId = (result: unknown): string =>
  JSON.stringify(result).replaceAll(/req_[0-9a-f]{32}/g, "req");
