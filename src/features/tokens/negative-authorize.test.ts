import { afterAll, describe, expect, test } from "bun:test";
import { newId } from "../../platform/ids.ts";
import { deskUrl, localActor } from "../../testing/desk.ts";
import { appOf, browserOf, newPerson, openOAuth } from "../../testing/oauth.ts";
import {
  after,
  again,
  all,
  asking,
  body,
  by,
  empty,
  type Family,
  header,
  type Row,
  set,
  tryFamily,
  without,
  withoutHeader,
} from "../../testing/refusals.ts";

const desk = await openOAuth();
afterAll(() => desk.close());

const https = "https://app.example/cb";
const loopback = "http://127.0.0.1:49152/callback";
const registered = [
  https,
  "https://app.example/cb?tenant=1&flag",
  "http://127.0.0.1/callback",
  "http://[::1]/callback",
];
const newApp = () =>
  desk.clients.create(localActor, {
    name: "app",
    kind: "desktop",
    redirectUris: registered,
    scope: "llm:chat usage:read control:read",
  });
const { client_id: clientId } = await newApp();
const lone = await desk.clients.create(localActor, {
  name: "lone",
  kind: "desktop",
  redirectUris: [https],
  scope: "llm:chat usage:read",
});
const runner = await desk.clients.create(localActor, { name: "robo", kind: "runner", scope: "llm:chat" });
const revoked = await newApp();
await desk.clients.revoke(localActor, revoked.client_id);

const app = appOf(desk.send, clientId, loopback);
const person = await newPerson(desk);
const authorizing = (browser: { cookie: string } | null) => () => {
  const cookie: Record<string, string> = browser === null ? {} : { cookie: `specgate=${browser.cookie}` };
  return asking("GET", "/oauth/authorize", app.asking().params, cookie);
};

const page = "page 400";
const strangers: Row[] = [
  ["6749 §4.1.1", "client_id is required", without("client_id"), page],
  ["6749 §3.1", "an empty client_id is none", empty("client_id"), page],
  ["6749 §3.1", "client_id must not stand twice", again("client_id"), page],
  ["6749 §3.1", "nor with another client's", again("client_id", lone.client_id), page],
  ["6749 §4.1.2.1", "an unknown client gets no redirect", set("client_id", newId("cli")), page],
  ["6749 §4.1.2.1", "nor a misspelled one", set("client_id", clientId.toUpperCase()), page],
  ["6749 app. A.1", "a client_id is printable", set("client_id", "cli_\u0000"), page],
  ["6749 app. A.1", "and ASCII", set("client_id", "cli_\u0e01"), page],
  ["6749 §4.1.2.1", "a client_id is no SQL", set("client_id", `${clientId}' or '1'='1`), page],
  ["6749 §4.1.2.1", "a client_id has an end", set("client_id", "c".repeat(20_000)), page],
  ["6749 §2.1", "a machine's client asks no person", set("client_id", runner.client_id), page],
  ["6749 §4.1.2.1", "a revoked client gets no redirect", set("client_id", revoked.client_id), page],
  ["CIMD §3", "a document's address is https", set("client_id", "http://app.example/client"), page],
  ["CIMD §3", "no other scheme either", set("client_id", "javascript://app.example/client"), page],
  ["6749 §3.1.2.3", "of several addresses one must be named", without("redirect_uri"), page],
  ["6749 §3.1.2.3", "an empty address is none", empty("redirect_uri"), page],
  ["6749 §3.1", "redirect_uri must not stand twice", again("redirect_uri"), page],
  ["6749 §3.1", "nor with another one", again("redirect_uri", https), page],
];

