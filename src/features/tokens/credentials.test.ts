import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { newId } from "../../platform/ids.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { type Desk, localActor, openDesk } from "../../testing/desk.ts";
import { putSession } from "../../testing/objects.ts";
import type { NewClient } from "./clients.ts";
import type { NewKey } from "./keys.ts";

let desk: Desk;
let project: string;

beforeAll(async () => {
  desk = await openDesk((await testDatabase()).database);
  project = (await desk.projects.create(localActor, { name: "Alpha" })).id;
});
afterAll(() => desk.close());

const me = async (bearer: string) =>
  (await desk.send("/api/v1/me", { headers: { authorization: `Bearer ${bearer}` } })).json();
const newClient = (client: Partial<NewClient> = {}) =>
  desk.clients.create(localActor, { name: "robo", kind: "runner", scope: "llm:chat", ...client });
let people = 0;
const newUser = (role: "admin" | "user" = "user") =>
  desk.users.create(localActor, { email: `p${++people}@example.com`, role });

describe("clients", () => {
  test("a runner without a project gets its secret once and no project", async () => {
    const made = await newClient({ scope: "usage:read llm:chat" });
    expect(made).toEqual({
      client_id: expect.stringMatching(/^cli_[0-9a-f]{32}$/),
      client_secret: expect.stringMatching(/^sgs_[0-9A-Za-z]{43}$/),
      kind: "runner",
      scope: "llm:chat usage:read",
      project_id: null,
    });
    expect(JSON.stringify(await desk.clients.list())).not.toContain(made.client_secret ?? "?");
    const [row] = await desk.database.sql`select * from clients where id = ${made.client_id}`;
    expect(JSON.stringify(row)).not.toContain(made.client_secret ?? "?");
  });

  test("a desktop client is public", async () => {
    const redirectUris = ["http://127.0.0.1/callback", "https://app.example/cb"];
    const made = await newClient({
      kind: "desktop",
      scope: "control:write approvals:decide".split(" ")[0] ?? "",
      redirectUris,
    });
    expect(made.client_secret).toBeUndefined();
    await expect(desk.clients.rotate(localActor, made.client_id)).rejects.toThrow("public");
  });

  test.each<[string, Partial<NewClient>, string, RegExp]>([
    [
      "too much without a project",
      { scope: "llm:chat control:write" },
      "invalid_scope",
      /control:write: needs a project.*llm:chat, mcp:read, usage:read only/,
    ],
    [
      "people's scopes",
      { scope: "admin approvals:decide" },
      "invalid_scope",
      /admin: is for people only.*approvals:decide: is for people only/,
    ],
    [
      "consuming as a service",
      { kind: "service", projectId: "bound", scope: "approvals:consume" },
      "invalid_scope",
      /runner clients only/,
    ],
    [
      "consuming as a desktop",
      { kind: "desktop", scope: "approvals:consume" },
      "invalid_scope",
      /runner clients only/,
    ],
    ["an unknown scope", { scope: "llm:everything" }, "invalid_scope", /Unknown: llm:everything/],
    ["no scope", { scope: " " }, "invalid_scope", /at least one/],
    ["an empty name", { name: " " }, "invalid_name", /1 to 200/],
    ["a name with control characters", { name: "a\nb" }, "invalid_name", /control/],
    [
      "a redirect of a runner",
      { redirectUris: ["https://a.example/"] },
      "invalid_redirect_uri",
      /no redirect/,
    ],
    [
      "a plain http redirect",
      { kind: "desktop", redirectUris: ["http://a.example/"] },
      "invalid_redirect_uri",
      /https/,
    ],
    [
      "a script as redirect",
      { kind: "desktop", redirectUris: ["javascript:alert(1)"] },
      "invalid_redirect_uri",
      /https/,
    ],
    [
      "a redirect with a fragment",
      { kind: "desktop", redirectUris: ["https://a.example/#x"] },
      "invalid_redirect_uri",
      /fragment/,
    ],
    [
      "a project for a desktop",
      { kind: "desktop", projectId: "bound" },
      "invalid_request",
      /Leave the project out/,
    ],
    ["a project that is not there", { projectId: newId("prj") }, "not_found", /no project/],
  ])("%s is refused, in words", async (_name, client, code, why) => {
    const bound = client.projectId === "bound" ? { projectId: project } : {};
    const made = newClient({ ...client, ...bound });
    await expect(made).rejects.toMatchObject({ code, message: expect.stringMatching(why) });
  });

  test("nothing is bound to an archived project any more", async () => {
    const old = await desk.projects.create(localActor, { name: "Old" });
    const runner = await newClient({ projectId: old.id });
    const { key } = await desk.keys.create(localActor, {
      owner: { clientId: runner.client_id },
      scope: "llm:chat",
    });
    await desk.database.sql`update projects set archived_at = now() where id = ${old.id}`;
    await expect(newClient({ projectId: old.id })).rejects.toMatchObject({ code: "closed" });
    expect((await desk.ask(runner)).status).toBe(400);
    expect(await desk.knock(key)).toBe(401);
  });
});

