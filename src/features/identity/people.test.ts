import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { localActor } from "../../testing/desk.ts";
import { type Actor, type People, startGateway, type TestGateway } from "../../testing/gateway.ts";
import { bodyOf, json, type Me, newApp, refusalOf } from "../../testing/people.ts";
import type { UserLine } from "./contract.ts";

let gateway: TestGateway;
let people: People;
let ada: Actor;
beforeAll(async () => {
  gateway = await startGateway();
  people = await gateway.people();
  ada = people.ada;
});
afterAll(() => gateway.close());

let names = 0;
const newEmail = () => `new${++names}@example.com`;
const password = "correct horse battery";
const create = (body: object, who: Actor = ada) => who.fetch("/api/v1/users", json("POST", body));
const created = async (body: object = {}) =>
  bodyOf<{ id: string; email: string }>(create({ email: newEmail(), ...body }));
const at = (id: string) => `/api/v1/users/${id}`;
const read = async (id: string) => bodyOf<UserLine>(ada.fetch(at(id)));
const change = (id: string, body: object, headers: Record<string, string> = {}, who: Actor = ada) =>
  who.fetch(at(id), json("PATCH", body, headers));
const remove = (id: string, headers: Record<string, string> = {}, who: Actor = ada) =>
  who.fetch(at(id), { method: "DELETE", headers });
const login = (email: string, typed = password) =>
  gateway.nobody.fetch("/api/v1/auth/login", json("POST", { email, password: typed }));

