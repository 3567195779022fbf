import { afterAll, describe, expect, test } from "bun:test";
import { basicOf, deskUrl, localActor } from "../../testing/desk.ts";
import {
  type App,
  appOf,
  type Browser,
  browserOf,
  decideDevice,
  deviceTicket,
  granted,
  newPerson,
  openOAuth,
  type Pair,
} from "../../testing/oauth.ts";
import {
  after,
  again,
  all,
  asking,
  body,
  by,
  empty,
  type Family,
  formRows,
  header,
  publicClientRows,
  type Row,
  refusalOf,
  secretClientRows,
  set,
  tryFamily,
  without,
  withoutHeader,
} from "../../testing/refusals.ts";
import type { CreatedClient, IssuedToken, RegisteredClient } from "./contract.ts";

const desk = await openOAuth();
afterAll(() => desk.close());

const project = (await desk.projects.create(localActor, { name: "Alpha" })).id;
const otherProject = (await desk.projects.create(localActor, { name: "Beta" })).id;
const scope = "llm:chat usage:read";
const newRunner = (projectId: string | null = project) =>
  desk.clients.create(localActor, { name: "robo", kind: "runner", projectId, scope });
const newApp = async (): Promise<App> => {
  const { client_id } = await desk.clients.create(localActor, {
    name: "app",
    kind: "desktop",
    redirectUris: ["http://127.0.0.1/callback"],
    scope,
  });
  return appOf(desk.send, client_id);
};
const machine = await newRunner();
const foreigner = await newRunner(otherProject);
const other = await newApp();
const tokenOf = async (client: CreatedClient) => (await granted<IssuedToken>(desk.ask(client))).access_token;

/** Who takes part in the row that runs now. */
let app: App;
let person: Browser;
let runner: CreatedClient;
let pair: Pair;
const revoked = after(() => desk.clients.revoke(localActor, app.clientId));
const secret = secretClientRows({
  app: other.clientId,
  other: machine,
  revoked: after(() => desk.clients.revoke(localActor, runner.client_id)),
  rotated: after(() => desk.clients.rotate(localActor, runner.client_id)),
});
const tokenRows: Row[] = [
  ...formRows("token"),
  ["7009 §2.1", "token is required", without("token"), "400 invalid_request"],
  ["6749 §3.2", "an empty token is none", empty("token"), "400 invalid_request"],
  ["6749 §3.2", "token must not stand twice", again("token"), "400 invalid_request"],
];

const appRevokes: Family = {
  name: "POST /oauth/revoke by an app",
  good: "200",
  async ask() {
    [app, person] = [await newApp(), await newPerson(desk)];
    pair = await app.signIn(person);
    return asking("POST", "/oauth/revoke", { client_id: app.clientId, token: pair.refresh_token });
  },
  rows: [...publicClientRows({ machine, revoked }), ...tokenRows],
};
const machineRevokes: Family = {
  name: "POST /oauth/revoke by a machine",
  good: "200",
  async ask() {
    runner = await newRunner();
    const token = await tokenOf(runner);
    return asking("POST", "/oauth/revoke", { token }, { authorization: basicOf(runner) });
  },
  rows: secret,
};