describe("API keys", () => {
  const create = (key: Partial<NewKey> & Pick<NewKey, "owner">) =>
    desk.keys.create(localActor, { scope: "llm:chat", ...key });

  test("a client's key acts as that client, narrowed, for 90 days", async () => {
    const client = await newClient({ projectId: project, scope: "llm:chat control:read" });
    const made = await create({ owner: { clientId: client.client_id } });
    expect(made).toEqual({
      id: expect.stringMatching(/^key_[0-9a-f]{32}$/),
      key: expect.stringMatching(/^sgk_/),
      scope: "llm:chat",
      expires_at: expect.stringMatching(/^\d{4}-.*\.\d{3}Z$/),
    });
    const days = (Date.parse(made.expires_at) - Date.now()) / 86_400_000;
    expect(days).toBeCloseTo(90, 2);
    expect(await me(made.key)).toEqual({
      principal: {
        id: client.client_id,
        kind: "client",
        role: "runner",
        email: null,
        client_id: client.client_id,
        key_id: made.id,
        project_id: project,
        session_id: null,
        expires_at: made.expires_at,
      },
      scopes: ["llm:chat"],
      memberships: [],
      mcp_tools: [],
      limits: { requests_per_minute: { control: null, llm: null, mcp: null } },
    });
    for (const plane of ["control", "llm", "mcp"] as const)
      expect(await desk.knock(made.key, plane)).toBe(200);
  });

  test("an admin's key is a person's and never administers", async () => {
    const ada = await newUser("admin");
    const made = await create({
      owner: { userEmail: ada.email.toUpperCase() },
      scope: "control:write llm:chat",
    });
    expect(await me(made.key)).toMatchObject({
      principal: { id: ada.id, kind: "user", role: "admin", client_id: null },
      scopes: ["llm:chat", "control:write"],
    });
    const asked = create({ owner: { userEmail: ada.email }, scope: "admin" });
    await expect(asked).rejects.toMatchObject({ code: "invalid_scope" });
  });

  test("neither the key nor its hash's preimage is stored, listed or audited", async () => {
    const { client_id: clientId } = await newClient();
    const made = await create({ owner: { clientId } });
    const kept = JSON.stringify([
      await desk.keys.list(),
      await desk.entries(made.id),
      await desk.database.sql`select * from api_keys`,
    ]);
    expect(kept).not.toContain(made.key);
    expect((await desk.keys.list()).find(({ id }) => id === made.id)?.hint).toBe(made.key.slice(-4));
  });

  test.each<[string, () => Promise<Partial<NewKey> & Pick<NewKey, "owner">>, string]>([
    [
      "a scope that its client lacks",
      async () => ({ owner: { clientId: (await newClient()).client_id }, scope: "mcp:read" }),
      "invalid_scope",
    ],
    [
      "deciding approvals",
      async () => ({ owner: { userEmail: (await newUser()).email }, scope: "approvals:decide" }),
      "invalid_scope",
    ],
    ["an unknown client", async () => ({ owner: { clientId: newId("cli") } }), "not_found"],
    ["an unknown person", async () => ({ owner: { userEmail: "nobody@example.com" } }), "not_found"],
    [
      "a project that its client has not",
      async () => ({ owner: { clientId: (await newClient()).client_id }, projectId: project }),
      "invalid_request",
    ],
    [
      "an unknown project",
      async () => ({ owner: { userEmail: (await newUser()).email }, projectId: newId("prj") }),
      "not_found",
    ],
    [
      "366 days",
      async () => ({ owner: { clientId: (await newClient()).client_id }, expiresDays: 366 }),
      "invalid_request",
    ],
    [
      "no day",
      async () => ({ owner: { clientId: (await newClient()).client_id }, expiresDays: 0 }),
      "invalid_request",
    ],
    [
      "half a day",
      async () => ({ owner: { clientId: (await newClient()).client_id }, expiresDays: 0.5 }),
      "invalid_request",
    ],
    [
      "a desktop client as owner",
      async () => ({ owner: { clientId: (await newClient({ kind: "desktop" })).client_id } }),
      "invalid_request",
    ],
  ])("%s is refused", async (_name, key, code) => {
    await expect(create(await key())).rejects.toMatchObject({ code });
  });

  test("a revoked client and a disabled person get no new keys", async () => {
    const { client_id: clientId } = await newClient();
    await desk.clients.revoke(localActor, clientId);
    await expect(create({ owner: { clientId } })).rejects.toMatchObject({ code: "closed" });
    const { email } = await newUser();
    await desk.users.disable(localActor, email);
    await expect(create({ owner: { userEmail: email } })).rejects.toMatchObject({ code: "closed" });
  });

  test("a mistyped key is told so, and an unknown one is not", async () => {
    const { client_id: clientId } = await newClient();
    const { key } = await create({ owner: { clientId } });
    const detail = async (bearer: string) => {
      const response = await desk.send("/api/v1/me", { headers: { authorization: `Bearer ${bearer}` } });
      expect(response.status).toBe(401);
      expect(response.headers.get("www-authenticate")).toContain('error="invalid_token"');
      const body = (await response.json()) as { code: string; detail: string };
      expect(body.code).toBe("unauthenticated");
      return body.detail;
    };
    expect(await detail(key.slice(0, -1) + (key.endsWith("a") ? "b" : "a"))).toContain("mistyped");
    expect(await detail("sgk_short")).toContain("mistyped");
    const { mintKey } = await import("./minting.ts");
    expect(await detail(mintKey())).not.toContain("mistyped");
  });

  test("revoking twice is no error and is audited once", async () => {
    const { client_id: clientId } = await newClient();
    const { id } = await create({ owner: { clientId } });
    const first = await desk.keys.revoke(localActor, id);
    expect(await desk.keys.revoke(localActor, id)).toEqual(first);
    expect((await desk.entries(id)).map(({ action }) => action)).toEqual(["key.created", "key.revoked"]);
  });
});

