import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { localActor } from "../../testing/desk.ts";
import { type Actor, type People, startGateway, type TestGateway } from "../../testing/gateway.ts";
import { bodyOf, json, type Me, newApp, refusalOf } from "../../testing/people.ts";
import type { ClientLine, CreatedClient, CreatedKey, KeyLine } from "./contract.ts";

let gateway: TestGateway;
let people: People;
let projectId: string;
let olgasKey: Actor;
beforeAll(async () => {
  gateway = await startGateway();
  people = await gateway.people();
  projectId = gateway.robo.projectId;
  olgasKey = await keyOf(people.olga, "llm:chat control:read control:write");
});
afterAll(() => gateway.close());

async function keyOf(
  person: { email: string },
  scope: string,
  boundTo: string | null = null,
): Promise<Actor> {
  const key = { owner: { userEmail: person.email }, projectId: boundTo, scope };
  return gateway.as((await gateway.keys.create(localActor, key)).key);
}
async function appOf(person: { id: string }, scope: string, role: "admin" | "user" = "user"): Promise<Actor> {
  return gateway.as((await newApp(gateway, { id: person.id, role }, { scope, aud: gateway.url })).token);
}
const post = (who: Actor, path: string, body: object) => who.fetch(path, json("POST", body));
const newClient = (who: Actor, body: object = {}) =>
  post(who, "/api/v1/clients", {
    name: "runner",
    kind: "runner",
    project_id: projectId,
    scope: "llm:chat",
    ...body,
  });
const newKey = (who: Actor, body: object = {}) => post(who, "/api/v1/keys", { scope: "llm:chat", ...body });
const clientAt = (id: string) => `/api/v1/clients/${id}`;
const keyAt = (id: string) => `/api/v1/keys/${id}`;
const remove = (who: Actor, path: string, headers: Record<string, string> = {}) =>
  who.fetch(path, { method: "DELETE", headers });
const change = (who: Actor, path: string, body: object, headers: Record<string, string> = {}) =>
  who.fetch(path, json("PATCH", body, headers));
const made = async (scope = "llm:chat", of = projectId) =>
  gateway.clients.create(localActor, { name: "made", kind: "runner", projectId: of, scope });
const issue = ({ client_id, client_secret = "" }: CreatedClient, fields: Record<string, string> = {}) =>
  fetch(`${gateway.url}/oauth/token`, {
    method: "POST",
    body: new URLSearchParams({ grant_type: "client_credentials", client_id, client_secret, ...fields }),
  });
const listOf = async <Line>(who: Actor, path: string) =>
  (await bodyOf<{ data: Line[] }>(who.fetch(`${path}?limit=200`))).data;
const everybodyElse = () => ({ ed: people.ed, vera: people.vera, stranger: people.stranger });
const foreignProject = () => gateway.mallory.projectId;

