import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { newId } from "../../platform/ids.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { basicOf, type Desk, deskUrl, localActor, openDesk } from "../../testing/desk.ts";
import { putSession } from "../../testing/objects.ts";
import type { CreatedClient } from "./contract.ts";

let desk: Desk;
let project: string;
let free: CreatedClient;
let bound: CreatedClient;

beforeAll(async () => {
  desk = await openDesk((await testDatabase()).database);
  project = (await desk.projects.create(localActor, { name: "Alpha" })).id;
  free = await desk.clients.create(localActor, {
    name: "free",
    kind: "runner",
    scope: "llm:chat usage:read",
  });
  bound = await desk.clients.create(localActor, {
    name: "bound",
    kind: "runner",
    projectId: project,
    scope: "llm:chat control:write approvals:consume",
  });
});
afterAll(() => desk.close());

const granted = async (response: Response) => {
  expect(response.status).toBe(200);
  return (await response.json()) as {
    access_token: string;
    token_type: string;
    expires_in: number;
    scope: string;
  };
};
const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as Record<string, unknown>;

/** Every refusal has RFC 6749's shape, is never stored, and speaks printable ASCII. */
async function refused(response: Response): Promise<string> {
  expect(response.headers.get("content-type")).toBe("application/json");
  expect(response.headers.get("cache-control")).toBe("no-store");
  expect(response.headers.get("pragma")).toBe("no-cache");
  if (response.status === 401) expect(response.headers.get("www-authenticate")).toStartWith("Basic ");
  const body = (await response.json()) as { error: string; error_description: string };
  expect(Object.keys(body).sort()).toEqual(["error", "error_description"]);
  expect(body.error_description).toMatch(/^[\x20\x21\x23-\x5b\x5d-\x7e]+$/);
  return `${response.status} ${body.error}`;
}