describe("a person", () => {
  test("is created, read, changed and disabled, and every deed is audited without a secret", async () => {
    const email = newEmail();
    const made = await create({ email, role: "user", password });
    expect(made.status).toBe(201);
    const { id, ...rest } = await bodyOf<{ id: string }>(made);
    expect(rest).toEqual({ email, role: "user" } as object);
    const line = { id, email, role: "user", created_at: expect.any(String), disabled_at: null, version: 1 };
    const found = await ada.fetch(at(id));
    expect([await found.json(), found.headers.get("etag")]).toEqual([line, '"1"']);
    const renamed = await change(id, { email: `x${email}`, password: "another long password" });
    expect([renamed.status, renamed.headers.get("etag")]).toEqual([200, '"2"']);
    expect(await renamed.json()).toEqual({ ...line, email: `x${email}`, version: 2 });
    expect([
      (await login(`x${email}`)).status,
      (await login(`x${email}`, "another long password")).status,
    ]).toEqual([401, 200]);
    const gone = await remove(id);
    expect(await gone.json()).toMatchObject({ disabled_at: expect.any(String), version: 3 });
    expect((await login(`x${email}`, "another long password")).status).toBe(401);
    const rows = await gateway.database.sql`select * from audit where subject = ${id} order by id`;
    expect(rows.map(({ action }) => action)).toEqual([
      "user.created",
      "user.password_changed",
      "user.updated",
      "login.failed",
      "login",
      "user.disabled",
      "login.failed",
    ]);
    expect(rows[0]).toMatchObject({ actor: ada.id, actor_kind: "user", details: { email, role: "user" } });
    for (const secret of [password, "another long password", "argon2"]) {
      expect(JSON.stringify(rows)).not.toContain(secret);
    }
  });

  test("is shown to nobody with their hash", async () => {
    await created({ password });
    const texts = await Promise.all(
      ["/api/v1/users?limit=200", at(people.ed.id)].map(async (path) => (await ada.fetch(path)).text()),
    );
    expect(texts.join()).not.toMatch(/argon2|hash|password|oidc/);
  });

  test("is made and changed by administrators alone", async () => {
    const adminsKey = await gateway.keys.create(localActor, {
      owner: { userEmail: people.ada.email },
      scope: "control:read control:write",
    });
    const few = await newApp(
      gateway,
      { id: ada.id, role: "admin" },
      { scope: "control:read control:write", aud: gateway.url },
    );
    for (const who of [people.olga, gateway.robo, gateway.as(adminsKey.key), gateway.as(few.token)]) {
      const refusals = [
        create({ email: newEmail() }, who),
        who.fetch("/api/v1/users"),
        who.fetch(at(people.ed.id)),
        change(people.ed.id, { role: "admin" }, {}, who),
        remove(people.ed.id, {}, who),
      ];
      expect(await Promise.all(refusals.map(refusalOf))).toEqual(Array(5).fill("403 insufficient_scope"));
    }
  });

  test("is administered by an app that was let, and not with what it handed to a helper in a project", async () => {
    const { token } = await newApp(
      gateway,
      { id: ada.id, role: "admin" },
      { scope: "admin control:read control:write", aud: gateway.url },
    );
    expect((await gateway.as(token).fetch("/api/v1/users")).status).toBe(200);
    const helper = await bodyOf<{ access_token: string }>(
      fetch(`${gateway.url}/oauth/token`, {
        method: "POST",
        body: new URLSearchParams({
          grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
          subject_token: token,
          subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
          client_id: "specgate-desktop",
          project_id: gateway.robo.projectId,
        }),
      }),
    );
    const bound = gateway.as(helper.access_token);
    const me = await bodyOf<Me>(bound.fetch("/api/v1/me"));
    expect([me.principal.project_id, me.scopes.includes("admin")]).toEqual([gateway.robo.projectId, true]);
    const refusals = [
      bound.fetch("/api/v1/users"),
      create({ email: newEmail(), role: "admin" }, bound),
      change(people.ed.id, { role: "admin" }, {}, bound),
      bound.fetch("/api/v1/projects", json("POST", { name: "elsewhere" })),
    ];
    expect(await Promise.all(refusals.map(refusalOf))).toEqual(Array(4).fill("403 bound_to_project"));
  });

  test.each<[string, object, string, string[]]>([
    [
      "a field that is not there",
      { email: "a@b.example", admin: true, is: { x: 1 } },
      "422 invalid_request",
      ["admin", "is"],
    ],
    ["a role that is not there", { email: "a@b.example", role: "runner" }, "422 invalid_request", ["role"]],
    ["no e-mail address", {}, "422 invalid_request", ["email"]],
    ["two mistakes", { email: 1, role: "x" }, "422 invalid_request", ["email", "role"]],
    ["null for a password", { email: "a@b.example", password: null }, "422 invalid_request", ["password"]],
    ["a short password", { email: "a@b.example", password: "short" }, "422 invalid_password", []],
    ["an e-mail address that is none", { email: "a b" }, "422 invalid_email", []],
    ["one with NUL", { email: "a\u0000@b.example" }, "422 invalid_email", []],
  ])("with %s is refused, and is told where the mistake is", async (_, body, refusal, paths) => {
    const before = (await gateway.users.list()).length;
    const answer = await create(body);
    const { code, errors = [] } = await bodyOf<{ code: string; errors?: { path: string }[] }>(answer);
    expect(`${answer.status} ${code}`).toBe(refusal);
    expect(errors.map(({ path }) => path)).toEqual(paths);
    expect((await gateway.users.list()).length).toBe(before);
  });

  test("has an e-mail address of their own, whatever its case, also when two ask at once", async () => {
    const { id } = await created();
    expect(await refusalOf(create({ email: people.ed.email.toUpperCase() }))).toBe("409 email_taken");
    expect(await refusalOf(change(id, { email: people.ed.email.toUpperCase() }))).toBe("409 email_taken");
    expect((await change(id, { email: (await read(id)).email.toUpperCase() })).status).toBe(200);
    const email = newEmail();
    const both = await Promise.all([create({ email }), create({ email: email.toUpperCase() })]);
    expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
  });

  test.each(["GET", "PATCH", "DELETE"])("that does not exist is not found by %s", async (method) => {
    for (const id of ["usr_00000000000000000000000000000000", "x", "%2e%2e", people.ed.email, "'"]) {
      const init = method === "PATCH" ? json(method, {}) : { method };
      expect([id, await refusalOf(ada.fetch(at(id), init))]).toEqual([id, "404 not_found"]);
    }
    const init = method === "PATCH" ? json(method, {}) : { method };
    expect(await refusalOf(ada.fetch(at("%00"), init))).toBe("400 invalid_request");
  });
});

