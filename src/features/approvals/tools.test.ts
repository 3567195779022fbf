/** Approvals as MCP clients ask for them, wait for them and use them up: by the same rules as over HTTP. */
import { afterAll, describe, expect, test } from "bun:test";
import type { Actor } from "../../testing/gateway.ts";
import { callTool, rpc } from "../../testing/mcp.ts";
import { promisedAnswer, toolRefusal } from "../../testing/tool-answers.ts";
import { startToolTeam } from "../../testing/tool-team.ts";
import { ok } from "../../testing/wire.ts";
import type { ApprovalView } from "./contract.ts";

const team = await startToolTeam();
afterAll(() => team.close());
const { robo, mallory, people, app } = team;
const { olga, ed, vera } = people;
const session = await team.session();
const subject = { action: "deploy", subject_sha256: "ab".repeat(32) };
const never = `apv_${"0".repeat(32)}`;

const request = (who: Actor = robo, more: object = {}) =>
  promisedAnswer<ApprovalView>(who, "approval_request", {
    session_id: session,
    ...subject,
    reason: "The plan is ready.",
    ...more,
  });
const decide = (id: string, decision: "approve" | "reject") =>
  ok<ApprovalView>(olga, "POST", `/approvals/${id}/decision`, { decision });
const get = (id: string, more: object = {}, who: Actor = robo) =>
  promisedAnswer<ApprovalView>(who, "approval_get", { approval_id: id, ...more });

describe("an MCP client", () => {
  test("asks, waits for a person's word, and uses it up once", async () => {
    const asked = await request();
    expect(asked).toMatchObject({ ...subject, status: "pending", requested_by: robo.id, ttl_seconds: 900 });
    expect(await get(asked.id)).toEqual(asked);
    const waiting = get(asked.id, { wait_seconds: 20 });
    await Bun.sleep(200);
    const began = performance.now();
    const decided = await decide(asked.id, "approve");
    expect(await waiting).toEqual(decided);
    expect(performance.now() - began).toBeLessThan(5_000);
    const use = { approval_id: asked.id, ...subject };
    const wrong = { ...use, subject_sha256: "cd".repeat(32) };
    expect(await toolRefusal(robo, "approval_consume", wrong)).toBe("200 subject_mismatch");
    expect(await toolRefusal(robo, "approval_consume", { ...use, if_version: 1 })).toBe("200 stale_version");
    const used = await promisedAnswer<ApprovalView>(robo, "approval_consume", use);
    expect(used).toMatchObject({ status: "consumed", ended_by: robo.id });
    expect(await toolRefusal(robo, "approval_consume", use)).toBe("200 already_consumed");
  });

  test("is told after its time that nobody has decided yet", async () => {
    const { id } = await request();
    const began = performance.now();
    expect(await get(id, { wait_seconds: 1 })).toMatchObject({ status: "pending" });
    expect(performance.now() - began).toBeGreaterThan(900);
    const use = { approval_id: id, ...subject };
    expect(await toolRefusal(robo, "approval_consume", use)).toBe("200 not_approved");
  });

  test("of a person who asked uses it up with the scope to ask, and nobody else's app does", async () => {
    const eds = await app(ed);
    const { id } = await request(eds);
    await decide(id, "approve");
    const use = { approval_id: id, ...subject };
    expect(await toolRefusal(await app(olga), "approval_consume", use)).toBe("200 not_the_requester");
    expect(await toolRefusal(await app(ed, "mcp:read mcp:write"), "approval_consume", use)).toBe(
      "200 insufficient_scope",
    );
    expect(await promisedAnswer(eds, "approval_consume", use)).toMatchObject({ ended_by: ed.id });
  });

  test("has no tool to decide with", async () => {
    const { result } = await rpc(
      await app(olga, "mcp:read mcp:write approvals:request approvals:decide"),
      "tools/list",
    );
    const names = result?.tools.map(({ name }) => name).filter((name) => name.startsWith("approval_")) ?? [];
    expect(names.sort()).toEqual(["approval_consume", "approval_get", "approval_request"]);
  });

  test("is told which argument is wrong", async () => {
    for (const [tool, args, field] of [
      ["approval_request", { subject_sha256: "AB" }, "subject_sha256"],
      ["approval_request", { reason: " " }, "reason"],
      ["approval_request", { ttl_seconds: 59 }, "ttl_seconds"],
      ["approval_request", { iteration_id: "x" }, "iteration_id"],
      ["approval_request", { note: "x" }, "note"],
      ["approval_get", { wait_seconds: 31 }, "wait_seconds"],
      ["approval_get", { wait_seconds: "1" }, "wait_seconds"],
      ["approval_consume", { action: "Deploy!" }, "action"],
    ] as const) {
      const usual = {
        approval_request: { session_id: session, ...subject, reason: "why" },
        approval_get: { approval_id: never },
        approval_consume: { approval_id: never, ...subject },
      }[tool];
      const given = { ...usual, ...args };
      expect(await toolRefusal(robo, tool, given)).toBe("200 invalid_request");
      expect(JSON.stringify((await callTool(robo, tool, given)).result)).toContain(field);
    }
  });

  test("needs the scopes, the role, and a part in the project", async () => {
    const { id } = await request();
    const asking = { session_id: session, ...subject, reason: "why" };
    const use = { approval_id: id, ...subject };
    const writer = await app(ed, "mcp:read mcp:write");
    expect(await toolRefusal(writer, "approval_request", asking)).toBe("403 insufficient_scope");
    expect(await toolRefusal(writer, "approval_consume", use)).toBe("200 insufficient_scope");
    const reader = await app(ed, "mcp:read approvals:request");
    expect(await toolRefusal(reader, "approval_request", asking)).toBe("403 insufficient_scope");
    expect(await toolRefusal(reader, "approval_consume", use)).toBe("403 insufficient_scope");
    const veras = await app(vera);
    expect(await get(id, {}, veras)).toMatchObject({ id });
    expect(await toolRefusal(veras, "approval_request", asking)).toBe("200 insufficient_role");
    expect(await toolRefusal(veras, "approval_consume", use)).toBe("200 insufficient_role");
    for (const who of [mallory, await app(people.stranger)]) {
      expect(await toolRefusal(who, "approval_request", asking)).toBe("200 not_found");
      expect(await toolRefusal(who, "approval_get", { approval_id: id, wait_seconds: 5 })).toBe(
        "200 not_found",
      );
      expect(await toolRefusal(who, "approval_get", { approval_id: never })).toBe("200 not_found");
      expect(await toolRefusal(who, "approval_consume", use)).toBe("200 not_found");
    }
  });

  test("asks and uses nothing once the session is over", async () => {
    const over = await team.session();
    const { id } = await request(robo, { session_id: over });
    await decide(id, "approve");
    await ok(robo, "PATCH", `/sessions/${over}`, { status: "failed" });
    const asking = { session_id: over, ...subject, reason: "why" };
    expect(await toolRefusal(robo, "approval_request", asking)).toBe("200 closed");
    expect(await toolRefusal(robo, "approval_consume", { approval_id: id, ...subject })).toBe("200 closed");
  });
});

test("the audit says through which tool, in the change's own row and once", async () => {
  const { id } = await request();
  await decide(id, "approve");
  await promisedAnswer(robo, "approval_consume", { approval_id: id, ...subject });
  expect(await team.trail(id)).toEqual([
    { action: "approval.requested", tool: "approval_request" },
    { action: "approval.decided", tool: undefined },
    { action: "approval.consumed", tool: "approval_consume" },
  ]);
});