/** RFC 9700 section 4.1.3: exact string matching, the port of a loopback address aside. */
const redirects: [why: string, uri: string][] = [
  ["the path in capitals", "https://app.example/CB"],
  ["the host in capitals", "https://APP.example/cb"],
  ["the scheme in capitals", "HTTPS://app.example/cb"],
  ["a trailing slash", "https://app.example/cb/"],
  ["without the path", "https://app.example"],
  ["a directory above", "https://app.example/"],
  ["a directory below", "https://app.example/cb/evil"],
  ["a path that climbs", "https://app.example/cb/../cb"],
  ["a path that climbs in code", "https://app.example/x/%2e%2e/cb"],
  ["an encoded letter", "https://app.example/%63b"],
  ["the usual port, spelled out", "https://app.example:443/cb"],
  ["another port on https", "https://app.example:8443/cb"],
  ["an empty fragment", "https://app.example/cb#"],
  ["a fragment", "https://app.example/cb#x"],
  ["a user name", "https://user@app.example/cb"],
  ["our host as the user name", "https://app.example@evil.example/cb"],
  ["our host as a prefix", "https://app.example.evil.example/cb"],
  ["our host as a suffix", "https://evil-app.example/cb"],
  ["our address in the path", "https://evil.example/https://app.example/cb"],
  ["our address in the query", "https://evil.example/?https://app.example/cb"],
  ["an open redirect in the query", "https://app.example/cb?next=https://evil.example"],
  ["an empty query", "https://app.example/cb?"],
  ["another tenant", "https://app.example/cb?tenant=2&flag"],
  ["a query in another order", "https://app.example/cb?flag&tenant=1"],
  ["a query cut short", "https://app.example/cb?tenant=1"],
  ["a backslash before the host", "https:\\\\app.example/cb"],
  ["a backslash behind the host", "https://app.example\\@evil.example/cb"],
  ["one slash", "https:/app.example/cb"],
  ["no scheme", "//app.example/cb"],
  ["a bare path", "/cb"],
  ["a tab inside", "https://app.example/\tcb"],
  ["a newline at the end", "https://app.example/cb\n"],
  ["a header smuggled in", "https://app.example/cb\r\nset-cookie: a=b"],
  ["a space before", " https://app.example/cb"],
  ["a space behind", "https://app.example/cb "],
  ["NUL at the end", "https://app.example/cb\u0000"],
  ["a host of wide letters", "https://\uff41pp.example/cb"],
  ["a dot at the host's end", "https://app.example./cb"],
  ["http instead of https", "http://app.example/cb"],
  ["a script", "javascript:alert(1)//https://app.example/cb"],
  ["data", "data:text/html,<script>alert(1)</script>"],
  ["a scheme of its own", "com.example.app:/callback"],
  ["no address at all", "x"],
  ["very long", `https://app.example/cb?${"x".repeat(10_000)}`],
  ["localhost for 127.0.0.1", "http://localhost:49152/callback"],
  ["127.0.0.2", "http://127.0.0.2:49152/callback"],
  ["127.1", "http://127.1:49152/callback"],
  ["127.0.0.1 as a number", "http://2130706433:49152/callback"],
  ["127.0.0.1 in hex", "http://0x7f.0.0.1:49152/callback"],
  ["127.0.0.1 in octal", "http://0177.0.0.1:49152/callback"],
  ["127.0.0.1 mapped into IPv6", "http://[::ffff:127.0.0.1]:49152/callback"],
  ["::1 in full", "http://[0:0:0:0:0:0:0:1]:49152/callback"],
  ["::1 with a zone", "http://[::1%25lo]:49152/callback"],
  ["every address", "http://0.0.0.0:49152/callback"],
  ["every IPv6 address", "http://[::]:49152/callback"],
  ["loopback over https", "https://127.0.0.1:49152/callback"],
  ["loopback with another path", "http://127.0.0.1:49152/other"],
  ["loopback without the path", "http://127.0.0.1:49152"],
  ["loopback with a trailing slash", "http://127.0.0.1:49152/callback/"],
  ["loopback with a query", "http://127.0.0.1:49152/callback?x=1"],
  ["loopback with an empty query", "http://127.0.0.1:49152/callback?"],
  ["loopback with a fragment", "http://127.0.0.1:49152/callback#x"],
  ["loopback with an empty fragment", "http://127.0.0.1:49152/callback#"],
  ["loopback with a user name", "http://user@127.0.0.1:49152/callback"],
  ["loopback with a password alone", "http://:pass@127.0.0.1:49152/callback"],
  ["loopback with a path that climbs", "http://127.0.0.1:49152/x/../callback"],
  ["loopback with a dot in the path", "http://127.0.0.1:49152/./callback"],
  ["loopback in capitals", "HTTP://127.0.0.1:49152/callback"],
  ["loopback as a prefix", "http://127.0.0.1.evil.example:49152/callback"],
  ["loopback as the user name", "http://127.0.0.1:49152@evil.example/callback"],
  ["a port beyond all ports", "http://127.0.0.1:65536/callback"],
  ["a port with a zero before", "http://127.0.0.1:049152/callback"],
  ["an empty port", "http://127.0.0.1:/callback"],
  ["two ports", "http://127.0.0.1:1:2/callback"],
];
const astray: Row[] = redirects.map(([why, uri]) => ["9700 §4.1.3", why, set("redirect_uri", uri), page]);