describe("the client_credentials grant", () => {
  test("a client gets a token for all of its scopes, never to be cached", async () => {
    const response = await desk.ask(free);
    const { headers } = response;
    const answer = await granted(response);
    expect(answer).toEqual({
      access_token: expect.any(String),
      token_type: "Bearer",
      expires_in: 900,
      scope: "llm:chat usage:read",
    });
    expect([headers.get("cache-control"), headers.get("pragma")]).toEqual(["no-store", "no-cache"]);
    expect(await desk.knock(answer.access_token)).toBe(200);
  });

  test("the token is an at+jwt with exactly the claims of the contract", async () => {
    const session = await putSession(desk.database, project);
    const { access_token } = await granted(
      await desk.ask(bound, { session_id: session, project_id: project, ttl_seconds: "60" }),
    );
    const header = JSON.parse(Buffer.from(access_token.split(".")[0] ?? "", "base64url").toString());
    expect(header).toEqual({ alg: "HS256", typ: "at+jwt", kid: expect.stringMatching(/^[0-9a-f]{16}$/) });
    const claims = claimsOf(access_token);
    expect(claims).toEqual({
      iss: deskUrl,
      sub: bound.client_id,
      aud: deskUrl,
      client_id: bound.client_id,
      scope: "llm:chat control:write approvals:consume",
      role: "runner",
      project_id: project,
      session_id: session,
      jti: expect.any(String),
      iat: expect.any(Number),
      nbf: expect.any(Number),
      exp: expect.any(Number),
    });
    expect(Number(claims.exp) - Number(claims.nbf)).toBe(60);
  });

  test("client_secret_post works too, and a body's client_id may repeat the header's", async () => {
    const { client_id, client_secret = "" } = free;
    const body = new URLSearchParams({ grant_type: "client_credentials", client_id, client_secret });
    await granted(await desk.send("/oauth/token", { method: "POST", body }));
    await granted(await desk.ask(free, { client_id }));
  });

  test("resources become audiences, aliases included", async () => {
    const body = new URLSearchParams({ grant_type: "client_credentials" });
    body.append("resource", "https://alias.example/mcp/");
    body.append("resource", `${deskUrl}/v1`);
    const headers = { authorization: basicOf(free) };
    const answer = await granted(await desk.send("/oauth/token", { method: "POST", body, headers }));
    expect(claimsOf(answer.access_token).aud).toEqual([`${deskUrl}/mcp`, `${deskUrl}/v1`]);
    expect(await desk.knock(answer.access_token, "mcp")).toBe(200);
    expect(await desk.knock(answer.access_token, "llm")).toBe(200);
    expect(await desk.knock(answer.access_token, "control")).toBe(401);
  });

  test("a narrower scope is granted and holds", async () => {
    const { access_token, scope } = await granted(await desk.ask(free, { scope: "usage:read" }));
    expect(scope).toBe("usage:read");
    expect(await desk.knock(access_token, "llm")).toBe(403);
  });

  const form = (fields: Record<string, string>) => new URLSearchParams(fields);
  const grant = { grant_type: "client_credentials" };
  const basic = (id: string, secret: string) => `Basic ${btoa(`${id}:${secret}`)}`;

  test.each<[string, string, () => RequestInit & { path?: string }]>([
    ["no client", "401 invalid_client", () => ({ body: form(grant) })],
    [
      "an id without a secret",
      "401 invalid_client",
      () => ({ body: form({ ...grant, client_id: free.client_id }) }),
    ],
    [
      "a wrong secret",
      "401 invalid_client",
      () => ({
        body: form(grant),
        headers: { authorization: basic(free.client_id, `sgs_${"0".repeat(43)}`) },
      }),
    ],
    [
      "an unknown client",
      "401 invalid_client",
      () => ({
        body: form(grant),
        headers: { authorization: basic(newId("cli"), free.client_secret ?? "") },
      }),
    ],
    [
      "another client's secret",
      "401 invalid_client",
      () => ({
        body: form(grant),
        headers: { authorization: basic(free.client_id, bound.client_secret ?? "") },
      }),
    ],
    [
      "a Bearer header",
      "401 invalid_client",
      () => ({ body: form(grant), headers: { authorization: "Bearer x" } }),
    ],
    [
      "broken base64",
      "401 invalid_client",
      () => ({ body: form(grant), headers: { authorization: "Basic %%%" } }),
    ],
    [
      "Basic without a colon",
      "401 invalid_client",
      () => ({ body: form(grant), headers: { authorization: `Basic ${btoa("x")}` } }),
    ],
    [
      "bad percent coding in Basic",
      "401 invalid_client",
      () => ({ body: form(grant), headers: { authorization: basic("%zz", "x") } }),
    ],
    [
      "a client id with NUL",
      "401 invalid_client",
      () => ({ body: form(grant), headers: { authorization: basic("cli_%00", "x") } }),
    ],
    [
      "a client id beyond ASCII in the body",
      "401 invalid_client",
      () => ({ body: form({ ...grant, client_id: "cli_\u0e01\ud800", client_secret: "x" }) }),
    ],
    [
      "header and body secret at once",
      "400 invalid_request",
      () => ({
        body: form({ ...grant, client_secret: "x" }),
        headers: { authorization: basicOf(free) },
      }),
    ],
    [
      "another client_id in the body",
      "400 invalid_request",
      () => ({
        body: form({ ...grant, client_id: bound.client_id }),
        headers: { authorization: basicOf(free) },
      }),
    ],
    ["JSON", "400 invalid_request", () => ({ body: "{}", headers: { "content-type": "application/json" } })],
    ["no content type", "400 invalid_request", () => ({ body: new Uint8Array([97]) })],
    [
      "a form in parts",
      "400 invalid_request",
      () => ({ body: "--x--", headers: { "content-type": "multipart/form-data; boundary=x" } }),
    ],
    [
      "a repeated parameter",
      "400 invalid_request",
      () => ({
        body: "grant_type=client_credentials&grant_type=client_credentials",
        headers: {
          authorization: basicOf(free),
          "content-type": "application/x-www-form-urlencoded",
        },
      }),
    ],
    [
      "a repeated secret",
      "400 invalid_request",
      () => ({
        body: "grant_type=client_credentials&client_id=a&client_secret=b&client_secret=b",
        headers: { "content-type": "application/x-www-form-urlencoded" },
      }),
    ],
    [
      "parameters in the URL",
      "400 invalid_request",
      () => ({
        path: "/oauth/token?grant_type=client_credentials",
        body: form(grant),
        headers: { authorization: basicOf(free) },
      }),
    ],
    [
      "an endless parameter",
      "400 invalid_request",
      () => ({
        body: form({ ...grant, scope: "x".repeat(5_000) }),
        headers: { authorization: basicOf(free) },
      }),
    ],
    [
      "no grant type",
      "400 invalid_request",
      () => ({ body: form({ scope: "llm:chat" }), headers: { authorization: basicOf(free) } }),
    ],
  ])("%s is %s", async (_name, expected, init) => {
    const { path = "/oauth/token", ...rest } = init();
    expect(await refused(await desk.send(path, { method: "POST", ...rest }))).toBe(expected);
  });

  test.each<[string, string, () => [CreatedClient, Record<string, string>]]>([
    ["the password grant", "400 unsupported_grant_type", () => [free, { grant_type: "password" }]],
    ["a refresh without a token", "400 invalid_request", () => [free, { grant_type: "refresh_token" }]],
    ["an unknown scope", "400 invalid_scope", () => [free, { scope: "llm:chat evil" }]],
    ["quotes in a scope", "400 invalid_scope", () => [free, { scope: 'a"b\\c\u00e9' }]],
    ["a scope it does not hold", "400 invalid_scope", () => [free, { scope: "mcp:read" }]],
    ["a people's scope", "400 invalid_scope", () => [free, { scope: "admin" }]],
    ["a project without a binding", "400 invalid_request", () => [free, { project_id: project }]],
    ["a session without a binding", "400 invalid_request", () => [free, { session_id: newId("ses") }]],
    ["another project", "400 invalid_request", () => [bound, { project_id: newId("prj") }]],
    ["a session that is not there", "400 invalid_request", () => [bound, { session_id: newId("ses") }]],
    ["a misspelled session", "400 invalid_request", () => [bound, { session_id: "ses_x" }]],
    ["too long a life", "400 invalid_request", () => [free, { ttl_seconds: "3601" }]],
    ["too short a life", "400 invalid_request", () => [free, { ttl_seconds: "59" }]],
    ["a life in words", "400 invalid_request", () => [free, { ttl_seconds: "1e3" }]],
    ["a negative life", "400 invalid_request", () => [free, { ttl_seconds: "-60" }]],
    ["a foreign resource", "400 invalid_target", () => [free, { resource: "https://evil.example/mcp" }]],
    ["an unknown path", "400 invalid_target", () => [free, { resource: `${deskUrl}/metrics` }]],
  ])("%s is %s", async (_name, expected, init) => {
    // A twin of the client, because failures are counted.
    const [client, fields] = init();
    const { kind, scope, project_id: projectId } = client;
    const other = await desk.clients.create(localActor, { name: "twin", kind, scope, projectId });
    expect(await refused(await desk.ask(other, fields))).toBe(expected);
  });

  test("a body over the limit is refused", async () => {
    const body = new URLSearchParams({ a: "x".repeat(20_000) });
    expect((await desk.send("/oauth/token", { method: "POST", body })).status).toBe(413);
  });

  test("an unsupported grant names what exists", async () => {
    const response = await desk.ask(free, { grant_type: "password" });
    expect(((await response.json()) as { error_description: string }).error_description).toContain(
      "client_credentials",
    );
  });
});