const introspects: Family = {
  name: "POST /oauth/introspect",
  good: "200",
  async ask() {
    runner = await newRunner();
    const token = await tokenOf(runner);
    return asking("POST", "/oauth/introspect", { token }, { authorization: basicOf(runner) });
  },
  rows: [
    ...secret,
    ...tokenRows,
    [
      "7662 §2.1",
      "a public client",
      all(withoutHeader("authorization"), set("client_id", other.clientId)),
      "401 invalid_client",
    ],
    [
      "7662 §4",
      "the token itself is no proof",
      all(header("authorization", "Bearer x")),
      "401 invalid_client",
    ],
    ["7662 §4", "pages of other origins", header("origin", "https://evil.example"), "403 invalid_request"],
    ["7662 §2.2", "garbage", set("token", "garbage"), "inactive"],
    ["7662 §2.2", "another project's token", set("token", () => tokenOf(foreigner)), "inactive"],
    ["7662 §2.2", "another project's client", header("authorization", basicOf(foreigner)), "inactive"],
    [
      "7662 §2.2",
      "a client of no project",
      header("authorization", async () => basicOf(await newRunner(null))),
      "inactive",
    ],
    [
      "7662 §2.2",
      "a person's token",
      set("token", async () => (await other.signIn(await newPerson(desk))).access_token),
      "inactive",
    ],
    [
      "7662 §2.2",
      "a refresh token",
      set("token", async () => (await other.signIn(await newPerson(desk))).refresh_token),
      "inactive",
    ],
    ["7662 §2.2", "a cookie", set("token", async () => (await newPerson(desk)).cookie), "inactive"],
    ["7662 §2.2", "its own secret", set("token", () => runner.client_secret ?? ""), "inactive"],
    ["7662 §2.2", "a token that has expired", after(() => desk.clock.move(900_000)), "inactive"],
    [
      "7662 §2.2",
      "a token that was revoked",
      after(async (asked) => {
        const { headers, fields } = asked;
        await granted(desk.send("/oauth/revoke", { method: "POST", headers, body: fields }));
      }),
      "inactive",
    ],
  ],
};

const startsDevice: Family = {
  name: "POST /oauth/device_authorization",
  good: "200",
  async ask() {
    app = await newApp();
    return asking("POST", "/oauth/device_authorization", { client_id: app.clientId, scope: "llm:chat" });
  },
  rows: [
    ...publicClientRows({ machine, revoked }),
    ...formRows("client_id"),
    [
      "8628 §3.1",
      "a machine needs no person",
      all(without("client_id"), header("authorization", basicOf(machine))),
      "400 unauthorized_client",
    ],
    ["6749 §3.3", "an unknown scope", set("scope", "everything"), "400 invalid_scope"],
    ["6749 §3.3", "a scope beyond the client", set("scope", "llm:chat mcp:write"), "400 invalid_scope"],
    ["6749 §3.3", "an administrator's scope", set("scope", "admin"), "400 invalid_scope"],
    ["6749 §3.3", "spaces alone name no scope", set("scope", " "), "400 invalid_scope"],
    ["6749 §3.2", "scope must not stand twice", again("scope"), "400 invalid_request"],
    ["8707 §2", "a foreign resource", set("resource", "https://evil.example"), "400 invalid_target"],
    ["8707 §2", "a resource has no fragment", set("resource", `${deskUrl}/mcp#`), "400 invalid_target"],
  ],
};