const long = "x".repeat(2_049);
const challenge = "a".repeat(43);
const asDesktop = all(set("client_id", "specgate-desktop"), set("scope", "admin"));
const mistakes: Row[] = [
  ["6749 §3.1.1", "response_type is required", without("response_type"), "app invalid_request"],
  ["6749 §3.1", "an empty response_type is none", empty("response_type"), "app invalid_request"],
  ["6749 §3.1", "response_type must not stand twice", again("response_type"), "app invalid_request"],
  ["9700 §2.1.2", "no implicit grant", set("response_type", "token"), "app unsupported_response_type"],
  ["9700 §2.1.2", "no hybrid", set("response_type", "code token"), "app unsupported_response_type"],
  ["6749 §3.1.1", "no id_token", set("response_type", "id_token"), "app unsupported_response_type"],
  [
    "6749 §3.1.1",
    "the type is case sensitive",
    set("response_type", "CODE"),
    "app unsupported_response_type",
  ],
  ["9700 §2.1.1", "PKCE is required", without("code_challenge"), "app invalid_request"],
  ["7636 §4.3", "an empty challenge is none", empty("code_challenge"), "app invalid_request"],
  [
    "7636 §4.2",
    "a challenge has 43 characters",
    set("code_challenge", "a".repeat(42)),
    "app invalid_request",
  ],
  ["7636 §4.2", "and no more", set("code_challenge", "a".repeat(44)), "app invalid_request"],
  ["7636 §4.2", "a challenge has no padding", set("code_challenge", `${challenge}=`), "app invalid_request"],
  [
    "7636 §4.2",
    "a challenge is base64url",
    set("code_challenge", `${"a".repeat(42)}+`),
    "app invalid_request",
  ],
  [
    "7636 §4.2",
    "a challenge does not end in a line",
    set("code_challenge", `${challenge}\n`),
    "app invalid_request",
  ],
  [
    "6749 §3.1",
    "code_challenge must not stand twice",
    again("code_challenge", challenge),
    "app invalid_request",
  ],
  [
    "7636 §4.3",
    "no method means plain, which is refused",
    without("code_challenge_method"),
    "app invalid_request",
  ],
  ["9700 §2.1.1", "plain protects nothing", set("code_challenge_method", "plain"), "app invalid_request"],
  ["7636 §4.3", "the method is case sensitive", set("code_challenge_method", "s256"), "app invalid_request"],
  ["7636 §4.3", "no other method", set("code_challenge_method", "S512"), "app invalid_request"],
  [
    "6749 §3.1",
    "the method must not stand twice",
    again("code_challenge_method", "plain"),
    "app invalid_request",
  ],
  ["6749 §4.1.2.1", "an unknown scope", set("scope", "llm:chat everything"), "app invalid_scope"],
  ["6749 §3.3", "scopes are case sensitive", set("scope", "LLM:chat"), "app invalid_scope"],
  ["6749 §3.3", "scopes are parted by spaces", set("scope", "llm:chat,usage:read"), "app invalid_scope"],
  ["6749 §3.3", "not by tabs", set("scope", "llm:chat\tusage:read"), "app invalid_scope"],
  ["6749 §3.3", "no quotes in a scope", set("scope", 'a"b\\c'), "app invalid_scope"],
  ["6749 §3.3", "no NUL in a scope", set("scope", "llm:chat\u0000"), "app invalid_scope"],
  ["6749 §3.3", "spaces alone name no scope", set("scope", "  "), "app invalid_scope"],
  ["6749 §3.3", "no more than the client may ask for", set("scope", "mcp:write"), "app invalid_scope"],
  ["6749 §3.1", "scope must not stand twice", again("scope", "control:read"), "app invalid_request"],
  ["6749 §4.1.2.1", "a person gives nothing they do not hold", asDesktop, "app access_denied"],
  ["8707 §2", "a foreign resource", set("resource", "https://evil.example/mcp"), "app invalid_target"],
  ["8707 §2", "a path that is none of ours", set("resource", `${deskUrl}/metrics`), "app invalid_target"],
  ["8707 §2", "a resource has no fragment", set("resource", `${deskUrl}/mcp#x`), "app invalid_target"],
  ["8707 §2", "a resource is absolute", set("resource", "/mcp"), "app invalid_target"],
  [
    "8707 §2",
    "a resource without a user name",
    set("resource", "http://u@127.0.0.1:8080/mcp"),
    "app invalid_target",
  ],
  ["8707 §2", "a resource without a query", set("resource", `${deskUrl}/mcp?x`), "app invalid_target"],
  [
    "8707 §2",
    "one good resource does not carry a bad one",
    all(set("resource", `${deskUrl}/mcp`), again("resource", "https://evil.example")),
    "app invalid_target",
  ],
  ["9101 §10.5", "no request objects", set("request", "eyJ"), "app request_not_supported"],
  ["9101 §10.5", "none by address", set("request_uri", "https://a.example"), "app request_uri_not_supported"],
  ["9700 §4.1", "no answer in a fragment", set("response_mode", "fragment"), "app invalid_request"],
  ["9207 §2", "no answer by a form", set("response_mode", "form_post"), "app invalid_request"],
  [
    "6749 §3.1",
    "response_mode must not stand twice",
    set("response_mode", "web_message"),
    "app invalid_request",
  ],
  ["6749 app. A.5", "a state has an end", set("state", long), "app invalid_request"],
  ["6749 app. A.5", "a state is printable", set("state", "a\u0000b"), "app invalid_request"],
  ["6749 app. A.5", "a state has no line", set("state", "a\r\nset-cookie: b"), "app invalid_request"],
  ["6749 §3.1", "state must not stand twice", again("state", "other"), "app invalid_request"],
  ["6749 §3.1", "nor any unknown parameter", all(set("x", "1"), again("x", "2")), "app invalid_request"],
];