describe("tokens for the machine's own shell", () => {
  const nothing = { scope: null, projectId: null, sessionId: null, ttlSeconds: null, resources: [] };

  test("a local command issues one without the secret, under the same rules", async () => {
    const { client_id: id } = await newClient({ projectId: project });
    const made = await desk.tokens.issue(localActor, id, {
      ...nothing,
      sessionId: await putSession(desk.database, project),
    });
    expect(made).toMatchObject({ token_type: "Bearer", expires_in: 900, scope: "llm:chat" });
    expect(await desk.knock(made.access_token)).toBe(200);
    const [, issued] = await desk.entries(id);
    expect(issued).toMatchObject({
      action: "token.issued",
      actor: "ada",
      actorKind: "local",
      projectId: project,
    });
    const asked = desk.tokens.issue(localActor, id, { ...nothing, scope: "mcp:read" });
    await expect(asked).rejects.toMatchObject({ code: "invalid_scope" });
  });

  test("not for an unknown, a revoked or a desktop client", async () => {
    const { client_id: revoked } = await newClient();
    await desk.clients.revoke(localActor, revoked);
    const { client_id: desktop } = await newClient({ kind: "desktop" });
    for (const [id, code] of [
      [newId("cli"), "not_found"],
      [revoked, "unauthorized_client"],
      [desktop, "unauthorized_client"],
    ] as const) {
      await expect(desk.tokens.issue(localActor, id, nothing)).rejects.toMatchObject({ code });
    }
  });
});
