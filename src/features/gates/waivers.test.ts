import { describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { audit, events, waivers } from "../../db/schema.ts";
import { startGateway } from "../../testing/gateway.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { EvaluationView, WaiverView } from "./contract.ts";
import type { JudgedGate } from "./judge.ts";

const gateway = await startGateway();
const { robo, mallory, nobody } = gateway;
const { db } = gateway.database;
const { ada, olga, ed, vera, stranger } = await gateway.people();

type Made = { id: string };
async function newIteration(): Promise<{ session: string; iteration: string; path: string }> {
  const sessions = `/projects/${robo.projectId}/sessions`;
  const { id: session } = await ok<Made>(robo, "POST", sessions, { title: "Login by e-mail" });
  const { id: iteration } = await ok<Made>(robo, "POST", `/sessions/${session}/iterations`, {});
  return { session, iteration, path: `/iterations/${iteration}/waivers` };
}
const inDays = (days: number): string => new Date(Date.now() + days * 86_400_000).toISOString();
const newWaiver = (gate = "tests", expires_at = inDays(1)) => ({
  gate,
  reason: "the test farm burns",
  expires_at,
});
const gatesOf = async (iteration: string): Promise<JudgedGate[]> =>
  (await ok<EvaluationView>(robo, "POST", `/iterations/${iteration}/gate-evaluations`))
    .checks as JudgedGate[];
const waive = async (path: string, gate?: string) => ok<WaiverView>(olga, "POST", path, newWaiver(gate));

describe("a waiver", () => {
  test("lets its gate pass and names itself, in its iteration alone", async () => {
    const { session, iteration, path } = await newIteration();
    const made = await call<WaiverView>(olga, "POST", path, newWaiver());
    expect([made.http, made.headers.get("etag")]).toEqual([201, '"1"']);
    const { id } = made.body;
    expect(made.body).toMatchObject({
      project_id: robo.projectId,
      session_id: session,
      iteration_id: iteration,
      gate: "tests",
      reason: "the test farm burns",
      active: true,
      created_by: olga.id,
      revoked_by: null,
      revoked_at: null,
      version: 1,
    });
    const judged = await gatesOf(iteration);
    expect(judged.find(({ name }) => name === "tests")).toEqual({
      name: "tests",
      ok: true,
      code: "waived",
      details: { code: "check_missing", kind: "test", name: null },
      waived_by: id,
    });
    expect(judged.filter((gate) => gate.ok).map(({ name }) => name)).toEqual(["tests"]);
    const next = await ok<Made>(robo, "POST", `/sessions/${session}/iterations`, {});
    expect((await gatesOf(next.id)).some((gate) => gate.ok)).toBe(false);
  });

  test("lets an iteration and its session pass when every gate that fails is waived", async () => {
    const { session, iteration, path } = await newIteration();
    for (const gate of ["tasks", "tests", "coverage"]) await waive(path, gate);
    expect(await refused(robo, "PATCH", `/iterations/${iteration}`, { status: "passed" })).toBe(
      "409 gate_failed",
    );
    await waive(path, "security");
    await ok(robo, "PATCH", `/iterations/${iteration}`, { status: "passed" });
    await ok(robo, "PATCH", `/sessions/${session}`, { status: "completed" });
  });

  test("counts no more once it has expired", async () => {
    const { iteration, path } = await newIteration();
    const { id } = await waive(path);
    expect((await gatesOf(iteration))[1]).toMatchObject({ code: "waived", waived_by: id });
    await db.update(waivers).set({ expiresAt: new Date() }).where(eq(waivers.id, id));
    expect((await gatesOf(iteration))[1]).toMatchObject({ ok: false, code: "check_missing" });
    const { data } = await ok<Page>(vera, "GET", path);
    expect(data.map(({ active }) => active)).toEqual([false]);
  });

  test("counts no more once it is revoked, which may be said twice", async () => {
    const { iteration, path } = await newIteration();
    const { id } = await waive(path);
    const revoked = await call<WaiverView>(ada, "DELETE", `/waivers/${id}`, undefined, { "if-match": '"1"' });
    expect([revoked.http, revoked.headers.get("etag")]).toEqual([200, '"2"']);
    expect(revoked.body).toMatchObject({ active: false, revoked_by: ada.id, version: 2 });
    expect((await gatesOf(iteration))[1]).toMatchObject({ ok: false, code: "check_missing" });
    expect(await ok<WaiverView>(olga, "DELETE", `/waivers/${id}`)).toEqual(revoked.body);
    expect(await refused(olga, "DELETE", `/waivers/${id}`, undefined, { "if-match": '"1"' })).toBe(
      "412 stale_version",
    );
  });

  test("is revoked once, whoever does it at the same time", async () => {
    const { path } = await newIteration();
    const { id } = await waive(path);
    const all = await Promise.all(
      Array.from({ length: 10 }, () => ok<WaiverView>(olga, "DELETE", `/waivers/${id}`)),
    );
    for (const one of all) expect(one).toEqual(all[0] as WaiverView);
    expect(all[0]?.version).toBe(2);
    expect((await entries(id)).map(({ action }) => action)).toEqual(["waiver.created", "waiver.revoked"]);
  });

  test("is given and taken back by owners and administrators, and never by a machine", async () => {
    const { path } = await newIteration();
    const { id } = await ok<WaiverView>(ada, "POST", path, newWaiver());
    const rows = [
      [robo, "403 people_only"],
      [mallory, "403 people_only"],
      [ed, "403 insufficient_role"],
      [vera, "403 insufficient_role"],
      [stranger, "404 not_found"],
      [nobody, "401 unauthenticated"],
    ] as const;
    for (const [who, answer] of rows) {
      expect([who.id, await refused(who, "POST", path, newWaiver())]).toEqual([who.id, answer]);
      expect([who.id, await refused(who, "DELETE", `/waivers/${id}`)]).toEqual([who.id, answer]);
    }
    for (const who of [mallory, stranger]) expect(await refused(who, "GET", path)).toBe("404 not_found");
    expect(await refused(nobody, "GET", path)).toBe("401 unauthenticated");
  });

  test("names a gate that the project has, says why, and ends within 90 days", async () => {
    const { path } = await newIteration();
    const mistakes = async (body: object) => {
      const answered = await call<{ errors: { path: string; message: string }[] }>(olga, "POST", path, body);
      return [answered.http, answered.body.errors.map((error) => error.path).sort()];
    };
    expect(await mistakes({ gate: 7, reason: " ", expires_at: "tomorrow", colour: "red" })).toEqual([
      422,
      ["colour", "expires_at", "gate", "reason"],
    ]);
    expect(await mistakes({ ...newWaiver(), reason: "x".repeat(2_001) })).toEqual([422, ["reason"]]);
    expect(await mistakes({ ...newWaiver("licences"), expires_at: inDays(90.1) })).toEqual([
      422,
      ["expires_at", "gate"],
    ]);
    expect(await mistakes({ ...newWaiver(), expires_at: inDays(-0.001) })).toEqual([422, ["expires_at"]]);
    expect(await mistakes({ ...newWaiver(), expires_at: "2026-01-01" })).toEqual([422, ["expires_at"]]);
    const unknown = await call<{ errors: { message: string }[] }>(olga, "POST", path, newWaiver("licences"));
    expect(unknown.body.errors[0]?.message).toBe(
      "This project has no such gate; it has tasks, tests, coverage, security.",
    );
    const offset = inDays(89.9).replace("Z", "+00:00");
    await ok(olga, "POST", path, newWaiver("tests", offset));
    await ok(olga, "PUT", `/projects/${robo.projectId}/gate-policy`, { custom: ["licences"] });
    await ok(olga, "POST", path, newWaiver("licences"));
    await ok(olga, "PUT", `/projects/${robo.projectId}/gate-policy`, {});
  });

  test("changes nothing where nothing changes any more", async () => {
    const { session, path } = await newIteration();
    const { id } = await waive(path);
    await ok(robo, "PATCH", `/sessions/${session}`, { status: "failed" });
    expect(await refused(olga, "POST", path, newWaiver())).toBe("409 closed");
    expect(await refused(olga, "DELETE", `/waivers/${id}`)).toBe("409 closed");
    const project = await ok<Made>(ada, "POST", "/projects", { name: "short-lived" });
    const archived = await ok<Made>(ada, "POST", `/projects/${project.id}/sessions`, { title: "x" });
    const iteration = await ok<Made>(ada, "POST", `/sessions/${archived.id}/iterations`, {});
    const kept = await ok<Made>(ada, "POST", `/iterations/${iteration.id}/waivers`, newWaiver());
    await ok(ada, "DELETE", `/projects/${project.id}`);
    expect(await refused(ada, "POST", `/iterations/${iteration.id}/waivers`, newWaiver())).toBe("409 closed");
    expect(await refused(ada, "DELETE", `/waivers/${kept.id}`)).toBe("409 closed");
  });

  test("is told and recorded, its reason not among the details", async () => {
    const { session, iteration, path } = await newIteration();
    const { id } = await waive(path);
    await ok(olga, "DELETE", `/waivers/${id}`);
    const told = await db.select().from(events).where(eq(events.sessionId, session)).orderBy(events.id);
    expect(told.filter(({ type }) => type.startsWith("waiver."))).toMatchObject([
      { type: "waiver.created", payload: { id, version: 1, iteration_id: iteration, active: true } },
      { type: "waiver.updated", payload: { id, version: 2, iteration_id: iteration, active: false } },
    ]);
    const recorded = await entries(id);
    expect(recorded).toMatchObject([
      { action: "waiver.created", actor: olga.id, projectId: robo.projectId, sessionId: session },
      { action: "waiver.revoked", actor: olga.id, projectId: robo.projectId, sessionId: session },
    ]);
    expect(JSON.stringify(recorded)).not.toContain("burns");
  });

  test("is given once under an Idempotency-Key", async () => {
    const { iteration, path } = await newIteration();
    const key = { "idempotency-key": "only once" };
    const body = newWaiver();
    const all = await Promise.all(
      Array.from({ length: 5 }, () => call<WaiverView>(olga, "POST", path, body, key)),
    );
    for (const { http } of all) expect([201, 409]).toContain(http);
    const again = await call<WaiverView>(olga, "POST", path, body, key);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    const rows = await db.select().from(waivers).where(eq(waivers.iterationId, iteration));
    expect(rows.map(({ id }) => id)).toEqual([again.body.id]);
  });

  test("is listed newest first, in pages", async () => {
    const { path } = await newIteration();
    const made: string[] = [];
    for (const gate of ["tests", "tasks", "tests"]) made.unshift((await waive(path, gate)).id);
    const first = await ok<Page>(vera, "GET", `${path}?limit=2`);
    const rest = await ok<Page>(vera, "GET", `${path}?limit=2&cursor=${first.next_cursor}`);
    expect([...first.data, ...rest.data].map(({ id }) => id)).toEqual(made);
    expect(rest.next_cursor).toBeNull();
    expect(await refused(vera, "GET", `${path}?active=true`)).toBe("400 invalid_request");
  });
});

const entries = (subject: string) =>
  db.select().from(audit).where(eq(audit.subject, subject)).orderBy(audit.id);

type Page = { data: WaiverView[]; next_cursor: string | null };
