/**
 * Changes as the outside sees them: whole or not at all, and with an `Idempotency-Key` once.
 */
import { describe, expect, test } from "bun:test";
import type { SessionView } from "../features/sessions/contract.ts";
import { localActor } from "../testing/desk.ts";
import { startGateway } from "../testing/gateway.ts";
import { call, ok, refused } from "../testing/wire.ts";
import { connect } from "./connection.ts";

const gateway = await startGateway();
const { robo, database } = gateway;
const { olga, ed } = await gateway.people();
const path = `/projects/${robo.projectId}/sessions`;

const keyed = (key: string) => ({ "idempotency-key": key });
const countSessions = async (title: string): Promise<number> => {
  const [row] = await database.sql<{ count: number }[]>`
    select count(*)::int as count from sessions where title = ${title}`;
  return row?.count ?? 0;
};

describe("a POST with an Idempotency-Key", () => {
  test("acts once, and its repeat gets the first answer", async () => {
    const first = await call<SessionView>(robo, "POST", path, { title: "once" }, keyed("k1"));
    await ok(robo, "PATCH", `/sessions/${first.body.id}`, { notes: "moved on" });
    const again = await call<SessionView>(robo, "POST", path, { title: "once" }, keyed("k1"));
    expect([first.http, first.headers.get("idempotent-replayed")]).toEqual([201, null]);
    expect([again.http, again.headers.get("idempotent-replayed")]).toEqual([201, "true"]);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get("etag")).toBe('"1"');
    expect(again.headers.get("x-request-id")).not.toBe(first.headers.get("x-request-id"));
    expect(await countSessions("once")).toBe(1);
  });

  test("refuses another body under the same key", async () => {
    await ok(robo, "POST", path, { title: "a body" }, keyed("k2"));
    expect(await refused(robo, "POST", path, { title: "another" }, keyed("k2"))).toBe(
      "422 idempotency_mismatch",
    );
    expect(await countSessions("another")).toBe(0);
  });

  test("acts once when 50 are sent at the same time", async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => call(robo, "POST", path, { title: "at once" }, keyed("k3"))),
    );
    const kinds = new Set(answers.map(({ http, body }) => `${http} ${body.code ?? ""}`.trim()));
    expect([...kinds].filter((kind) => kind !== "201" && kind !== "409 in_progress")).toEqual([]);
    expect(new Set(answers.filter(({ http }) => http === 201).map(({ body }) => body.id)).size).toBe(1);
    expect(await countSessions("at once")).toBe(1);
  });

  test("belongs to one principal and one path", async () => {
    const mine = await ok<SessionView>(robo, "POST", path, { title: "mine" }, keyed("k4"));
    const yours = await ok<SessionView>(ed, "POST", path, { title: "mine" }, keyed("k4"));
    expect(yours.id).not.toBe(mine.id);
    const iteration = await call(robo, "POST", `/sessions/${mine.id}/iterations`, {}, keyed("k4"));
    expect([iteration.http, iteration.headers.get("idempotent-replayed")]).toEqual([201, null]);
  });

  test("repeats a refusal as it was, even when it would be granted now", async () => {
    const session = await ok<SessionView>(robo, "POST", path, { title: "closed" });
    await ok(ed, "PATCH", `/sessions/${session.id}`, { status: "cancelled" });
    const start = `/sessions/${session.id}/iterations`;
    const first = await call(robo, "POST", start, {}, keyed("k5"));
    await ok(ed, "PATCH", `/sessions/${session.id}`, { status: "open" });
    const again = await call(robo, "POST", start, {}, keyed("k5"));
    expect([first.http, first.body.code]).toEqual([409, "closed"]);
    expect([again.http, again.headers.get("idempotent-replayed")]).toEqual([409, "true"]);
    expect(again.headers.get("content-type")).toBe("application/problem+json");
    expect(again.body).toEqual(first.body);
    expect((await call(robo, "POST", start, {}, keyed("k5 again"))).http).toBe(201);
  });

  test("repeated at the same time as its repeats gets the first answer each time", async () => {
    const first = await ok<SessionView>(robo, "POST", path, { title: "again" }, keyed("k12"));
    const repeats = await Promise.all(
      Array.from({ length: 20 }, () => call(robo, "POST", path, { title: "again" }, keyed("k12"))),
    );
    expect(repeats.map(({ http, body }) => [http, body.id])).toEqual(repeats.map(() => [201, first.id]));
  });

  test("is one request, however its path is spelled", async () => {
    const { id } = await ok<SessionView>(robo, "POST", path, { title: "spelled" });
    const spelled = [`/sessions/${id}/iterations`, `/sessions/${id.replace("_", "%5F")}/iterations`];
    const made = [];
    for (const one of spelled) made.push(await ok<{ number: number }>(robo, "POST", one, {}, keyed("k13")));
    expect(made.map(({ number }) => number)).toEqual([1, 1]);
  });

  test("keeps no refusal that another credential of the caller would not get, and answers none that may not ask", async () => {
    const session = await ok<SessionView>(robo, "POST", path, { title: "keys" });
    const subject = { action: "deploy", subject_sha256: "0".repeat(64) };
    const asked = { ...subject, reason: "x" };
    const { id } = await ok<{ id: string }>(robo, "POST", `/sessions/${session.id}/approvals`, asked);
    await ok(olga, "POST", `/approvals/${id}/decision`, { decision: "approve" });
    const { key } = await gateway.keys.create(localActor, {
      owner: { clientId: robo.id },
      scope: "llm:chat",
    });
    const weak = gateway.as(key);
    const consume = (who: typeof weak) =>
      refused(who, "POST", `/approvals/${id}/consumption`, subject, keyed("k14"));
    expect(await consume(weak)).toBe("403 insufficient_scope");
    expect(await consume(robo)).toBe("200");
    expect(await consume(weak)).toBe("403 insufficient_scope");
    expect(await consume(robo)).toBe("200");
  });

  test("shows a secret once: it is null in the repeat, and nowhere in the database", async () => {
    const body = { scope: "control:read", project_id: robo.projectId };
    const first = await call<{ id: string; key: string | null }>(olga, "POST", "/keys", body, keyed("k6"));
    const again = await call<{ id: string; key: string | null }>(olga, "POST", "/keys", body, keyed("k6"));
    expect(first.body.key).toStartWith("sgk_");
    expect(again.body).toEqual({ ...first.body, key: null });
    const client = { name: "ci", kind: "runner", project_id: robo.projectId, scope: "control:read" };
    const made = await call<Secret>(olga, "POST", "/clients", client, keyed("k7"));
    const remade = await call<Secret>(olga, "POST", "/clients", client, keyed("k7"));
    expect(remade.body).toEqual({ ...made.body, client_secret: null });
    const rotation = `/clients/${made.body.client_id}/rotation`;
    const rotated = await call<Secret>(olga, "POST", rotation, undefined, keyed("k8"));
    const rerotated = await call<Secret>(olga, "POST", rotation, undefined, keyed("k8"));
    expect(rotated.body.client_secret).not.toBe(made.body.client_secret);
    expect(rerotated.body).toEqual({ ...rotated.body, client_secret: null });
    const [row] = await database.sql`select string_agg(body, ' ') as all from idempotency`;
    for (const secret of [first.body.key, made.body.client_secret, rotated.body.client_secret])
      expect(row?.all).not.toContain(secret ?? "?");
  });

  test("works for projects and people too", async () => {
    const one = await ok<{ id: string }>(olga, "POST", "/projects", { name: "twice" }, keyed("k9"));
    const two = await ok<{ id: string }>(olga, "POST", "/projects", { name: "twice" }, keyed("k9"));
    expect(two.id).toBe(one.id);
    // Whoever makes a project finds it at once.
    expect((await call(olga, "GET", `/projects/${one.id}`)).http).toBe(200);
  });

  test("is forgotten after a day", async () => {
    await ok(robo, "POST", path, { title: "yesterday" }, keyed("k10"));
    await database.sql`update idempotency set at = at - interval '24 hours 1 second' where key = 'k10'`;
    const anew = await call(robo, "POST", path, { title: "yesterday" }, keyed("k10"));
    expect([anew.http, anew.headers.get("idempotent-replayed")]).toEqual([201, null]);
    expect(await countSessions("yesterday")).toBe(2);
  });

  test("has 1 to 255 characters", async () => {
    expect(await refused(robo, "POST", path, { title: "x" }, keyed("x".repeat(256)))).toBe(
      "400 invalid_request",
    );
    expect((await call(robo, "POST", path, { title: "x" }, keyed("x".repeat(255)))).http).toBe(201);
  });
});

