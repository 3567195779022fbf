import { afterAll, describe, expect, test } from "bun:test";
import type { AuditEntry } from "../../db/audit-entry.ts";
import { basicOf, localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { bodyOf, cookieOf, json, newApp, newMember, refusalOf } from "../../testing/people.ts";
import type { CreatedClient, CreatedKey, IssuedToken } from "../tokens/contract.ts";
import { createRecord } from "./audit.ts";
import type { AuditRow } from "./contract.ts";

const gateway = await startGateway();
afterAll(() => gateway.close());
const { ada, olga, ed, vera, stranger } = await gateway.people();
const { database, robo, nobody } = gateway;
const record = createRecord(1);

type Listed = { data: AuditRow[]; next_cursor: string | null };
type Query = Record<string, string | number>;
const textOf = (query: Query) =>
  new URLSearchParams(Object.entries(query).map(([name, value]): [string, string] => [name, `${value}`]));

async function browse(query: Query, who: Actor = ada): Promise<Listed> {
  const response = await who.fetch(`/api/v1/audit?${textOf(query)}`);
  expect(response.status).toBe(200);
  return bodyOf<Listed>(response);
}

async function only(query: Query): Promise<AuditRow> {
  const { data, next_cursor } = await browse(query);
  expect([data.length, next_cursor]).toEqual([1, null]);
  return data[0] as AuditRow;
}

/** Every page, one after the other; `between` goes on before each next one. */
async function pagesOf(query: Query, between: () => Promise<unknown> = async () => {}) {
  const pages: AuditRow[][] = [];
  let next: string | null = null;
  do {
    const page: Listed = await browse(next === null ? query : { ...query, cursor: next });
    pages.push(page.data);
    next = page.next_cursor;
    await between();
  } while (next !== null);
  return pages;
}

/** The parameters that a query is refused for. */
async function mistakesIn(query: string): Promise<string[]> {
  const response = await ada.fetch(`/api/v1/audit?${query}`);
  const { code, errors } = await bodyOf<{ code: string; errors: { path: string }[] }>(response);
  expect([query, response.status, code]).toEqual([query, 400, "invalid_request"]);
  return [...new Set(errors.map(({ path }) => path))].sort();
}

/** The rows, once they all have their seals: for two seconds at most, as they are then. */
async function sealed(query: Query): Promise<AuditRow[]> {
  const began = performance.now();
  for (;;) {
    const { data } = await browse(query);
    if (data.every(({ seal }) => seal !== null) || performance.now() - began > 2_000) return data;
    await Bun.sleep(10);
  }
}

/** What the tables say about the row: what was stored, and the seal that covers its transaction. */
async function storedOf({ id }: AuditRow) {
  const [row] = await database.sql<{ at: Date; hash: string }[]>`
    select at, encode(row_hash, 'hex') as hash from audit where event_id = ${id}`;
  const [seal = null] = await database.sql<{ epoch: number; no: number; hash: string }[]>`
    select seals.epoch, no, encode(hash, 'hex') as hash from audit_seals as seals
    join audit on audit.epoch = seals.epoch and from_xid <= xid and xid < to_xid where event_id = ${id}`;
  return { at: row?.at.toISOString() ?? "", hash: row?.hash ?? "", seal: seal && { ...seal } };
}

const entryOf = (actor: string, over: Partial<AuditEntry> = {}): AuditEntry => ({
  actor: { ...localActor, id: actor, kind: "user" },
  action: "note.made",
  subject: null,
  ...over,
});

/** Keeps everything that is written from being sealed. */
async function holdSeals(): Promise<() => Promise<void>> {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  const work = database.transaction(async (tx) => {
    await tx.execute("select pg_current_xact_id()");
    begin();
    await released;
  });
  await begun;
  return () => {
    release();
    return work;
  };
}

describe("a change", () => {
  test("is a row that says everything about it, sealed within two seconds", async () => {
    const release = await holdSeals();
    const agent = { "user-agent": "tea/1" };
    const made = await ada.fetch("/api/v1/projects", json("POST", { name: "Tea" }, agent));
    const { id } = await bodyOf<{ id: string }>(made);
    const asked = { subject: id, action: "project.created" };
    const fresh = await only(asked);
    const { at, hash } = await storedOf(fresh);
    expect(fresh).toEqual({
      id: expect.stringMatching(/^evt_[0-9a-f]{32}$/),
      at,
      actor: ada.id,
      actor_kind: "user",
      client_id: null,
      action: "project.created",
      subject: id,
      project_id: id,
      session_id: null,
      ip: "127.0.0.1",
      user_agent: "tea/1",
      request_id: made.headers.get("x-request-id"),
      outcome: "ok",
      details: { name: "Tea" },
      hash,
      seal: null,
    });

    await release();
    const rows = await sealed(asked);
    const { seal } = await storedOf(fresh);
    expect(seal?.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(rows).toEqual([{ ...fresh, seal }]);
  });

  test("by an app, a machine or a local command says so", async () => {
    const scope = "admin control:write";
    const { token } = await newApp(gateway, { id: ada.id, role: "admin" }, { scope, aud: gateway.url });
    const { id } = await gateway.keys.create(localActor, { owner: { clientId: robo.id }, scope: "llm:chat" });
    expect((await gateway.as(token).fetch(`/api/v1/keys/${id}`, { method: "DELETE" })).status).toBe(200);
    const [revoked, created] = (await browse({ subject: id })).data;
    const byApp = { actor: ada.id, actor_kind: "user", client_id: "specgate-desktop" };
    expect(revoked).toMatchObject({ action: "key.revoked", project_id: robo.projectId, ...byApp });
    const locally = { actor: "ada", actor_kind: "local", client_id: null, ip: null, user_agent: null };
    expect(created).toMatchObject({ action: "key.created", request_id: null, ...locally });

    const client = { name: "m", kind: "service", projectId: robo.projectId, scope: "llm:chat" } as const;
    const machine = await gateway.clients.create(localActor, client);
    await tokenOf(machine);
    const issued = await only({ subject: machine.client_id, action: "token.issued" });
    expect(issued).toMatchObject({ actor: machine.client_id, actor_kind: "client", outcome: "ok" });
  });

  test("is covered by the seal of its own part of the chain, in its own epoch", async () => {
    await createRecord(7)(database.db, entryOf("usr_elsewhere"));
    const transactions = [1, 2, 3];
    for (const _ of transactions) {
      await database.transaction(async (tx) => {
        await record(tx, entryOf("usr_sealed"));
        await record(tx, entryOf("usr_sealed"));
      });
      await sealed({ actor: "usr_sealed" });
    }
    const rows = await sealed({ actor: "usr_sealed" });
    for (const row of rows) expect(row.seal).toEqual((await storedOf(row)).seal);
    const numbers = rows.map(({ seal }) => seal?.no ?? 0);
    expect([numbers.length, new Set(numbers).size]).toEqual([6, transactions.length]);
    expect(numbers).toEqual([...numbers].sort((a, b) => b - a));
    expect((await only({ actor: "usr_elsewhere" })).seal).toBeNull();
  });
});

async function tokenOf(client: CreatedClient): Promise<IssuedToken> {
  const headers = { authorization: basicOf(client) };
  const body = new URLSearchParams({ grant_type: "client_credentials" });
  return bodyOf(nobody.fetch("/oauth/token", { method: "POST", headers, body }));
}

describe("filters", () => {
  /** Rows as they would stand there, had they been written at these times; they are told apart by their subject. */
  const write = async (
    rows: Record<string, [at: string, actor: string, action: string, project: string]>,
  ) => {
    for (const [subject, [at, actor, action, project]] of Object.entries(rows))
      await database.sql`
        insert into audit (epoch, event_id, at, actor, actor_kind, action, subject, project_id, outcome, details, row_hash)
        values (1, ${`evt_${subject}`}, ${at}, ${actor}, 'user', ${action}, ${subject}, ${project}, 'ok', '{}', sha256('x'))`;
  };
  const subjects = async (query: Query) => (await browse(query)).data.map(({ subject }) => subject);

  test("narrow by actor, action, project, subject and time, alone and together", async () => {
    await write({
      old: ["2000-03-01T10:00:00.000Z", "usr_1", "cup.filled", "prj_1"],
      older: ["2000-02-01T10:00:00.000Z", "usr_2", "cup.emptied", "prj_2"],
      oldest: ["1999-12-31T23:59:59.999Z", "usr_2", "cup", "prj_1"],
      late: ["2099-01-01T00:00:00.001Z", "usr_1", "cupboard.opened", "prj_1"],
      last: ["2099-01-01T00:00:00.002Z", "usr_1", "cup.filled", "prj_2"],
    });
    const rows: [Query, string[]][] = [
      [{ actor: "usr_1" }, ["last", "late", "old"]],
      [{ actor: "usr" }, []],
      [{ action: "cup.filled" }, ["last", "old"]],
      [{ action: "cup" }, ["oldest"]],
      [{ action: "cup.*" }, ["last", "old", "older", "oldest"]],
      [{ action: "cup.*", limit: 3 }, ["last", "old", "older"]],
      [{ action: "cu.*" }, []],
      [{ action: "cup.%" }, []],
      [{ action: "c_p.*" }, []],
      [{ project: "prj_1" }, ["late", "old", "oldest"]],
      [{ subject: "late" }, ["late"]],
      [{ from: "2099-01-01" }, ["last", "late"]],
      [{ from: "2099-01-01T00:00:00.002Z" }, ["last"]],
      [{ from: "2099-01-01T01:00:00.002+01:00" }, ["last"]],
      [{ to: "2000-03-01T10:00:00.000Z" }, ["older", "oldest"]],
      [{ to: "2000-03-01T10:00:00.001Z" }, ["old", "older", "oldest"]],
      [{ from: "2000-01-01", to: "2001-01-01" }, ["old", "older"]],
      [{ from: "2001-01-01", to: "2000-01-01" }, []],
      [{ actor: "usr_1", action: "cup.*" }, ["last", "old"]],
      [{ actor: "usr_1", project: "prj_1" }, ["late", "old"]],
      [{ actor: "usr_2", action: "cup.*", project: "prj_1" }, ["oldest"]],
      [{ action: "cup.*", from: "2000-01-01", to: "2099-01-01" }, ["old", "older"]],
      [{ action: "cup.filled", to: "2099-01-01" }, ["old"]],
      [
        { project: "prj_2", subject: "older", action: "cup.emptied", actor: "usr_2", from: "2000-01-01" },
        ["older"],
      ],
      [{ project: "prj_2", subject: "older", action: "cup.emptied", actor: "usr_1" }, []],
      [{ actor: "usr_2", from: "0001-01-01", to: "9999-12-31T23:59:59Z" }, ["older", "oldest"]],
    ];
    for (const [query, found] of rows) expect([query, await subjects(query)]).toEqual([query, found]);
  });

  test("hold for the next page, even one that is set in between", async () => {
    const { next_cursor } = await browse({ actor: "usr_1", limit: 1 });
    const cursor = next_cursor ?? "";
    expect(await subjects({ cursor, actor: "usr_1" })).toEqual(["late", "old"]);
    expect(await subjects({ cursor, actor: "usr_2" })).toEqual(["older", "oldest"]);
    expect(await subjects({ cursor, action: "cup.*", to: "2000-03-01" })).toEqual(["older", "oldest"]);
    expect(await subjects({ cursor, actor: "usr_1", from: "2001-01-01" })).toEqual(["late"]);
  });
});

describe("pages", () => {
  test("show each of 500 rows once, the newest first, while others write", async () => {
    // Many rows at one time, so that the id has to tell them apart.
    await database.sql`
      insert into audit (epoch, event_id, at, actor, actor_kind, action, outcome, details, row_hash)
      select 1, 'evt_page' || i, clock_timestamp() - (i % 4) * interval '1 ms', 'usr_pages',
        'user', 'page.' || (array['read', 'torn'])[1 + i % 2], 'ok', '{}', sha256('x') from generate_series(1, 500) as i`;
    const stored = await database.sql`
      select event_id from audit where actor = 'usr_pages' order by at desc, id desc`;
    const before = stored.map((row) => String(row.event_id));
    let writing = true;
    const writers = [1, 2, 3].map(async (i) => {
      for (; writing; await Bun.sleep(2))
        await database.transaction(async (tx) => {
          await record(tx, entryOf("usr_pages", { action: "page.read" }));
          await Bun.sleep(3 * i);
          await record(tx, entryOf("usr_pages", { action: "page.torn" }));
        });
    });
    for (const query of [{}, { actor: "usr_pages" }, { action: "page.*" }]) {
      const pages = await pagesOf({ ...query, limit: 50 }, () => Bun.sleep(5));
      expect(pages.slice(0, -1).every((page) => page.length === 50)).toBe(true);
      const seen = pages.flat().map(({ id }) => id);
      expect(new Set(seen).size).toBe(seen.length);
      const known = new Set(before);
      expect(seen.filter((id) => known.has(id))).toEqual(before);
      const times = pages.flat().map(({ at }) => at);
      expect(times).toEqual([...times].sort().reverse());
    }
    writing = false;
    await Promise.all(writers);
    expect((await pagesOf({ actor: "usr_pages", limit: 200 })).flat().length).toBeGreaterThan(510);
  });

  test("are refused with every mistake named", async () => {
    expect(await mistakesIn("limit=0&from=yesterday&to=2026-13-01&who=ada&action=*.made")).toEqual([
      "action",
      "from",
      "limit",
      "to",
      "who",
    ]);
    for (const action of ["*", "key*", "key.*.*", "*.*", ""])
      expect(await mistakesIn(`action=${action}`)).toEqual(["action"]);
    expect(await mistakesIn("actor=&project=&subject=")).toEqual(["actor", "project", "subject"]);
    expect(await mistakesIn("limit=201")).toEqual(["limit"]);
    expect(await mistakesIn("actor=a&actor=b")).toEqual(["actor"]);
    const { next_cursor } = await browse({ limit: 1 });
    const projects = await bodyOf<Listed>(ada.fetch("/api/v1/projects?limit=1"));
    expect(projects.next_cursor).toBeString();
    for (const cursor of ["", "x", `${next_cursor?.slice(0, -2)}AA`, projects.next_cursor])
      expect(await mistakesIn(`cursor=${cursor}`)).toEqual(["cursor"]);
    expect(await refusalOf(ada.fetch("/api/v1/audit?actor=%00"))).toBe("400 invalid_request");
  });
});

describe("the door", () => {
  test("opens for administrators whose credential holds `admin`, and for nobody else", async () => {
    const appWith = async (scope: string) =>
      gateway.as((await newApp(gateway, { id: ada.id, role: "admin" }, { scope, aud: gateway.url })).token);
    const scope = "control:read control:write usage:read";
    const { key } = await gateway.keys.create(localActor, { owner: { userEmail: ada.email }, scope });
    expect((await browse({ limit: 1 }, await appWith("admin"))).data).toHaveLength(1);
    for (const who of [olga, ed, vera, stranger, robo, gateway.as(key), await appWith(scope)])
      expect(await refusalOf(who.fetch("/api/v1/audit"))).toBe("403 insufficient_scope");
    expect(await refusalOf(nobody.fetch("/api/v1/audit"))).toBe("401 unauthenticated");
    // Who may not look does not learn what may be asked either.
    expect(await refusalOf(olga.fetch("/api/v1/audit?limit=0"))).toBe("403 insufficient_scope");
  });
});

test("no row holds a secret", async () => {
  const client = await bodyOf<CreatedClient>(
    ada.fetch("/api/v1/clients", json("POST", { name: "s", kind: "service", scope: "llm:chat" })),
  );
  const rotated = await bodyOf<CreatedClient>(
    ada.fetch(`/api/v1/clients/${client.client_id}/rotation`, { method: "POST" }),
  );
  const key = await bodyOf<CreatedKey>(
    ada.fetch("/api/v1/keys", json("POST", { client_id: client.client_id, scope: "llm:chat" })),
  );
  const { access_token } = await tokenOf(rotated);
  const { id, email, password } = await newMember(gateway);
  const wrong = "wrong battery staple";
  const logIn = (typed: string) =>
    nobody.fetch(
      "/api/v1/auth/login",
      json("POST", { email, password: typed }, { "sec-fetch-site": "same-origin" }),
    );
  expect((await logIn(wrong)).status).toBe(401);
  const cookie = cookieOf(await logIn(password));
  const renewed = "a new horse battery";
  const change = json("PUT", { current_password: password, new_password: renewed });
  const headers = { ...change.headers, cookie: `specgate=${cookie}`, "sec-fetch-site": "same-origin" };
  expect((await nobody.fetch("/api/v1/me/password", { ...change, headers })).ok).toBe(true);

  const text = JSON.stringify(await pagesOf({ limit: 200 }));
  const told = [
    client.client_id,
    key.id,
    id,
    "client.rotated",
    "token.issued",
    "login.failed",
    "user.password_changed",
  ];
  for (const name of told) expect(text).toContain(name);
  const secrets = { client, rotated, key, access_token, password, wrong, cookie, renewed };
  const hidden = [
    client.client_secret,
    rotated.client_secret,
    key.key,
    access_token,
    password,
    wrong,
    cookie,
    renewed,
  ];
  for (const secret of hidden) {
    expect([secrets, (secret ?? "").length > 10]).toEqual([secrets, true]);
    expect(text).not.toContain(secret ?? "");
  }
  const [{ password_hash: hash } = { password_hash: "" }] = await database.sql`
    select password_hash from users where id = ${id}`;
  expect(text).not.toContain(hash);
});
