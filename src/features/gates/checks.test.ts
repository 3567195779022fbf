import { describe, expect, test } from "bun:test";
import { and, eq } from "drizzle-orm";
import { audit, checks, events } from "../../db/schema.ts";
import { startGateway } from "../../testing/gateway.ts";
import { announce } from "../../testing/stores.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { CheckView } from "./contract.ts";

const gateway = await startGateway();
const { robo, mallory, nobody } = gateway;
const { db } = gateway.database;
const { ada, olga, ed, vera, stranger } = await gateway.people();

type Made = { id: string };
async function newIteration(): Promise<{ session: string; iteration: string; path: string }> {
  const sessions = `/projects/${robo.projectId}/sessions`;
  const { id: session } = await ok<Made>(robo, "POST", sessions, { title: "Login by e-mail" });
  const { id: iteration } = await ok<Made>(robo, "POST", `/sessions/${session}/iterations`, {});
  return { session, iteration, path: `/iterations/${iteration}/checks` };
}
const passed = { kind: "test", status: "passed" };

describe("a check", () => {
  test("is kept as it was sent, and looks the same to whoever may see it", async () => {
    const { session, iteration, path } = await newIteration();
    const { id: artifact_id } = await announce(robo, session, new TextEncoder().encode("the report"));
    const body = {
      kind: "coverage",
      status: "passed",
      percent: 81.25,
      commit_sha: "0123abc",
      summary: "ครอบคลุม 81 %\nof all lines",
      artifact_id,
    };
    const made = await call<CheckView>(robo, "POST", path, body);
    expect(made.http).toBe(201);
    expect(made.body).toEqual({
      ...made.body,
      ...body,
      id: expect.stringMatching(/^chk_[0-9a-f]{32}$/),
      project_id: robo.projectId,
      session_id: session,
      iteration_id: iteration,
      kind: "coverage",
      status: "passed",
      name: null,
      created_by: robo.id,
    });
    expect(Object.keys(made.body)).not.toContain("no");
    for (const who of [robo, ada, olga, ed, vera])
      expect(await ok<CheckView>(who, "GET", `/checks/${made.body.id}`)).toEqual(made.body);
  });

  test("needs no more than its kind and status", async () => {
    const { path } = await newIteration();
    expect(await ok<CheckView>(robo, "POST", path, passed)).toMatchObject({
      name: null,
      percent: null,
      commit_sha: null,
      summary: null,
      artifact_id: null,
    });
    await ok(robo, "POST", path, { kind: "custom", name: "licences", status: "skipped", percent: null });
  });

  test("is told and recorded once", async () => {
    const { session, path } = await newIteration();
    const { id, iteration_id } = await ok<CheckView>(robo, "POST", path, {
      ...passed,
      summary: "a long story",
    });
    const shown = { iteration_id, kind: "test", name: null, status: "passed", percent: null };
    const told = await db
      .select()
      .from(events)
      .where(and(eq(events.sessionId, session), eq(events.type, "check.created")));
    expect(told).toMatchObject([{ payload: { id, session_id: session, ...shown } }]);
    const recorded = await db.select().from(audit).where(eq(audit.subject, id));
    expect(recorded).toMatchObject([
      { action: "check.created", actor: robo.id, projectId: robo.projectId, sessionId: session },
    ]);
    expect(recorded[0]?.details).toEqual({ ...shown, commit_sha: null });
  });

  test("does not exist for whoever has no part in the project, and is not written by a viewer", async () => {
    const { path } = await newIteration();
    const { id } = await ok<CheckView>(robo, "POST", path, passed);
    for (const who of [mallory, stranger]) {
      expect(await refused(who, "POST", path, passed)).toBe("404 not_found");
      expect(await refused(who, "GET", path)).toBe("404 not_found");
      expect(await refused(who, "GET", `/checks/${id}`)).toBe("404 not_found");
    }
    expect(await refused(nobody, "POST", path, passed)).toBe("401 unauthenticated");
    expect(await refused(vera, "POST", path, passed)).toBe("403 insufficient_role");
    await ok(ed, "POST", path, passed);
  });

  test("names every mistake of a bad body", async () => {
    const { path } = await newIteration();
    const mistakes = async (body: object) => {
      const { http, body: problem } = await call<{ errors?: { path: string }[] }>(robo, "POST", path, body);
      return [http, problem.errors?.map((error) => error.path).sort()];
    };
    const bad = {
      kind: "test",
      name: "x",
      status: "ok",
      percent: 100.5,
      commit_sha: "HEAD",
      summary: "x".repeat(10_001),
      artifact_id: "art_1",
      colour: "red",
    };
    expect(await mistakes(bad)).toEqual([422, Object.keys(bad).slice(1).sort()]);
    expect(await mistakes({ kind: "custom", status: "passed" })).toEqual([422, ["name"]]);
    expect(await mistakes({ kind: "custom", status: "passed", name: "Two Words" })).toEqual([422, ["name"]]);
    expect(await mistakes({ kind: "lint", status: "passed", name: "lint" })).toEqual([422, ["name"]]);
    expect(await mistakes({ kind: "smoke", status: "passed" })).toEqual([422, ["kind"]]);
    expect(await mistakes({ ...passed, percent: -1 })).toEqual([422, ["percent"]]);
  });

  test("is not taken where nothing changes any more", async () => {
    const { session, path } = await newIteration();
    await ok(robo, "PATCH", `/sessions/${session}`, { status: "cancelled" });
    expect(await refused(robo, "POST", path, passed)).toBe("409 closed");
    const project = await ok<Made>(ada, "POST", "/projects", { name: "short-lived" });
    const archived = await ok<Made>(ada, "POST", `/projects/${project.id}/sessions`, { title: "x" });
    const iteration = await ok<Made>(ada, "POST", `/sessions/${archived.id}/iterations`, {});
    await ok(ada, "DELETE", `/projects/${project.id}`);
    expect(await refused(ada, "POST", `/iterations/${iteration.id}/checks`, passed)).toBe("409 closed");
  });

  test("is submitted once under an Idempotency-Key", async () => {
    const { iteration, path } = await newIteration();
    const key = { "idempotency-key": "run 7" };
    const first = await call<CheckView>(robo, "POST", path, passed, key);
    const again = await call<CheckView>(robo, "POST", path, passed, key);
    expect([again.http, again.body, again.headers.get("idempotent-replayed")]).toEqual([
      201,
      first.body,
      "true",
    ]);
    expect(await refused(robo, "POST", path, { ...passed, status: "failed" }, key)).toBe(
      "422 idempotency_mismatch",
    );
    expect(await db.select().from(checks).where(eq(checks.iterationId, iteration))).toHaveLength(1);
  });

  test("is listed newest first, in pages, and by kind", async () => {
    const { path } = await newIteration();
    const made: string[] = [];
    for (const kind of ["test", "lint", "test", "security", "test"])
      made.unshift((await ok<CheckView>(robo, "POST", path, { kind, status: "passed" })).id);
    const ids = ({ data }: Page) => data.map(({ id }) => id);
    const first = await ok<Page>(vera, "GET", `${path}?limit=3`);
    const rest = await ok<Page>(vera, "GET", `${path}?limit=3&cursor=${first.next_cursor}`);
    expect([...ids(first), ...ids(rest), rest.next_cursor]).toEqual([...made, null]);
    expect(ids(await ok<Page>(vera, "GET", `${path}?kind=test`))).toEqual([
      made[0] ?? "",
      made[2] ?? "",
      made[4] ?? "",
    ]);
    expect(await refused(vera, "GET", `${path}?kind=smoke`)).toBe("400 invalid_request");
    const other = await newIteration();
    expect(await refused(vera, "GET", `${other.path}?cursor=${first.next_cursor}`)).toBe(
      "400 invalid_request",
    );
  });

  test("is never lost among 40 that come at once, whose order all see alike", async () => {
    const { path } = await newIteration();
    const made = await Promise.all(
      Array.from({ length: 40 }, () => ok<CheckView>(robo, "POST", path, passed)),
    );
    const [seen, seenAgain] = await Promise.all([ok<Page>(vera, "GET", path), ok<Page>(olga, "GET", path)]);
    expect(seenAgain).toEqual(seen);
    expect(seen.data.map(({ id }) => id).sort()).toEqual(made.map(({ id }) => id).sort());
  });
});

type Page = { data: CheckView[]; next_cursor: string | null };