const signedIn: Family = {
  name: "GET /oauth/authorize by a person",
  good: "to consent",
  ask: authorizing(person),
  rows: [
    ...strangers,
    ...astray,
    ...mistakes,
    [
      "6749 §3.1.2.3",
      "the only address",
      all(set("client_id", lone.client_id), set("redirect_uri", `${https}/`)),
      page,
    ],
    ["6749 §3.1", "an unknown method", by("POST"), "404 invalid_request"],
  ],
};
const unsigned: Family = {
  name: "GET /oauth/authorize by nobody",
  good: "to sign in",
  ask: authorizing(null),
  rows: [...strangers, ...astray],
};

const deciding = async () => {
  const browser = await newPerson(desk);
  const ticket = await app.ticket(browser, app.asking().params);
  const headers = { cookie: `specgate=${browser.cookie}`, "sec-fetch-site": "same-origin" };
  return asking("POST", "/oauth/consent", { ticket, decision: "allow", scope: "llm:chat" }, headers);
};
const otherTicket = async () => app.ticket(await newPerson(desk), app.asking().params);
const cookieOf = async (ofWhom: () => Promise<{ cookie: string }>) => `specgate=${(await ofWhom()).cookie}`;
/** Who sends it, found by the cookie that it carries. */
const sender = async (headers: Headers) => {
  const hash = new Bun.CryptoHasher("sha256").update(headers.get("cookie")?.split("=")[1] ?? "").digest();
  const [row] = await desk.database.sql`
    select u.id, u.email from users u join sign_ins s on s.user_id = u.id where s.cookie_hash = ${hash}`;
  return row as unknown as { id: string; email: string };
};