describe("versions", () => {
  test("a change of what has been changed since is refused, by PATCH and DELETE", async () => {
    const { id } = await created();
    await change(id, { role: "admin" });
    for (const send of [
      change(id, { role: "user" }, { "if-match": '"1"' }),
      remove(id, { "if-match": '"1"' }),
    ]) {
      expect(await refusalOf(send)).toBe("412 stale_version");
    }
    expect(await read(id)).toMatchObject({ role: "admin", disabled_at: null, version: 2 });
    const changed = await change(id, { role: "user" }, { "if-match": '"2"' });
    expect([changed.status, changed.headers.get("etag")]).toEqual([200, '"3"']);
    expect((await remove(id, { "if-match": '"3"' })).status).toBe(200);
  });

  test.each(["1", 'W/"1"', '"1", "2"', '"x"', '"-1"', '"1.0"', '""', '"', `"${"9".repeat(10)}"`, "* *"])(
    "If-Match: %s is no version",
    async (etag) => {
      expect(await refusalOf(change(people.ed.id, {}, { "if-match": etag }))).toBe("400 invalid_request");
      expect(await refusalOf(remove(people.ed.id, { "if-match": etag }))).toBe("400 invalid_request");
    },
  );

  test("If-Match: * is whatever is there", async () => {
    const { id } = await created();
    expect((await change(id, { role: "admin" }, { "if-match": "*" })).status).toBe(200);
  });

  test("of two who change the same version one is told", async () => {
    const { id } = await created();
    const both = await Promise.all(
      ["a", "b"].map((name) => change(id, { email: `${name}${newEmail()}` }, { "if-match": '"1"' })),
    );
    expect(both.map(({ status }) => status).sort()).toEqual([200, 412]);
  });

  test("what changes nothing is no new version and no audit entry", async () => {
    const { id, email } = await created();
    for (const body of [{}, { email }, { role: "user" }, { disabled: false }]) {
      expect(await bodyOf<UserLine>(change(id, body))).toMatchObject({ version: 1 });
    }
    await remove(id);
    expect(await bodyOf<UserLine>(remove(id))).toMatchObject({ version: 2 });
    const rows = await gateway.database.sql`select 1 from audit where subject = ${id}`;
    expect(rows.length).toBe(2);
  });
});

test("the last administrator cannot be removed over HTTP, by themselves or two at a time", async () => {
  const alone = await startGateway();
  const { ada: last, ed } = await alone.people();
  const ask = (id: string, body: object) => last.fetch(at(id), json("PATCH", body));
  const off = (id: string) => last.fetch(at(id), { method: "DELETE" });
  for (const body of [
    { role: "user" },
    { disabled: true },
    { role: "user", disabled: true, email: newEmail() },
  ]) {
    expect(await refusalOf(ask(last.id, body))).toBe("409 last_admin");
  }
  expect(await refusalOf(off(last.id))).toBe("409 last_admin");
  expect((await ask(last.id, { email: newEmail() })).status).toBe(200);
  // One who is disabled does not count.
  await ask(ed.id, { role: "admin", disabled: true });
  expect(await refusalOf(off(last.id))).toBe("409 last_admin");
  await ask(ed.id, { disabled: false });
  const both = await Promise.all([off(last.id), ask(ed.id, { role: "user" })]);
  expect(both.map(({ status }) => status).filter((status) => status === 200).length).toBe(1);
  const admins = (await alone.users.list()).filter((line) => line.role === "admin" && !line.disabled_at);
  expect(admins.length).toBe(1);
  // Whoever sits at the machine can make another.
  await alone.users.disable(localActor, admins[0]?.email ?? "");
  await alone.close();
});