describe("a project's client", () => {
  test("is made by its owners and administrators, and its secret is shown once", async () => {
    for (const who of [people.olga, people.ada]) {
      const answer = await newClient(who);
      expect([answer.status, answer.headers.get("cache-control")]).toEqual([201, "no-store"]);
      const client = await bodyOf<CreatedClient>(answer);
      expect(client).toEqual({
        client_id: expect.stringMatching(/^cli_/),
        client_secret: expect.stringMatching(/^sgs_/),
        kind: "runner",
        scope: "llm:chat",
        project_id: projectId,
      });
      expect((await issue(client)).status).toBe(200);
      const secret = client.client_secret ?? "?";
      const read = await who.fetch(clientAt(client.client_id));
      expect(read.headers.get("etag")).toBe('"1"');
      const rows = await gateway.database.sql`select * from audit where subject = ${client.client_id}`;
      expect(rows.map(({ action, actor, project_id }) => [action, actor, project_id])).toContainEqual([
        "client.created",
        who.id,
        projectId,
      ]);
      for (const text of [
        await read.text(),
        JSON.stringify(await listOf(who, "/api/v1/clients")),
        JSON.stringify(rows),
      ]) {
        expect(text).not.toContain(secret);
        expect(text).not.toMatch(/secret_?hash/i);
      }
    }
  });

  test("is nobody's to make who owns no such project", async () => {
    const { ada, olga, ed, vera, stranger } = people;
    const refusals: [Promise<Response>, string][] = [
      [newClient(ed), "403 insufficient_role"],
      [newClient(vera), "403 insufficient_role"],
      [newClient(stranger), "404 not_found"],
      [newClient(olga, { project_id: foreignProject() }), "404 not_found"],
      [newClient(olga, { project_id: "prj_0" }), "404 not_found"],
      [newClient(olga, { project_id: null }), "403 insufficient_role"],
      [newClient(olga, { project_id: undefined }), "403 insufficient_role"],
      [newClient(ada, { project_id: "prj_0" }), "404 not_found"],
      [newClient(ada, { project_id: "\u0000" }), "400 invalid_request"],
      [newClient(gateway.robo), "403 people_only"],
      [newClient(olgasKey), "403 sign_in_needed"],
      [newClient(gateway.nobody), "401 unauthenticated"],
      [newClient(await appOf(olga, "llm:chat control:read")), "403 insufficient_scope"],
    ];
    const before = (await gateway.clients.list()).length;
    for (const [answer, refusal] of refusals) expect(await refusalOf(answer)).toBe(refusal);
    expect((await gateway.clients.list()).length).toBe(before);
  });

  test("without a project is an administrator's to make, with the scope that says so", async () => {
    const free = { project_id: null, kind: "service" };
    expect((await newClient(people.ada, free)).status).toBe(201);
    expect((await newClient(people.ada, { ...free, kind: "desktop" })).status).toBe(201);
    expect(await refusalOf(newClient(people.olga, free))).toBe("403 insufficient_role");
  });

  test.each<[string, object, string]>([
    ["a field that is not there", { secret: "mine" }, "422 invalid_request"],
    ["a kind that is not there", { kind: "user" }, "422 invalid_request"],
    ["scopes in a list", { scope: ["llm:chat"] }, "422 invalid_request"],
    ["a scope that is not there", { scope: "llm:all" }, "422 invalid_scope"],
    ["a person's scope", { scope: "approvals:decide" }, "422 invalid_scope"],
    ["the administrator's scope", { scope: "admin" }, "422 invalid_scope"],
    ["no scope", { scope: " " }, "422 invalid_scope"],
    ["a name with a line end", { name: "a\nb" }, "422 invalid_name"],
    ["a redirect", { redirect_uris: ["https://a.example/cb"] }, "422 invalid_redirect_uri"],
  ])("with %s is refused", async (_, body, refusal) => {
    for (const who of [people.olga, people.ada]) expect(await refusalOf(newClient(who, body))).toBe(refusal);
  });

  test("is seen and changed by its keepers alone; others find nothing", async () => {
    const { client_id: id } = await made("llm:chat control:read");
    const { client_id: foreign } = await made("llm:chat", foreignProject());
    const tries = (who: Actor, of: string) => [
      who.fetch(clientAt(of)),
      change(who, clientAt(of), { name: "mine" }),
      remove(who, clientAt(of)),
      who.fetch(`${clientAt(of)}/rotation`, { method: "POST" }),
    ];
    for (const [name, who] of Object.entries(everybodyElse())) {
      const refusals = await Promise.all(tries(who, id).map(refusalOf));
      expect([name, refusals]).toEqual([name, Array(4).fill("404 not_found")]);
    }
    for (const of of [foreign, "specgate-desktop", "cli_0", "'"]) {
      expect(await Promise.all(tries(people.olga, of).map(refusalOf))).toEqual(
        Array(4).fill("404 not_found"),
      );
    }
    expect(await Promise.all(tries(people.ada, "%00").map(refusalOf))).toEqual(
      Array(4).fill("400 invalid_request"),
    );
    expect(await Promise.all(tries(gateway.robo, id).map(refusalOf))).toEqual(
      Array(4).fill("403 people_only"),
    );
    const byKey = await Promise.all(tries(olgasKey, id).slice(1).map(refusalOf));
    expect(byKey).toEqual(Array(3).fill("403 sign_in_needed"));
    expect((await olgasKey.fetch(clientAt(id))).status).toBe(200);
    for (const who of [people.olga, people.ada]) expect((await who.fetch(clientAt(id))).status).toBe(200);
  });

  test("is listed to its keepers: owners theirs, administrators all", async () => {
    const { client_id: foreign } = await made("llm:chat", foreignProject());
    const { client_id: own } = await made();
    const idsOf = async (who: Actor) =>
      (await listOf<ClientLine>(who, "/api/v1/clients")).map(({ client_id }) => client_id);
    const all = await idsOf(people.ada);
    expect(all).toContainEqual(foreign);
    expect(all).toContainEqual("specgate-desktop");
    for (const who of [people.olga, olgasKey]) {
      const ids = await idsOf(who);
      expect(ids).toContain(own);
      expect(all.filter((id) => ids.includes(id)).length).toBe(ids.length);
      expect(ids).not.toContain(foreign);
      expect(ids).not.toContain("specgate-desktop");
    }
    for (const who of Object.values(everybodyElse())) expect(await idsOf(who)).toEqual([]);
    const first = await bodyOf<{ next_cursor: string }>(people.olga.fetch("/api/v1/clients?limit=1"));
    const foreignList = people.olga.fetch(`/api/v1/keys?cursor=${first.next_cursor}`);
    expect(await refusalOf(foreignList)).toBe("400 invalid_request");
  });

  test("is changed at the version that was seen, and what it may do changes at once", async () => {
    const client = await made("llm:chat control:read usage:read");
    const token = await bodyOf<{ access_token: string }>(issue(client));
    const runner = gateway.as(token.access_token);
    const scopes = async () => (await bodyOf<Me>(runner.fetch("/api/v1/me"))).scopes;
    expect(await scopes()).toEqual(["llm:chat", "control:read", "usage:read"]);
    const at = clientAt(client.client_id);
    const changed = await change(
      people.olga,
      at,
      { name: "x", scope: "control:read" },
      { "if-match": '"1"' },
    );
    expect(changed.headers.get("etag")).toBe('"2"');
    expect(await changed.json()).toMatchObject({ name: "x", scope: "control:read", version: 2 });
    expect(await scopes()).toEqual(["control:read"]);
    for (const stale of [
      change(people.olga, at, { name: "y" }, { "if-match": '"1"' }),
      remove(people.olga, at, { "if-match": '"1"' }),
    ]) {
      expect(await refusalOf(stale)).toBe("412 stale_version");
    }
    expect(await refusalOf(change(people.olga, at, {}, { "if-match": "2" }))).toBe("400 invalid_request");
    expect(await refusalOf(change(people.olga, at, { kind: "service" }))).toBe("422 invalid_request");
    expect(await bodyOf<ClientLine>(change(people.olga, at, {}))).toMatchObject({ version: 2 });
  });

  test("gets a new secret, and the old one stops at once; what was issued lives on", async () => {
    const client = await made();
    const { access_token } = await bodyOf<{ access_token: string }>(issue(client));
    const answer = await people.olga.fetch(`${clientAt(client.client_id)}/rotation`, { method: "POST" });
    expect([answer.status, answer.headers.get("cache-control")]).toEqual([201, "no-store"]);
    const rotated = await bodyOf<CreatedClient>(answer);
    expect(rotated).toEqual({ ...client, client_secret: expect.stringMatching(/^sgs_/) });
    expect([(await issue(client)).status, (await issue(rotated)).status]).toEqual([401, 200]);
    expect((await gateway.as(access_token).fetch("/v1/models")).status).toBe(200);
    await remove(people.olga, clientAt(client.client_id));
    const again = people.olga.fetch(`${clientAt(client.client_id)}/rotation`, { method: "POST" });
    expect(await refusalOf(again)).toBe("409 closed");
  });

  test("is revoked with all that came from it, at once and for good", async () => {
    const client = await made("llm:chat");
    const { access_token } = await bodyOf<{ access_token: string }>(issue(client));
    const { key } = await bodyOf<CreatedKey>(newKey(people.olga, { client_id: client.client_id }));
    const bearers = [access_token, key].map((bearer) => gateway.as(bearer));
    for (const who of bearers) expect((await who.fetch("/v1/models")).status).toBe(200);
    const at = clientAt(client.client_id);
    const revoked = await bodyOf<ClientLine>(remove(people.olga, at));
    expect(revoked).toMatchObject({ revoked_at: expect.any(String), version: 2 });
    for (const who of bearers) expect((await who.fetch("/v1/models")).status).toBe(401);
    expect((await issue(client)).status).toBe(401);
    expect(await bodyOf<ClientLine>(remove(people.olga, at))).toEqual(revoked);
    expect(await refusalOf(change(people.olga, at, { name: "again" }))).toBe("409 closed");
    expect(await refusalOf(newKey(people.olga, { client_id: client.client_id }))).toBe("409 closed");
  });

  test("that is built in is nobody's to change", async () => {
    const at = clientAt("specgate-desktop");
    expect((await people.ada.fetch(at)).status).toBe(200);
    expect(await refusalOf(change(people.ada, at, { redirect_uris: ["https://evil.example/cb"] }))).toBe(
      "409 built_in",
    );
    expect(await refusalOf(remove(people.ada, at))).toBe("409 built_in");
    expect(await refusalOf(people.ada.fetch(`${at}/rotation`, { method: "POST" }))).toBe(
      "422 invalid_request",
    );
    expect(await refusalOf(newKey(people.ada, { client_id: "specgate-desktop" }))).toBe(
      "422 invalid_request",
    );
  });
});