describe("refusals", () => {
  const newClient = () => desk.clients.create(localActor, { name: "n", kind: "service", scope: "llm:chat" });
  const wrong = (client: CreatedClient) => ({ ...client, client_secret: `sgs_${"z".repeat(43)}` });

  test("an unknown client, a wrong secret, a revoked and a public client get one answer", async () => {
    const revoked = await newClient();
    await desk.clients.revoke(localActor, revoked.client_id);
    const known = await newClient();
    const desktop = await desk.clients.create(localActor, { name: "d", kind: "desktop", scope: "llm:chat" });
    const answers = [];
    for (const client of [{ ...known, client_id: newId("cli") }, wrong(known), revoked, wrong(desktop)]) {
      const response = await desk.ask(client);
      const { "x-request-id": _id, ...headers } = Object.fromEntries(response.headers);
      answers.push(JSON.stringify([response.status, headers, await response.json()]));
    }
    expect(new Set(answers).size).toBe(1);
  });

  test("too many failures slow a client down for a minute and never for good", async () => {
    const client = await newClient();
    for (let i = 0; i < 10; i++) expect((await desk.ask(wrong(client))).status).toBe(401);
    const slowed = await desk.ask(wrong(client));
    expect(slowed.status).toBe(429);
    expect(Number(slowed.headers.get("retry-after"))).toBeWithin(1, 61);
    expect(await refused(slowed)).toBe("429 temporarily_unavailable");
    // Whoever has the right secret is not slowed by those who have not.
    await granted(await desk.ask(client));
    await granted(await desk.ask(await newClient()));
  });

  test("a rotated secret stops at once and the new one works", async () => {
    const client = await newClient();
    const fresh = await desk.clients.rotate(localActor, client.client_id);
    expect((await desk.ask(client)).status).toBe(401);
    await granted(await desk.ask(fresh));
  });

  test("what is issued and what is refused is in the audit, without secrets", async () => {
    const client = await newClient();
    await granted(await desk.ask(client));
    await desk.ask(client, { scope: "admin" });
    await desk.ask(wrong(client));
    const entries = await desk.entries(client.client_id);
    expect(entries.map(({ action, outcome, details }) => [action, outcome, details.error ?? null])).toEqual([
      ["client.created", "ok", null],
      ["token.issued", "ok", null],
      ["token.refused", "refused", "invalid_scope"],
      ["token.refused", "refused", "invalid_client"],
    ]);
    expect(entries[1]).toMatchObject({ actor: client.client_id, actorKind: "client", ip: "192.0.2.7" });
    expect(JSON.stringify(entries)).not.toContain(client.client_secret ?? "?");
    expect(JSON.stringify(entries)).not.toContain("zzzz");
  });

  test("a secret sent as the client's id does not reach the audit", async () => {
    const secret = `sgs_${"S".repeat(43)}`;
    await desk.ask({ ...free, client_id: secret, client_secret: "x" });
    const rows = await desk.database.sql`select * from audit where actor = 'anonymous'`;
    expect(rows.length).toBeGreaterThan(0);
    expect(JSON.stringify(rows)).not.toContain("SSSS");
  });
});

