/** Checks and gates as MCP clients use them: by the same rules as over HTTP. */
import { afterAll, describe, expect, test } from "bun:test";
import { callTool, toolAnswer } from "../../testing/mcp.ts";
import { promisedAnswer, toolRefusal } from "../../testing/tool-answers.ts";
import { anyIteration, startToolTeam } from "../../testing/tool-team.ts";
import { ok } from "../../testing/wire.ts";
import type { CheckView, EvaluationView } from "./contract.ts";

const team = await startToolTeam();
afterAll(() => team.close());
const { robo, mallory, people, app } = team;
const commit = "0123456789abcdef";

const iterationAt = async (session?: string) =>
  team.iteration(session ?? (await team.session()), { commit_sha: commit });
const check = (iteration: string, more: object) =>
  promisedAnswer<CheckView>(robo, "check_submit", {
    iteration_id: iteration,
    status: "passed",
    commit_sha: commit,
    ...more,
  });
const evaluate = (iteration: string) =>
  promisedAnswer<EvaluationView>(robo, "gate_evaluate", { iteration_id: iteration });

describe("an MCP client", () => {
  test("hands checks in until the gates let its iteration pass", async () => {
    const session = await team.session();
    const iteration = await iterationAt(session);
    const first = await evaluate(iteration);
    expect(first.ok).toBeFalse();
    expect(first.checks.map(({ name, code }) => `${name} ${code}`)).toEqual([
      "tasks too_few_tasks",
      "tests check_missing",
      "coverage check_missing",
      "security check_missing",
    ]);
    const done = { session_id: session, tasks: [{ title: "all of it", status: "done" }] };
    await toolAnswer(robo, "task_upsert", done);
    const tests = await check(iteration, { kind: "test", summary: "12 passed" });
    expect(await ok<CheckView>(robo, "GET", `/checks/${tests.id}`)).toEqual(tests);
    await check(iteration, { kind: "coverage", percent: 91.5 });
    await check(iteration, { kind: "security" });
    const last = await evaluate(iteration);
    expect(last).toMatchObject({ ok: true, iteration_id: iteration, commit_sha: commit });
    const passed = { iteration_id: iteration, status: "passed" };
    expect(await promisedAnswer(robo, "iteration_finish", passed)).toMatchObject({ status: "passed" });
  });

  test("is told which gate a person has waived", async () => {
    const iteration = await iterationAt();
    const expires_at = new Date(Date.now() + 3_600_000).toISOString();
    const waiver = await ok<{ id: string }>(people.olga, "POST", `/iterations/${iteration}/waivers`, {
      gate: "security",
      reason: "The scanner is down.",
      expires_at,
    });
    expect((await evaluate(iteration)).checks.at(-1)).toMatchObject({
      name: "security",
      ok: true,
      code: "waived",
      waived_by: waiver.id,
      details: { code: "check_missing" },
    });
  });

  test("is told which argument is wrong", async () => {
    const iteration = await iterationAt();
    for (const [more, field] of [
      [{ kind: "unit" }, "kind"],
      [{ kind: "custom" }, "name"],
      [{ kind: "test", name: "unit" }, "name"],
      [{ kind: "coverage", percent: 101 }, "percent"],
      [{ kind: "test", commit_sha: "HEAD" }, "commit_sha"],
      [{ kind: "test", artifact_id: "art_1" }, "artifact_id"],
      [{ kind: "test", passed: true }, "passed"],
    ] as const) {
      const args = { iteration_id: iteration, status: "passed", ...more };
      expect(await toolRefusal(robo, "check_submit", args)).toBe("200 invalid_request");
      expect(JSON.stringify((await callTool(robo, "check_submit", args)).result)).toContain(field);
    }
  });

  test("needs the scope, the role, and a part in the project", async () => {
    const iteration = await iterationAt();
    const bound = await team.boundTo(await team.session());
    for (const [tool, args] of [
      ["check_submit", { iteration_id: iteration, kind: "test", status: "passed" }],
      ["gate_evaluate", { iteration_id: iteration }],
    ] as const) {
      expect(await toolRefusal(await app(people.ed, "mcp:read"), tool, args)).toBe("403 insufficient_scope");
      expect(await toolRefusal(await app(people.vera), tool, args)).toBe("200 insufficient_role");
      for (const who of [mallory, bound]) expect(await toolRefusal(who, tool, args)).toBe("200 not_found");
      const never = { ...args, iteration_id: anyIteration };
      expect(await toolRefusal(mallory, tool, never)).toBe("200 not_found");
    }
  });

  test("says nothing more about a session that is over", async () => {
    const session = await team.session();
    const iteration = await iterationAt(session);
    await ok(robo, "PATCH", `/sessions/${session}`, { status: "failed" });
    const args = { iteration_id: iteration, kind: "test", status: "passed" };
    expect(await toolRefusal(robo, "check_submit", args)).toBe("200 closed");
    expect(await toolRefusal(robo, "gate_evaluate", { iteration_id: iteration })).toBe("200 closed");
  });
});

test("the audit says through which tool, in the change's own row and once", async () => {
  const iteration = await iterationAt();
  const made = await check(iteration, { kind: "lint" });
  const judged = await evaluate(iteration);
  expect(await team.trail(made.id)).toEqual([{ action: "check.created", tool: "check_submit" }]);
  expect(await team.trail(judged.id)).toEqual([{ action: "gate.evaluated", tool: "gate_evaluate" }]);
});