describe("at once", () => {
  test("a role that is given or taken acts on what the person holds", async () => {
    const { olga } = people;
    const isAdmin = async () => (await olga.fetch("/api/v1/users?limit=1")).status === 200;
    expect(await isAdmin()).toBe(false);
    await change(olga.id, { role: "admin" });
    expect(await isAdmin()).toBe(true);
    await change(olga.id, { role: "user" });
    expect(await isAdmin()).toBe(false);
  });

  test("disabling ends sign-ins, apps and keys, and enabling brings back none of the sign-ins", async () => {
    const { id, email } = await created({ password });
    const cookie = /specgate=([^;]+)/.exec((await login(email)).headers.get("set-cookie") ?? "")?.[1];
    const { token } = await newApp(gateway, { id }, { scope: "llm:chat", aud: gateway.url });
    const { key } = await gateway.keys.create(localActor, { owner: { userEmail: email }, scope: "llm:chat" });
    const asks = [
      () => gateway.nobody.fetch("/api/v1/me", { headers: { cookie: `specgate=${cookie}` } }),
      () => gateway.as(token).fetch("/v1/models"),
      () => gateway.as(key).fetch("/v1/models"),
    ];
    for (const ask of asks) expect((await ask()).status).toBe(200);
    await change(id, { disabled: true });
    for (const ask of asks) expect((await ask()).status).toBe(401);
    await change(id, { disabled: false });
    const again = await Promise.all(asks.map(async (ask) => (await ask()).status));
    expect(again.slice(0, 2)).toEqual([401, 401]);
  });

  test("a password that an administrator sets ends the person's sign-ins", async () => {
    const { id, email } = await created({ password });
    const cookie = /specgate=([^;]+)/.exec((await login(email)).headers.get("set-cookie") ?? "")?.[1];
    const ask = () => gateway.nobody.fetch("/api/v1/me", { headers: { cookie: `specgate=${cookie}` } });
    expect((await ask()).status).toBe(200);
    await change(id, { password: "another long password" });
    expect((await ask()).status).toBe(401);
  });
});

describe("the list", () => {
  const list = (query: string) => ada.fetch(`/api/v1/users${query}`);
  type Listing = { data: UserLine[]; next_cursor: string | null };

  test("comes in pages that hold everybody once", async () => {
    for (let n = 0; n < 5; n++) await created();
    const all = await bodyOf<Listing>(list("?limit=200"));
    expect(all.next_cursor).toBeNull();
    const seen: string[] = [];
    let cursor: string | null = "";
    for (let pages = 0; cursor !== null && pages < 50; pages++) {
      const page: Listing = await bodyOf(list(`?limit=3${cursor && `&cursor=${cursor}`}`));
      expect(page.data.length).toBeLessThanOrEqual(3);
      seen.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor;
    }
    expect(seen).toEqual(all.data.map(({ id }) => id));
    expect(new Set(seen).size).toBe(seen.length);
  });

  test("ends with no cursor when the last page is full", async () => {
    const { data } = await bodyOf<Listing>(list(""));
    const page = await bodyOf<Listing>(list(`?limit=${data.length}`));
    expect([page.data.length, page.next_cursor]).toEqual([data.length, null]);
  });

  test.each(["0", "-1", "201", "1.5", "x", "", "1e9", "Infinity", "1&limit=2"])(
    "takes no limit of %p",
    async (limit) => {
      const { errors } = await bodyOf<{ errors: { path: string }[] }>(list(`?limit=${limit}`));
      expect(errors[0]?.path).toBe("limit");
    },
  );

  test("takes no cursor but its own", async () => {
    const { next_cursor: cursor } = await bodyOf<Listing>(list("?limit=1"));
    for (let n = 0; n < 2; n++) await gateway.projects.create(localActor, { name: "one" });
    const { next_cursor: foreign } = await bodyOf<Listing>(ada.fetch("/api/v1/projects?limit=1"));
    const own = Buffer.from(cursor ?? "", "base64url");
    const moved = Buffer.concat([own.subarray(0, 16), Buffer.from('["usr_0"]')]).toString("base64url");
    for (const wrong of [
      foreign ?? "?",
      moved,
      own.subarray(0, 10).toString("base64url"),
      "x",
      "%00",
      "a".repeat(2_000),
    ]) {
      expect(await refusalOf(list(`?limit=1&cursor=${wrong}`))).toBe("400 invalid_request");
    }
    expect((await list(`?limit=1&cursor=${cursor}`)).status).toBe(200);
  });

  test("takes no other parameter", async () => {
    expect(await refusalOf(list("?email=ada"))).toBe("400 invalid_request");
  });
});