describe("discovery", () => {
  const read = async (path: string, origin = deskUrl) => (await desk.send(path, {}, origin)).json();

  test("the server's metadata lists only what exists", async () => {
    expect(await read("/.well-known/oauth-authorization-server")).toMatchObject({
      issuer: deskUrl,
      token_endpoint: `${deskUrl}/oauth/token`,
      authorization_endpoint: `${deskUrl}/oauth/authorize`,
      registration_endpoint: `${deskUrl}/oauth/register`,
      response_types_supported: ["code"],
      code_challenge_methods_supported: ["S256"],
    });
  });

  test.each(["", "/mcp", "/v1", "/api/v1"])("the resource %p is named by the origin asked", async (path) => {
    const at = `/.well-known/oauth-protected-resource${path}`;
    expect(await read(at)).toMatchObject({ resource: deskUrl + path, authorization_servers: [deskUrl] });
    expect(await read(at, "http://alias.example")).toMatchObject({
      resource: `https://alias.example${path}`,
      authorization_servers: [deskUrl],
    });
  });
});

describe("revocation (RFC 7009)", () => {
  const revoke = (client: CreatedClient, token: string) =>
    desk.send("/oauth/revoke", {
      method: "POST",
      headers: { authorization: basicOf(client) },
      body: new URLSearchParams({ token }),
    });

  test("a client revokes its own token, and nobody else's", async () => {
    const mine = await desk.clients.create(localActor, { name: "m", kind: "runner", scope: "llm:chat" });
    const other = await desk.clients.create(localActor, { name: "o", kind: "runner", scope: "llm:chat" });
    const { access_token } = await granted(await desk.ask(mine));
    expect(await desk.knock(access_token)).toBe(200);
    expect((await revoke(other, access_token)).status).toBe(200);
    await Bun.sleep(30);
    expect(await desk.knock(access_token)).toBe(200);
    expect((await revoke(mine, access_token)).status).toBe(200);
    await Bun.sleep(50);
    expect(await desk.knock(access_token)).toBe(401);
    expect((await revoke(mine, "garbage")).status).toBe(200);
    expect((await revoke({ ...mine, client_secret: "x" }, access_token)).status).toBe(401);
  });
});