let userCode: string;
const onDevice = async (fields: () => Promise<Record<string, string>> | Record<string, string>) => {
  [app, person] = [await newApp(), await newPerson(desk)];
  userCode = (await app.startDevice()).user_code;
  const headers = { cookie: `specgate=${person.cookie}`, "sec-fetch-site": "same-origin" };
  return asking("POST", "/device", await fields(), headers);
};
const page = "page 400";
const pageRows: Row[] = [
  ["8628 §3.3", "a person must have signed in", withoutHeader("cookie"), "page 401"],
  ["8628 §5.4", "another site's form", header("sec-fetch-site", "cross-site"), "page 403"],
  ["8628 §5.4", "a sibling's form", header("sec-fetch-site", "same-site"), "page 403"],
  ["8628 §5.4", "a form that no browser vouches for", withoutHeader("sec-fetch-site"), "page 403"],
  ["8628 §5.4", "as text", body("a=b", "text/plain"), "page 415"],
];
const typesCode: Family = {
  name: "POST /device with a code",
  good: "page 200",
  ask: () => onDevice(() => ({ user_code: userCode })),
  rows: [
    ...pageRows,
    ["8628 §3.3", "no code", without("user_code"), page],
    ["8628 §3.3", "a code that no device waits for", set("user_code", "BBBB-2222"), page],
    ["8628 §6.1", "a code that is no code", set("user_code", "<script>"), page],
    [
      "8628 §6.1",
      "the device's own code",
      set("user_code", async () => (await app.startDevice()).device_code),
      page,
    ],
    ["8628 §3.2", "a code lives ten minutes", after(() => desk.clock.move(600_000)), page],
    ["8628 §3.3", "a code is decided once", after(() => decideDevice(person, userCode)), page],
    ["8628 §3.3", "a denied code too", after(() => decideDevice(person, userCode, null)), page],
    ["8628 §3.3", "the app was revoked", revoked, page],
  ],
};
const ticketOf = async () => deviceTicket(person, userCode);
const decidesDevice: Family = {
  name: "POST /device with a decision",
  good: "page 200",
  ask: () => onDevice(async () => ({ ticket: await ticketOf(), decision: "allow", scope: "llm:chat" })),
  rows: [
    ...pageRows,
    ["8628 §5.4", "a ticket out of thin air", set("ticket", `sgt_${"0".repeat(43)}`), page],
    ["8628 §5.4", "an empty ticket", empty("ticket"), page],
    [
      "8628 §5.4",
      "another person's ticket",
      set("ticket", async () => deviceTicket(await newPerson(desk), userCode)),
      page,
    ],
    [
      "8628 §5.4",
      "another browser's ticket",
      set("ticket", async () => deviceTicket(await browserOf(desk, person), userCode)),
      page,
    ],
    [
      "8628 §5.4",
      "a consent's ticket",
      set("ticket", () => other.ticket(person, other.asking().params)),
      page,
    ],
    [
      "8628 §5.4",
      "a ticket decides once",
      after(async ({ path, headers, fields }) => {
        expect((await desk.send(path, { method: "POST", headers, body: fields })).status).toBe(200);
      }),
      page,
    ],
    [
      "8628 §3.3",
      "decided meanwhile in another browser",
      after(async () => {
        expect((await decideDevice(await newPerson(desk), userCode)).status).toBe(200);
      }),
      page,
    ],
    ["8628 §5.4", "a ticket lives ten minutes", after(() => desk.clock.move(600_000)), page],
    ["8628 §3.3", "no decision is none", without("decision"), page],
    ["8628 §3.3", "no third decision", set("decision", "yes"), page],
    ["8628 §3.3", "nothing ticked is nothing given", without("scope"), page],
    ["8628 §3.3", "ticking what was not asked for gives nothing", set("scope", "control:read"), page],
  ],
};

const metadata = { redirect_uris: ["http://127.0.0.1/callback"], client_name: "Tool", scope: "llm:chat" };
const json = (changed: Record<string, unknown>) =>
  body(JSON.stringify({ ...metadata, ...changed }), "application/json");
