import { afterAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { newId } from "../../platform/ids.ts";
import { basicOf, deskUrl, localActor } from "../../testing/desk.ts";
import {
  accessTokenType,
  appOf,
  claimsOf,
  exchanging,
  granted,
  newPerson,
  openOAuth,
  refusedAfter,
} from "../../testing/oauth.ts";
import { putSession } from "../../testing/objects.ts";
import { refusalOf } from "../../testing/refusals.ts";
import type { IssuedToken } from "./contract.ts";

const desk = await openOAuth();
afterAll(() => desk.close());

const newProject = async (name: string) => (await desk.projects.create(localActor, { name })).id;
const [alpha, beta] = [await newProject("Alpha"), await newProject("Beta")];
const join = (projectId: string, userId: string, role: "owner" | "editor" | "viewer") =>
  desk.projects.setMember(localActor, { projectId, userId, role }, null);
const runner = await desk.clients.create(localActor, {
  name: "robo",
  kind: "runner",
  projectId: alpha,
  scope: "llm:chat control:read control:write usage:read",
});
const desktop = appOf(desk.send);
const put = (projectId: string) => putSession(desk.database, projectId);

type Fields = Parameters<typeof exchanging>[1];
const exchange = (token: string, fields: Fields = {}, headers: Record<string, string> = {}) =>
  desk.send("/oauth/token", { method: "POST", headers, body: exchanging(token, fields) });
const child = async (token: string, fields: Fields = {}) =>
  (await granted<IssuedToken>(exchange(token, fields))).access_token;
const runnersToken = async (fields: Record<string, string> = {}) =>
  (await granted<IssuedToken>(desk.ask(runner, fields))).access_token;
const revoke = (token: string) =>
  desk.send("/oauth/revoke", {
    method: "POST",
    headers: { authorization: basicOf(runner) },
    body: new URLSearchParams({ token }),
  });

describe("a runner's token", () => {
  test("is narrowed to a scope, a session, a plane and a shorter life", async () => {
    const parent = await runnersToken();
    const session = await put(alpha);
    const response = await exchange(parent, {
      scope: "usage:read llm:chat",
      session_id: session,
      project_id: alpha,
      resource: `${deskUrl}/v1`,
      ttl_seconds: "60",
      requested_token_type: accessTokenType,
    });
    expect([response.headers.get("cache-control"), response.headers.get("pragma")]).toEqual([
      "no-store",
      "no-cache",
    ]);
    const answer = await granted<IssuedToken>(response);
    expect(answer).toEqual({
      access_token: expect.any(String),
      issued_token_type: accessTokenType,
      token_type: "Bearer",
      expires_in: 60,
      scope: "llm:chat usage:read",
    });
    const { jti, iat, nbf, exp, ...claims } = claimsOf(answer.access_token);
    expect(claims).toEqual({
      iss: deskUrl,
      sub: runner.client_id,
      client_id: runner.client_id,
      aud: `${deskUrl}/v1`,
      scope: "llm:chat usage:read",
      role: "runner",
      project_id: alpha,
      session_id: session,
    });
    expect(jti).toStartWith(`${claimsOf(parent).jti}~`);
    expect(Number(exp) - Number(nbf)).toBe(60);
    expect(await desk.knock(answer.access_token, "llm")).toBe(200);
    expect(await desk.knock(answer.access_token, "control")).toBe(401);
  });

  test("keeps the session that it has", async () => {
    const session = await put(alpha);
    const parent = await runnersToken({ session_id: session });
    expect(claimsOf(await child(parent)).session_id).toBe(session);
    expect(claimsOf(await child(parent, { session_id: session })).session_id).toBe(session);
  });

  test("lives no longer than what is left of its parent's life", async () => {
    const parent = await runnersToken({ ttl_seconds: "120" });
    desk.clock.move(100_000);
    const answer = await granted<IssuedToken>(exchange(parent, { ttl_seconds: "3600" }));
    expect(answer.expires_in).toBeLessThanOrEqual(20);
    expect(claimsOf(answer.access_token).exp).toBe(claimsOf(parent).exp as number);
    desk.clock.move(21_000);
    expect(await desk.knock(answer.access_token)).toBe(401);
  });

  test("needs no client beside it, and takes only its own", async () => {
    const parent = await runnersToken();
    await granted(exchange(parent, {}, { authorization: basicOf(runner) }));
    const { client_id, client_secret = "" } = runner;
    await granted(exchange(parent, { client_id, client_secret }));
  });

  test("ends its children and theirs, and outlives them", async () => {
    const parent = await runnersToken();
    const middle = await child(parent);
    const last = await child(middle);
    const sibling = await child(parent);
    for (const token of [parent, middle, last, sibling]) expect(await desk.knock(token)).toBe(200);
    await granted(revoke(middle));
    await refusedAfter(desk.send, middle, last);
    expect(await refusalOf(await exchange(middle))).toBe("invalid_request");
    for (const token of [parent, sibling]) expect(await desk.knock(token)).toBe(200);
    await granted(revoke(parent));
    await refusedAfter(desk.send, parent, sibling);
  });

  test("is handed on eight times", async () => {
    let token = await runnersToken();
    for (let i = 0; i < 8; i++) token = await child(token);
    expect(await desk.knock(token)).toBe(200);
    expect(token.length).toBeLessThan(4_096);
    expect(await refusalOf(await exchange(token))).toBe("invalid_request");
  });

  test("narrowed in a chain of any requests never holds more than the one before", async () => {
    const scopes = ["llm:chat", "control:read", "control:write", "usage:read", "admin", "mcp:read"];
    const [one, other, elsewhere] = [await put(alpha), await put(alpha), await put(beta)];
    const places = ["", "/v1", "/mcp", "/api/v1", "/oauth"].map((path) => deskUrl + path);
    const some = (values: string[]) => fc.option(fc.subarray(values, { minLength: 1 }), { nil: [] });
    const asked = fc.record({
      scope: some(scopes).map((chosen) => (chosen.length === 0 ? [] : chosen.join(" "))),
      resource: some(places),
      session_id: fc.constantFrom([], one, other, elsewhere),
      project_id: fc.constantFrom([], alpha, beta),
      ttl_seconds: fc.constantFrom([], "60", "900", "3600"),
    });
    const all = ["", "/v1", "/mcp", "/api/v1"].map((path) => deskUrl + path);
    const opens = (aud: unknown) => [aud].flat().flatMap((one) => (one === deskUrl ? all : [one as string]));
    const chain = fc.array(asked, { minLength: 1, maxLength: 4 });
    const property = fc.asyncProperty(chain, async (requests) => {
      let token = await runnersToken({ scope: "llm:chat control:read usage:read" });
      for (const request of requests) {
        const response = await exchange(token, request);
        if (!response.ok) {
          expect(await refusalOf(response)).toMatch(/^invalid_(?:request|scope|target)$/);
          continue;
        }
        const next = (await granted<IssuedToken>(response)).access_token;
        const [parent, made] = [claimsOf(token), claimsOf(next)];
        const held = String(parent.scope).split(" ");
        for (const scope of String(made.scope).split(" ")) expect(held).toContain(scope);
        for (const place of opens(made.aud)) expect(opens(parent.aud)).toContain(place);
        expect(made.exp as number).toBeLessThanOrEqual(parent.exp as number);
        expect([made.sub, made.client_id, made.project_id, made.role]).toEqual([
          parent.sub,
          parent.client_id,
          parent.project_id,
          parent.role,
        ]);
        if (parent.session_id !== undefined) expect(made.session_id).toBe(parent.session_id);
        token = next;
      }
    });
    await fc.assert(property, { numRuns: 200 });
  });
});

describe("a person's token", () => {
  test("is bound to a project of theirs, and acts in it alone", async () => {
    const ed = await newPerson(desk);
    await join(alpha, ed.id, "editor");
    await join(beta, ed.id, "viewer");
    const { access_token } = await desktop.signIn(ed, { scope: "llm:chat control:read" });
    const bound = await child(access_token, { project_id: alpha });
    expect(claimsOf(bound)).toMatchObject({ sub: ed.id, project_id: alpha, role: "user" });
    const look = (token: string, project: string) =>
      desk.send(`/api/v1/projects/${project}`, { headers: { authorization: `Bearer ${token}` } });
    const seen = async (token: string) => [
      (await look(token, alpha)).status,
      (await look(token, beta)).status,
    ];
    expect(await seen(access_token)).toEqual([200, 200]);
    expect(await seen(bound)).toEqual([200, 404]);
    expect(await refusalOf(await exchange(bound, { project_id: beta }))).toBe("invalid_request");
    const session = await put(alpha);
    expect(claimsOf(await child(bound, { session_id: session }))).toMatchObject({
      project_id: alpha,
      session_id: session,
    });
  });

  test("bound to a project ends with the membership", async () => {
    const vera = await newPerson(desk);
    await join(alpha, vera.id, "editor");
    const { access_token } = await desktop.signIn(vera);
    const bound = await child(access_token, { project_id: alpha });
    const theirs = await child(bound);
    for (const token of [access_token, bound, theirs]) expect(await desk.knock(token)).toBe(200);
    await desk.projects.removeMember(localActor, { projectId: alpha, userId: vera.id }, null);
    const took = await refusedAfter(desk.send, bound, theirs);
    expect(took).toBeLessThan(2_000);
    expect(await desk.knock(access_token)).toBe(200);
    expect(await refusalOf(await exchange(access_token, { project_id: alpha }))).toBe("invalid_request");
  });

  test("bound to a project says no more than the person's role there leaves", async () => {
    const vera = await newPerson(desk);
    await join(alpha, vera.id, "viewer");
    const scope = "llm:chat control:read control:write";
    const { access_token } = await desktop.signIn(vera, { scope });
    const bound = await granted<IssuedToken>(exchange(access_token, { project_id: alpha }));
    expect(bound.scope).toBe("control:read");
    expect(await desk.knock(bound.access_token)).toBe(403);
    const wide = await exchange(access_token, { project_id: alpha, scope: "control:write" });
    expect(await refusalOf(wide)).toBe("invalid_scope");
    const chat = await child(access_token, { scope: "llm:chat" });
    expect(await refusalOf(await exchange(chat, { project_id: alpha }))).toBe("invalid_scope");
  });

  test("ends its children with its sign-in", async () => {
    const pair = await desktop.signIn(await newPerson(desk));
    const made = await child(await child(pair.access_token));
    expect(await desk.knock(made)).toBe(200);
    await granted(desktop.revoke(pair.refresh_token));
    await refusedAfter(desk.send, made);
  });

  test("made for a helper makes no keys and no clients", async () => {
    const ada = await newPerson(desk, "admin");
    const { access_token } = await desktop.signIn(ada, { scope: "control:write llm:chat admin" });
    const made = await child(access_token);
    const newKey = (token: string) =>
      desk.send("/api/v1/keys", {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify({ scope: "llm:chat" }),
      });
    const ends = (token: string) =>
      desk.send("/api/v1/me/sessions/sgn_x", {
        method: "DELETE",
        headers: { authorization: `Bearer ${token}` },
      });
    // An app acts for its person's sign-ins, its helper does not, and neither makes what would outlive it.
    expect([(await ends(access_token)).status, (await ends(made)).status]).toEqual([404, 403]);
    expect([(await newKey(access_token)).status, (await newKey(made)).status]).toEqual([403, 403]);
  });

  test("of an administrator is bound to any project that is there and open, and to no other", async () => {
    const ada = await newPerson(desk, "admin");
    const { access_token } = await desktop.signIn(ada, { scope: "llm:chat admin" });
    expect(await desk.knock(await child(access_token, { project_id: beta }))).toBe(200);
    const gone = await newProject("Gone");
    await desk.database.sql`update projects set archived_at = now() where id = ${gone}`;
    for (const project_id of [newId("prj"), gone, "prj_x", "\u0000", ada.id])
      expect([project_id, await refusalOf(await exchange(access_token, { project_id }))]).toEqual([
        project_id,
        "invalid_request",
      ]);
  });

  test("leaves an audit entry that names parent and child", async () => {
    const person = await newPerson(desk);
    const { access_token } = await desktop.signIn(person);
    const made = await child(access_token, { scope: "llm:chat", ttl_seconds: "60" });
    const rows = await desk.database.sql`
      select actor, client_id, outcome, details from audit where action = 'token.exchanged' and actor = ${person.id}`;
    expect(rows.map((row) => ({ ...row }))).toEqual([
      {
        actor: person.id,
        client_id: "specgate-desktop",
        outcome: "ok",
        details: {
          jti: claimsOf(made).jti,
          parent: claimsOf(access_token).jti,
          scope: "llm:chat",
          ttl_seconds: 60,
        },
      },
    ]);
  });
});