const consent: Family = {
  name: "POST /oauth/consent",
  good: "app code",
  ask: deciding,
  rows: [
    ["6749 §10.2", "a decision needs a person", withoutHeader("cookie"), "page 401"],
    ["6265 §5.4", "a cookie that is no one's", header("cookie", "specgate=sgc_x"), "page 401"],
    ["6265 §5.4", "two cookies of one name", header("cookie", "specgate=a; specgate=b"), "page 401"],
    ["6749 §10.12", "another site's form", header("sec-fetch-site", "cross-site"), "page 403"],
    ["6749 §10.12", "a sibling's form", header("sec-fetch-site", "same-site"), "page 403"],
    ["6749 §10.12", "a form out of nowhere", header("sec-fetch-site", "none"), "page 403"],
    ["6749 §10.12", "a form that no browser vouches for", withoutHeader("sec-fetch-site"), "page 403"],
    ["6749 §10.12", "another origin", header("origin", "https://evil.example"), "403 invalid_request"],
    ["6749 §10.12", "an origin that is hidden", header("origin", "null"), "403 invalid_request"],
    ["6749 §10.12", "without a ticket", without("ticket"), page],
    ["6749 §10.12", "an empty ticket", empty("ticket"), page],
    ["6749 §10.12", "a ticket out of thin air", set("ticket", `sgt_${"0".repeat(43)}`), page],
    ["6749 §10.12", "another person's ticket", set("ticket", otherTicket), page],
    ["6749 §10.12", "another person's cookie", header("cookie", () => cookieOf(() => newPerson(desk))), page],
    [
      "6749 §10.12",
      "the same person's other browser",
      async ({ headers }) =>
        headers.set("cookie", `specgate=${(await browserOf(desk, await sender(headers))).cookie}`),
      page,
    ],
    ["6749 §10.12", "a ticket decides once", after(async (asked) => send(asked)), page],
    ["6749 §10.12", "a denied ticket is spent", after(async (asked) => send(asked, "deny")), page],
    ["6749 §10.12", "a ticket lives ten minutes", after(() => desk.clock.move(601_000)), page],
    ["6749 §4.1.1", "no decision is none", without("decision"), page],
    ["6749 §4.1.1", "an empty decision is none", empty("decision"), page],
    ["6749 §4.1.1", "no third decision", set("decision", "ALLOW"), page],
    ["6749 §3.3", "nothing ticked is nothing given", without("scope"), page],
    ["6749 §3.3", "ticking what was not asked for gives nothing", set("scope", "control:read"), page],
    ["6749 §3.3", "nor what the app may not have", set("scope", "admin"), page],
    ["6749 §3.3", "nor what is no scope", set("scope", "everything"), page],
    ["6749 §3.3", "boxes come one by one", set("scope", "llm:chat usage:read"), page],
    ["6749 §10.12", "as text", body("decision=allow", "text/plain"), "page 415"],
    ["6749 §10.12", "in parts", body("--x--", "multipart/form-data; boundary=x"), "page 415"],
    [
      "6749 §10.12",
      "very long",
      body(`ticket=${"x".repeat(20_000)}`, "application/x-www-form-urlencoded"),
      "page 413",
    ],
    ["6749 §10.12", "broken JSON", body("{", "application/json"), page],
    ["6749 §10.12", "JSON of another shape", body('{"ticket":1}', "application/json"), "page 422"],
    [
      "6749 §10.2",
      "the person was disabled in the meantime",
      after(async ({ headers }) => {
        await desk.users.disable(localActor, (await sender(headers)).email);
        await Bun.sleep(50);
      }),
      "page 401",
    ],
  ],
};

async function send(asked: Awaited<ReturnType<typeof deciding>>, decision = "allow"): Promise<void> {
  const fields = new URLSearchParams(asked.fields);
  fields.set("decision", decision);
  const response = await desk.send(asked.path, { method: "POST", headers: asked.headers, body: fields });
  expect(response.status).toBe(303);
}

for (const family of [signedIn, unsigned, consent]) tryFamily(desk.send, family);

describe("the table of refusals at the authorization endpoint", () => {
  test("has a row for each way that is known", () => {
    expect(redirects.length).toBeGreaterThanOrEqual(25);
    expect(signedIn.rows.length + unsigned.rows.length + consent.rows.length).toBeGreaterThan(200);
  });

  test.each([
    ...registered,
    "http://127.0.0.1:1/callback",
    "http://127.0.0.1:65535/callback",
    "http://[::1]:49152/callback",
  ])("the redirect address %s is good", async (redirectUri) => {
    const { params } = app.asking({ redirect_uri: redirectUri });
    expect(await app.ticket(person, params)).toStartWith("sgt_");
  });

  test("an app that was revoked while the page stood open gets nothing", async () => {
    const { client_id } = await newApp();
    const browser = await newPerson(desk);
    const ticket = await app.ticket(browser, app.asking({ client_id }).params);
    await desk.clients.revoke(localActor, client_id);
    const response = await browser.post("/oauth/consent", { ticket, decision: "allow", scope: "llm:chat" });
    expect([response.status, response.headers.get("location")]).toEqual([400, null]);
  });
});