describe("nobody hands out what they do not hold themselves", () => {
  test("an owner's app makes nothing that would outlive it, and changes clients within its own few scopes", async () => {
    const few = await appOf(people.olga, "control:read control:write");
    const wide = await made("llm:chat control:read");
    const narrow = await made("control:read");
    for (const scope of ["control:read", "llm:chat"]) {
      expect(await refusalOf(newClient(few, { scope }))).toBe("403 browser_needed");
      expect(await refusalOf(newKey(few, { scope }))).toBe("403 browser_needed");
      expect(await refusalOf(newKey(few, { client_id: wide.client_id, scope }))).toBe("403 browser_needed");
    }
    expect(await refusalOf(change(few, clientAt(narrow.client_id), { scope: "llm:chat" }))).toBe(
      "422 invalid_scope",
    );
    expect((await gateway.clients.find(narrow.client_id))?.scopes).toEqual(["control:read"]);
  });

  test("nor gets more by a new secret", async () => {
    const few = await appOf(people.olga, "control:read control:write");
    const [wide, narrow] = [await made("llm:chat control:read"), await made("control:read")];
    const rotate = ({ client_id }: CreatedClient) =>
      few.fetch(`${clientAt(client_id)}/rotation`, { method: "POST" });
    for (const client of [wide, narrow]) {
      expect(await refusalOf(rotate(client))).toBe("403 browser_needed");
      expect((await issue(client)).status).toBe(200);
    }
    // What ends or narrows needs no more than the right to.
    expect((await change(few, clientAt(wide.client_id), { scope: "control:read" })).status).toBe(200);
    expect((await remove(few, clientAt(wide.client_id))).status).toBe(200);
  });

  test("a leaked API key makes no key, no client and no secret, whoever's it is", async () => {
    const { client_id: id } = await made();
    for (const [who, refusal] of [
      [olgasKey, "403 sign_in_needed"],
      [await keyOf(people.ada, "llm:chat control:read control:write"), "403 sign_in_needed"],
      [await keyOf(people.olga, "llm:chat control:read control:write", projectId), "403 sign_in_needed"],
      [gateway.robo, "403 people_only"],
    ] as const) {
      const tries = [
        newKey(who),
        newKey(who, { client_id: id }),
        newClient(who),
        who.fetch(`${clientAt(id)}/rotation`, { method: "POST" }),
        change(who, clientAt(id), { scope: "llm:chat" }),
      ];
      expect(await Promise.all(tries.map(refusalOf))).toEqual(Array(5).fill(refusal));
    }
  });

  test("nor does a runner's own token", async () => {
    const { access_token } = await bodyOf<{ access_token: string }>(
      issue(await made("llm:chat control:write control:read")),
    );
    const runner = gateway.as(access_token);
    expect(await refusalOf(newKey(runner))).toBe("403 people_only");
    expect(await refusalOf(newClient(runner))).toBe("403 people_only");
    expect(await refusalOf(runner.fetch("/api/v1/keys"))).toBe("403 people_only");
  });
});