const to = (uri: unknown) => json({ redirect_uris: [uri] });
const [noRedirect, noMetadata] = ["400 invalid_redirect_uri", "400 invalid_client_metadata"];
const registers: Family = {
  name: "POST /oauth/register",
  good: "201",
  ask() {
    const asked = asking("POST", "/oauth/register");
    json({})(asked);
    return asked;
  },
  rows: [
    ["7591 §2", "redirect_uris is required", json({ redirect_uris: undefined }), noRedirect],
    ["7591 §2", "one at least", json({ redirect_uris: [] }), noRedirect],
    ["7591 §2", "a list", json({ redirect_uris: "http://127.0.0.1/callback" }), noRedirect],
    ["7591 §2", "of text", to(1), noRedirect],
    ["7591 §2", "and no object", to({ toString: "x" }), noRedirect],
    ["7591 §2", "sixteen at most", json({ redirect_uris: Array(17).fill("https://a.example/") }), noRedirect],
    [
      "7591 §2",
      "one bad among good ones",
      json({ redirect_uris: ["https://a.example/", "x:y"] }),
      noRedirect,
    ],
    ["6749 §3.1.2", "an empty address", to(""), noRedirect],
    ["6749 §3.1.2", "a relative address", to("/callback"), noRedirect],
    ["6749 §3.1.2", "an address without a scheme", to("//a.example/cb"), noRedirect],
    ["6749 §3.1.2", "a fragment", to("https://a.example/cb#x"), noRedirect],
    ["6749 §3.1.2", "an empty fragment", to("https://a.example/cb#"), noRedirect],
    ["9700 §2.6", "plain http", to("http://a.example/cb"), noRedirect],
    ["8252 §8.3", "plain http that looks like loopback", to("http://127.0.0.1.a.example/cb"), noRedirect],
    ["8252 §8.3", "every address", to("http://0.0.0.0/cb"), noRedirect],
    ["8252 §8.3", "another loopback address", to("http://127.0.0.2/cb"), noRedirect],
    ["8252 §8.4", "a scheme of its own", to("com.example.app:/cb"), noRedirect],
    ["9700 §4.1", "a script", to("javascript:alert(1)"), noRedirect],
    ["9700 §4.1", "data", to("data:text/html,x"), noRedirect],
    ["9700 §4.1", "a file", to("file:///etc/passwd"), noRedirect],
    ["9700 §4.1", "a user name", to("https://a@b.example/cb"), noRedirect],
    ["9700 §4.1", "a password", to("https://:a@b.example/cb"), noRedirect],
    ["3986 §2", "NUL", to("https://a.example/\u0000"), noRedirect],
    ["3986 §2", "a line", to("https://a.example/\r\nset-cookie: a=b"), noRedirect],
    ["3986 §2", "a tab", to("https://a.\texample/"), noRedirect],
    ["3986 §2", "a space", to(" https://a.example/"), noRedirect],
    ["3986 §2", "a backslash", to("https:\\\\a.example/"), noRedirect],
    ["3986 §2", "letters beyond ASCII", to("https://b\u00fccher.example/"), noRedirect],
    ["3986 §2", "half a letter", to("https://a.example/\ud800"), noRedirect],
    ["7591 §2", "an address has an end", to(`https://a.example/${"x".repeat(2_048)}`), noRedirect],
    ["7591 §2", "a name is text", json({ client_name: 1 }), noMetadata],
    ["7591 §2", "a name has an end", json({ client_name: "x".repeat(201) }), noMetadata],
    ["7591 §2", "a name without control characters", json({ client_name: "a\u0000b" }), noMetadata],
    ["7591 §2", "a name on one line", json({ client_name: "a\nb" }), noMetadata],
    ["7591 §2", "a scope is text", json({ scope: ["llm:chat"] }), noMetadata],
    ["7591 §2", "only scopes of people", json({ scope: "admin approvals:decide" }), noMetadata],
    ["7591 §2", "only scopes of other servers", json({ scope: "openid profile" }), noMetadata],
    ["7591 §2", "only the implicit grant", json({ response_types: ["token"] }), noMetadata],
    ["7591 §2", "response types in a list", json({ response_types: "code" }), noMetadata],
    ["7591 §2", "a method of authentication is text", json({ token_endpoint_auth_method: null }), noMetadata],
    ["7591 §3.1", "a list", body("[]", "application/json"), noMetadata],
    ["7591 §3.1", "text", body('"x"', "application/json"), noMetadata],
    ["7591 §3.1", "nothing", body("", "application/json"), noMetadata],
    ["7591 §3.1", "half of it", body('{"redirect_uris":[', "application/json"), noMetadata],
    ["7591 §3.1", "a member twice", body('{"scope":"a","scope":"b"}', "application/json"), noMetadata],
    [
      "7591 §3.1",
      "very deep",
      body(`${'{"a":'.repeat(9_000)}1${"}".repeat(9_000)}`, "application/json"),
      noMetadata,
    ],
    [
      "7591 §3.1",
      "not UTF-8",
      body(new Uint8Array([123, 34, 255, 34, 58, 49, 125]), "application/json"),
      noMetadata,
    ],
    ["7591 §3.1", "very long", json({ software_id: "x".repeat(70_000) }), noMetadata],
    ["7591 §3.1", "no JSON by type", body("{}", "text/json"), noMetadata],
    ["7591 §3.1", "a form", body("redirect_uris=x", "application/x-www-form-urlencoded"), noMetadata],
    ["7591 §3.1", "by GET there is nothing", by("GET"), "404 invalid_request"],
  ],
};