describe("a change", () => {
  test("that cannot be written to the audit log does not happen, and may be sent again", async () => {
    // The gateway draws an audit row's id from this sequence, and may do so no longer.
    const options = { applicationName: "owner", prepare: false, connectionsMax: 1, statementTimeoutMs: null };
    const owner = connect(gateway.owner, options);
    await owner`revoke usage on sequence audit_id_seq from specgate`;
    const failed = await call(robo, "POST", path, { title: "unaudited" }, keyed("k11"));
    expect([failed.http, failed.body.code]).toEqual([503, "unavailable"]);
    expect(await countSessions("unaudited")).toBe(0);
    const [told] = await database.sql`
      select count(*)::int as count from events where payload->>'title' = 'unaudited'`;
    expect(told?.count).toBe(0);
    await owner`grant usage on sequence audit_id_seq to specgate`;
    await owner.end();
    const again = await call(robo, "POST", path, { title: "unaudited" }, keyed("k11"));
    expect([again.http, again.headers.get("idempotent-replayed")]).toEqual([201, null]);
  });

  test("leaves one audit row and one event, with who and where", async () => {
    const made = await call<SessionView>(robo, "POST", path, { title: "recorded" });
    const { id } = made.body;
    const rows = await database.sql`select * from audit where subject = ${id}`;
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({
      action: "session.created",
      actor: robo.id,
      actor_kind: "client",
      project_id: robo.projectId,
      session_id: id,
      request_id: made.headers.get("x-request-id"),
      outcome: "ok",
    });
    const events = await database.sql`select type, project_id from events where payload->>'id' = ${id}`;
    expect([...events]).toEqual([{ type: "session.created", project_id: robo.projectId }]);
  });
});

type Secret = { client_id: string; client_secret: string | null };