describe("an API key", () => {
  test("is made by any person for themselves, shown once, and acts as they do", async () => {
    for (const who of [people.ada, people.olga, people.ed, people.stranger]) {
      const answer = await newKey(who, { scope: "llm:chat control:read" });
      expect(answer.status).toBe(201);
      const { id, key, scope, expires_at } = await bodyOf<CreatedKey>(answer);
      expect([id, key, scope]).toEqual([
        expect.stringMatching(/^key_/),
        expect.stringMatching(/^sgk_/),
        "llm:chat control:read",
      ]);
      const days = (Date.parse(expires_at) - Date.now()) / 86_400_000;
      expect(days).toBeWithin(89.9, 90.1);
      const me = await bodyOf<Me>(gateway.as(key).fetch("/api/v1/me"));
      expect([me.principal.id, me.scopes]).toEqual([who.id, ["llm:chat", "control:read"]]);
      const rows = await gateway.database.sql`select * from audit where subject = ${id}`;
      const texts = [await (await who.fetch(keyAt(id))).text(), JSON.stringify(rows)];
      for (const text of texts) {
        expect(text).not.toContain(key);
        expect(text).not.toMatch(/"hash"/);
      }
      expect(JSON.parse(texts[0] ?? "")).toMatchObject({
        id,
        hint: key.slice(-4),
        user_id: who.id,
        client_id: null,
      });
    }
  });

  test.each<[string, object, string]>([
    ["admin", { scope: "admin" }, "422 invalid_scope"],
    ["admin among others", { scope: "llm:chat admin control:read" }, "422 invalid_scope"],
    ["approvals:decide", { scope: "approvals:decide" }, "422 invalid_scope"],
    ["a scope that is not there", { scope: "llm:*" }, "422 invalid_scope"],
    ["no scope", { scope: "" }, "422 invalid_scope"],
    ["no days", { expires_days: 0 }, "422 invalid_request"],
    ["days before today", { expires_days: -1 }, "422 invalid_request"],
    ["more than a year", { expires_days: 366 }, "422 invalid_request"],
    ["half days", { expires_days: 1.5 }, "422 invalid_request"],
    ["days as text", { expires_days: "90" }, "422 invalid_request"],
    ["no expiry", { expires_days: null }, "422 invalid_request"],
    ["another person's name on it", { user_id: "usr_0" }, "422 invalid_request"],
    ["a client that is not there", { client_id: "cli_0" }, "404 not_found"],
    ["a project that is not there", { project_id: "prj_0" }, "404 not_found"],
    ["NUL for a client", { client_id: "\u0000" }, "400 invalid_request"],
  ])("with %s is refused, to administrators too", async (_, body, refusal) => {
    expect(await refusalOf(newKey(people.ada, body))).toBe(refusal);
  });

  test.each([1, 365])("lives %d days when that is asked for", async (days) => {
    const { expires_at } = await bodyOf<CreatedKey>(newKey(people.ed, { expires_days: days }));
    expect((Date.parse(expires_at) - Date.now()) / 86_400_000).toBeWithin(days - 0.1, days + 0.1);
  });

  test("for a project acts there alone, and is for its members", async () => {
    const { ada, ed, vera, stranger } = people;
    const { key } = await bodyOf<CreatedKey>(newKey(ed, { project_id: projectId, scope: "control:read" }));
    const bound = gateway.as(key);
    expect((await bodyOf<Me>(bound.fetch("/api/v1/me"))).principal.project_id).toBe(projectId);
    expect((await bound.fetch(`/api/v1/projects/${projectId}`)).status).toBe(200);
    // Not weaker than its maker believed: a viewer learns now what a viewer's key cannot do there.
    expect(await refusalOf(newKey(vera, { project_id: projectId }))).toBe("422 invalid_scope");
    expect((await newKey(vera, { project_id: projectId, scope: "control:read" })).status).toBe(201);
    expect(await refusalOf(newKey(stranger, { project_id: projectId }))).toBe("404 not_found");
    expect(await refusalOf(newKey(ed, { project_id: foreignProject() }))).toBe("404 not_found");
    // An administrator's key is no administrator's, so it would have no part there.
    expect(await refusalOf(newKey(ada, { project_id: projectId, scope: "control:read" }))).toBe(
      "422 invalid_request",
    );
  });

  test("for a client is made by the client's keepers, in its project, within its scopes", async () => {
    const { client_id: id } = await made("llm:chat control:read");
    const { client_id: foreign } = await made("llm:chat", foreignProject());
    const { id: key, key: text } = await bodyOf<CreatedKey>(newKey(people.olga, { client_id: id }));
    expect((await bodyOf<Me>(gateway.as(text).fetch("/api/v1/me"))).principal).toMatchObject({
      id,
      project_id: projectId,
    });
    expect(await refusalOf(newKey(people.olga, { client_id: id, scope: "usage:read" }))).toBe(
      "422 invalid_scope",
    );
    expect(await refusalOf(newKey(people.olga, { client_id: foreign }))).toBe("404 not_found");
    for (const who of Object.values(everybodyElse())) {
      expect(await refusalOf(newKey(who, { client_id: id }))).toBe("404 not_found");
      expect(await refusalOf(who.fetch(keyAt(key)))).toBe("404 not_found");
    }
    expect((await bodyOf<KeyLine>(people.ada.fetch(keyAt(key)))).client_id).toBe(id);
  });

  test("only ever loses scopes, at once, at the version that was seen", async () => {
    const { id, key } = await bodyOf<CreatedKey>(
      newKey(people.olga, { scope: "llm:chat control:read usage:read" }),
    );
    const scopes = async () => (await bodyOf<Me>(gateway.as(key).fetch("/api/v1/me"))).scopes;
    expect(await scopes()).toEqual(["llm:chat", "control:read", "usage:read"]);
    const narrowed = await change(
      people.olga,
      keyAt(id),
      { scope: "llm:chat control:read" },
      { "if-match": '"1"' },
    );
    expect([narrowed.headers.get("etag"), (await bodyOf<KeyLine>(narrowed)).scope]).toEqual([
      '"2"',
      "llm:chat control:read",
    ]);
    expect(await scopes()).toEqual(["llm:chat", "control:read"]);
    for (const scope of ["usage:read", "llm:chat usage:read", "admin", "x"]) {
      expect([scope, await refusalOf(change(people.olga, keyAt(id), { scope }))]).toEqual([
        scope,
        "422 invalid_scope",
      ]);
    }
    expect(await refusalOf(change(people.olga, keyAt(id), { expires_days: 365 }))).toBe(
      "422 invalid_request",
    );
    expect(
      await refusalOf(change(people.olga, keyAt(id), { scope: "llm:chat" }, { "if-match": '"1"' })),
    ).toBe("412 stale_version");
    expect(await refusalOf(remove(people.olga, keyAt(id), { "if-match": '"1"' }))).toBe("412 stale_version");
    expect(await refusalOf(change(people.olga, keyAt(id), {}, { "if-match": 'W/"2"' }))).toBe(
      "400 invalid_request",
    );
    expect(await scopes()).toEqual(["llm:chat", "control:read"]);
  });

  test("is revoked at once and for good, by its person or an administrator", async () => {
    for (const who of [people.ed, people.ada]) {
      const { id, key } = await bodyOf<CreatedKey>(newKey(people.ed));
      expect((await gateway.as(key).fetch("/v1/models")).status).toBe(200);
      const revoked = await bodyOf<KeyLine>(remove(who, keyAt(id)));
      expect(revoked).toMatchObject({ revoked_at: expect.any(String), version: 2 });
      expect((await gateway.as(key).fetch("/v1/models")).status).toBe(401);
      expect(await bodyOf<KeyLine>(remove(who, keyAt(id)))).toEqual(revoked);
      expect(await refusalOf(change(who, keyAt(id), { scope: "llm:chat" }))).toBe("409 closed");
    }
  });

  test("is its person's alone to see: not the owner's of their project, not a stranger's", async () => {
    const { id } = await bodyOf<CreatedKey>(newKey(people.ed, { project_id: projectId }));
    for (const who of [people.olga, people.vera, people.stranger]) {
      const tries = [
        who.fetch(keyAt(id)),
        change(who, keyAt(id), { scope: "llm:chat" }),
        remove(who, keyAt(id)),
      ];
      expect(await Promise.all(tries.map(refusalOf))).toEqual(Array(3).fill("404 not_found"));
    }
    for (const who of [people.ed, people.ada]) expect((await who.fetch(keyAt(id))).status).toBe(200);
    for (const of of ["key_0", "x", people.ed.id]) {
      expect(await refusalOf(people.ada.fetch(keyAt(of)))).toBe("404 not_found");
    }
  });

  test("is listed to whom it may be shown, one by one or together", async () => {
    await newKey(people.olga, { client_id: (await made()).client_id });
    const all = await listOf<KeyLine>(people.ada, "/api/v1/keys");
    const lists: [string, Actor][] = [
      ["olga", people.olga],
      ["ed", people.ed],
      ["vera", people.vera],
      ["olga's key", olgasKey],
      ["olga's key for the project", await keyOf(people.olga, "control:read", projectId)],
      ["ed's key for the project", await keyOf(people.ed, "control:read", projectId)],
    ];
    for (const [name, who] of lists) {
      const listed = (await listOf<KeyLine>(who, "/api/v1/keys")).map(({ id }) => id);
      const one = async (id: string) => [id, (await who.fetch(keyAt(id))).status === 200] as const;
      const shown = (await Promise.all(all.map(({ id }) => one(id))))
        .filter(([, is]) => is)
        .map(([id]) => id);
      expect([name, listed.filter((id) => all.some((line) => line.id === id))]).toEqual([name, shown]);
    }
    expect(
      (await listOf<KeyLine>(people.ed, "/api/v1/keys")).every(({ user_id }) => user_id === people.ed.id),
    ).toBe(true);
  });

  test("and what is listed comes in pages", async () => {
    const seen: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query: string = cursor === "" ? "?limit=2" : `?limit=2&cursor=${cursor}`;
      const page = await bodyOf<{ data: KeyLine[]; next_cursor: string | null }>(
        people.olga.fetch(`/api/v1/keys${query}`),
      );
      seen.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor;
    }
    expect(seen).toEqual((await listOf<KeyLine>(people.olga, "/api/v1/keys")).map(({ id }) => id));
  });
});