const reads: Family = {
  name: "GET /.well-known/oauth-authorization-server",
  good: "200",
  ask: () => asking("GET", "/.well-known/oauth-authorization-server"),
  rows: [],
};

for (const family of [
  appRevokes,
  machineRevokes,
  introspects,
  startsDevice,
  typesCode,
  decidesDevice,
  registers,
  reads,
])
  tryFamily(desk.send, family);

describe("metadata", () => {
  test.each([
    ["8414 §3", "POST", "/.well-known/oauth-authorization-server"],
    ["8414 §3.1", "GET", "/.well-known/oauth-authorization-server/mcp"],
    ["8414 §3", "GET", "/.well-known/OAuth-Authorization-Server"],
    ["9728 §3", "POST", "/.well-known/oauth-protected-resource"],
    ["9728 §3.1", "GET", "/.well-known/oauth-protected-resource/oauth"],
    ["9728 §3.1", "GET", "/.well-known/oauth-protected-resource/mcp/evil"],
    ["9728 §3.1", "GET", "/mcp/.well-known/oauth-protected-resource"],
  ])("%s: %s %s is not there", async (_section, method, path) => {
    expect((await desk.send(path, { method })).status).toBe(404);
  });
});

describe("what no table can say", () => {
  test("7591 §5: an address registers sixty clients an hour and is then told to wait", async () => {
    const register = () =>
      desk.send("/oauth/register", {
        method: "POST",
        headers: { "content-type": "application/json", "x-forwarded-for": "10.254.0.1" },
        body: JSON.stringify(metadata),
      });
    for (let i = 0; i < 60; i++) expect((await register()).status).toBe(201);
    const refused = await register();
    expect(refused.status).toBe(429);
    expect(await refusalOf(refused)).toBe("temporarily_unavailable");
  });

  test("7591 §2: scopes of people are left out of what an app gets", async () => {
    const asked = registers.ask() as Awaited<ReturnType<typeof registers.ask>>;
    json({ scope: "llm:chat admin approvals:decide approvals:consume openid" })(asked);
    const { headers, body } = asked;
    const made = await granted<RegisteredClient>(
      desk.send("/oauth/register", { method: "POST", headers, body }),
    );
    expect(made.scope).toBe("llm:chat");
  });

  test("8628 §5.1: a person at one address types ten wrong codes a minute", async () => {
    const { cookie } = await newPerson(desk);
    const guess = (ip: string) =>
      desk.send("/device", {
        method: "POST",
        headers: { cookie: `specgate=${cookie}`, "sec-fetch-site": "same-origin", "x-forwarded-for": ip },
        body: new URLSearchParams({ user_code: "BBBB-2222" }),
      });
    for (let i = 0; i < 10; i++) expect((await guess("10.254.0.2")).status).toBe(400);
    expect((await guess("10.254.0.2")).status).toBe(429);
    expect((await guess("10.254.0.3")).status).toBe(400);
  });

  test("7009 §2.2: another client's token goes on, and so does one that is none", async () => {
    const [mine, its] = [await newApp(), await newApp()];
    const theirs = await its.signIn(await newPerson(desk));
    const machines = await tokenOf(machine);
    for (const token of [
      theirs.access_token,
      theirs.refresh_token,
      machines,
      "garbage",
      `sgr_${"0".repeat(43)}`,
    ])
      expect((await mine.revoke(token)).status).toBe(200);
    await Bun.sleep(50);
    expect(await desk.knock(theirs.access_token)).toBe(200);
    expect(await desk.knock(machines)).toBe(200);
    await granted(its.refresh(theirs.refresh_token));
  });

  test("all tables together have more than 150 rows", () => {
    const families = [
      appRevokes,
      machineRevokes,
      introspects,
      startsDevice,
      typesCode,
      decidesDevice,
      registers,
    ];
    expect(families.flatMap(({ rows }) => rows).length).toBeGreaterThan(150);
  });
});
