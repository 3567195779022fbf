import { afterAll, expect, test } from "bun:test";
import { newId } from "../../platform/ids.ts";
import { basicOf, deskUrl, localActor } from "../../testing/desk.ts";
import {
  type App,
  accessTokenType,
  appOf,
  type Browser,
  challengeOf,
  decideDevice,
  exchangeGrant,
  exchanging,
  granted,
  newPerson,
  openOAuth,
  type Pair,
} from "../../testing/oauth.ts";
import { putSession } from "../../testing/objects.ts";
import {
  after,
  again,
  all,
  asking,
  empty,
  type Family,
  formRows,
  header,
  publicClientRows,
  type Row,
  secretClientRows,
  set,
  tryFamily,
  without,
} from "../../testing/refusals.ts";
import type { IssuedToken } from "./contract.ts";

const desk = await openOAuth();
afterAll(() => desk.close());

const project = (await desk.projects.create(localActor, { name: "Alpha" })).id;
const elsewhereProject = (await desk.projects.create(localActor, { name: "Beta" })).id;
const scope = "llm:chat usage:read";
const newRunner = (projectId: string | null = null) =>
  desk.clients.create(localActor, { name: "robo", kind: "runner", projectId, scope });
const newApp = async (): Promise<App> => {
  const { client_id } = await desk.clients.create(localActor, {
    name: "app",
    kind: "desktop",
    redirectUris: ["http://127.0.0.1/callback"],
    scope: `${scope} control:read`,
  });
  return appOf(desk.send, client_id);
};
const machine = await newRunner();
const other = await newApp();

/** Who takes part in the row that runs now. */
let app: App;
let person: Browser;
let runner: Awaited<ReturnType<typeof newRunner>>;
const meet = async () => {
  [app, person] = [await newApp(), await newPerson(desk)];
};

const disabled = after(() => desk.users.disable(localActor, person.email));
const revoked = after(() => desk.clients.revoke(localActor, app.clientId));
const later = (milliseconds: number) => after(() => desk.clock.move(milliseconds));
const isPublic = publicClientRows({ machine, revoked });

const post = (fields: Record<string, string>, headers: Record<string, string> = {}) =>
  asking("POST", "/oauth/token", fields, headers);

const tokenRows: Row[] = [
  ...formRows("client_id"),
  ["6749 §4.1.3", "grant_type is required", without("grant_type"), "400 invalid_request"],
  ["6749 §3.2", "an empty grant_type is none", empty("grant_type"), "400 invalid_request"],
  ["6749 §3.2", "grant_type must not stand twice", again("grant_type"), "400 invalid_request"],
  ["6749 §5.2", "an unknown grant", set("grant_type", "x"), "400 unsupported_grant_type"],
  ["9700 §2.4", "no passwords", set("grant_type", "password"), "400 unsupported_grant_type"],
  ["9700 §2.1.2", "no implicit grant", set("grant_type", "implicit"), "400 unsupported_grant_type"],
  ["6749 §5.2", "no part of an object", set("grant_type", "__proto__"), "400 unsupported_grant_type"],
  ["6749 §5.2", "nor its maker", set("grant_type", "constructor"), "400 unsupported_grant_type"],
  [
    "7523 §2.1",
    "no assertions",
    set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
    "400 unsupported_grant_type",
  ],
];
/** What each grant refuses alike. */
const askedRows: Row[] = [
  ["8707 §2", "a foreign resource", set("resource", "https://evil.example"), "400 invalid_target"],
  ["8707 §2", "a resource has no fragment", set("resource", `${deskUrl}/mcp#x`), "400 invalid_target"],
  ["8707 §2", "a resource is absolute", set("resource", "mcp"), "400 invalid_target"],
  ["8707 §2", "a path that is none of ours", set("resource", `${deskUrl}/oauth`), "400 invalid_target"],
  ["contract §3", "a life of an hour at most", set("ttl_seconds", "3601"), "400 invalid_request"],
  ["contract §3", "a life of a minute at least", set("ttl_seconds", "59"), "400 invalid_request"],
  ["contract §3", "a life in whole seconds", set("ttl_seconds", "60.5"), "400 invalid_request"],
  [
    "6749 §3.2",
    "ttl_seconds must not stand twice",
    all(set("ttl_seconds", "60"), again("ttl_seconds", "61")),
    "400 invalid_request",
  ],
];

const codes: Family = {
  name: "POST /oauth/token with an authorization code",
  good: "200",
  async ask() {
    await meet();
    const { code, verifier } = await app.code(person);
    return post({
      grant_type: "authorization_code",
      client_id: app.clientId,
      code,
      redirect_uri: app.redirectUri,
      code_verifier: verifier,
    });
  },
  rows: [
    ...tokenRows,
    ...isPublic,
    ...askedRows,
    ["6749 §4.1.3", "code is required", without("code"), "400 invalid_request"],
    ["6749 §3.2", "an empty code is none", empty("code"), "400 invalid_request"],
    ["6749 §3.2", "code must not stand twice", again("code"), "400 invalid_request"],
    ["6749 §5.2", "a code out of thin air", set("code", `sgo_${"0".repeat(43)}`), "400 invalid_grant"],
    [
      "6749 §5.2",
      "a code cut short",
      ({ fields }) => fields.set("code", fields.get("code")?.slice(0, -1) ?? ""),
      "400 invalid_grant",
    ],
    [
      "6749 §5.2",
      "a code with a line",
      ({ fields }) => fields.set("code", `${fields.get("code")}\n`),
      "400 invalid_grant",
    ],
    [
      "6749 §5.2",
      "a code in capitals",
      ({ fields }) => fields.set("code", fields.get("code")?.toUpperCase() ?? ""),
      "400 invalid_grant",
    ],
    [
      "6749 §5.2",
      "a refresh token is no code",
      set("code", async () => (await other.signIn(person)).refresh_token),
      "400 invalid_grant",
    ],
    ["6749 §4.1.3", "a code of another client", set("client_id", () => other.clientId), "400 invalid_grant"],
    [
      "6749 §4.1.3",
      "another client's code",
      set("code", async () => (await other.code(person)).code),
      "400 invalid_grant",
    ],
    [
      "6749 §4.1.3",
      "a machine with its secret",
      all(without("client_id"), header("authorization", basicOf(machine))),
      "400 invalid_grant",
    ],
    ["6749 §4.1.2", "a code lives a minute", later(60_000), "400 invalid_grant"],
    [
      "6749 §4.1.2",
      "a code is good once",
      after(async ({ fields }) => granted(await app.token(Object.fromEntries(fields)))),
      "400 invalid_grant",
    ],
    ["6749 §4.1.3", "redirect_uri must be repeated", without("redirect_uri"), "400 invalid_grant"],
    ["6749 §4.1.3", "an empty redirect_uri is none", empty("redirect_uri"), "400 invalid_grant"],
    ["6749 §3.2", "redirect_uri must not stand twice", again("redirect_uri"), "400 invalid_request"],
    [
      "6749 §4.1.3",
      "another port",
      set("redirect_uri", "http://127.0.0.1:49153/callback"),
      "400 invalid_grant",
    ],
    [
      "6749 §4.1.3",
      "the registered address without the port",
      set("redirect_uri", "http://127.0.0.1/callback"),
      "400 invalid_grant",
    ],
    [
      "6749 §4.1.3",
      "a trailing slash",
      set("redirect_uri", "http://127.0.0.1:49152/callback/"),
      "400 invalid_grant",
    ],
    [
      "6749 §4.1.3",
      "the path in capitals",
      set("redirect_uri", "http://127.0.0.1:49152/CALLBACK"),
      "400 invalid_grant",
    ],
    ["9700 §4.8.1", "code_verifier is required", without("code_verifier"), "400 invalid_request"],
    ["7636 §4.5", "an empty verifier is none", empty("code_verifier"), "400 invalid_request"],
    ["6749 §3.2", "code_verifier must not stand twice", again("code_verifier"), "400 invalid_request"],
    ["7636 §4.6", "a wrong verifier", set("code_verifier", "v".repeat(43)), "400 invalid_grant"],
    [
      "7636 §4.6",
      "another code's verifier",
      set("code_verifier", async () => (await app.code(person)).verifier),
      "400 invalid_grant",
    ],
    ["7636 §4.1", "a verifier of 42 characters", set("code_verifier", "v".repeat(42)), "400 invalid_grant"],
    ["7636 §4.1", "a verifier of 129 characters", set("code_verifier", "v".repeat(129)), "400 invalid_grant"],
    [
      "7636 §4.1",
      "a verifier with a sign that none has",
      set("code_verifier", `${"v".repeat(43)}+`),
      "400 invalid_grant",
    ],
    [
      "7636 §4.6",
      "a verifier with a line",
      ({ fields }) => fields.append("code_verifier", `${take(fields, "code_verifier")}\n`),
      "400 invalid_grant",
    ],
    [
      "7636 §4.6",
      "a verifier in capitals",
      ({ fields }) => fields.append("code_verifier", take(fields, "code_verifier").toUpperCase()),
      "400 invalid_grant",
    ],
    [
      "9700 §4.8.2",
      "the challenge in place of the verifier",
      ({ fields }) => {
        fields.append("code_verifier", challengeOf(take(fields, "code_verifier")));
        fields.set("code_challenge_method", "plain");
      },
      "400 invalid_grant",
    ],
    ["6749 §4.1.3", "a person who was disabled in the meantime", disabled, "400 invalid_grant"],
  ],
};

function take(fields: URLSearchParams, name: string): string {
  const value = fields.get(name) ?? "";
  fields.delete(name);
  return value;
}

const machines: Family = {
  name: "POST /oauth/token with a client's own credentials",
  good: "200",
  async ask() {
    runner = await newRunner();
    return post({ grant_type: "client_credentials", scope: "llm:chat" }, { authorization: basicOf(runner) });
  },
  rows: [
    ...formRows("scope"),
    ...secretClientRows({
      app: other.clientId,
      other: machine,
      revoked: after(() => desk.clients.revoke(localActor, runner.client_id)),
      rotated: after(() => desk.clients.rotate(localActor, runner.client_id)),
    }),
    ...askedRows,
    [
      "6749 §4.4",
      "an app has nothing of its own",
      all(without("grant_type"), set("grant_type", "client_credentials"), ({ headers, fields }) => {
        headers.delete("authorization");
        fields.set("client_id", other.clientId);
      }),
      "400 unauthorized_client",
    ],
    ["6749 §3.3", "an unknown scope", set("scope", "everything"), "400 invalid_scope"],
    ["6749 §3.3", "a scope beyond the client", set("scope", "llm:chat mcp:read"), "400 invalid_scope"],
    ["6749 §3.3", "a people's scope", set("scope", "admin"), "400 invalid_scope"],
    ["6749 §3.3", "spaces alone name no scope", set("scope", " "), "400 invalid_scope"],
    ["6749 §3.3", "scopes are parted by spaces", set("scope", "llm:chat\tusage:read"), "400 invalid_scope"],
    ["6749 §3.2", "scope must not stand twice", again("scope", "usage:read"), "400 invalid_request"],
    ["contract §3", "no project without a binding", set("project_id", project), "400 invalid_request"],
    ["contract §3", "no session without a binding", set("session_id", newId("ses")), "400 invalid_request"],
  ],
};

let pair: Pair;
const refreshes: Family = {
  name: "POST /oauth/token with a refresh token",
  good: "200",
  async ask() {
    await meet();
    pair = await app.signIn(person, { resource: [`${deskUrl}/v1`, `${deskUrl}/api/v1`] });
    const { refresh_token } = pair;
    return post({ grant_type: "refresh_token", client_id: app.clientId, refresh_token });
  },
  rows: [
    ...isPublic,
    ...askedRows,
    ["contract §3", "project_id binds no app", set("project_id", newId("prj")), "400 invalid_request"],
    ["contract §3", "session_id binds no app", set("session_id", newId("ses")), "400 invalid_request"],
    ["6749 §6", "refresh_token is required", without("refresh_token"), "400 invalid_request"],
    ["6749 §3.2", "an empty refresh_token is none", empty("refresh_token"), "400 invalid_request"],
    ["6749 §3.2", "refresh_token must not stand twice", again("refresh_token"), "400 invalid_request"],
    [
      "6749 §5.2",
      "a token out of thin air",
      set("refresh_token", `sgr_${"0".repeat(43)}`),
      "400 invalid_grant",
    ],
    [
      "6749 §5.2",
      "an access token is none",
      set("refresh_token", () => pair.access_token),
      "400 invalid_grant",
    ],
    [
      "6749 §5.2",
      "a code is none",
      set("refresh_token", async () => (await app.code(person)).code),
      "400 invalid_grant",
    ],
    ["6749 §6", "a token of another client", set("client_id", other.clientId), "400 invalid_grant"],
    [
      "6749 §6",
      "another client's token",
      set("refresh_token", async () => (await other.signIn(person)).refresh_token),
      "400 invalid_grant",
    ],
    [
      "6749 §6",
      "a machine with its secret",
      all(without("client_id"), header("authorization", basicOf(machine))),
      "400 invalid_grant",
    ],
    ["6749 §6", "a scope that was not granted", set("scope", "llm:chat control:read"), "400 invalid_scope"],
    ["6749 §6", "a scope that is none", set("scope", "everything"), "400 invalid_scope"],
    ["6749 §6", "an administrator's scope", set("scope", "admin"), "400 invalid_scope"],
    ["6749 §3.3", "spaces alone name no scope", set("scope", " "), "400 invalid_scope"],
    ["8707 §2.2", "a resource that was not granted", set("resource", `${deskUrl}/mcp`), "400 invalid_target"],
    ["8707 §2.2", "all resources when some were granted", set("resource", deskUrl), "400 invalid_target"],
    [
      "7009 §2.1",
      "a token that was revoked",
      after(() => app.revoke(pair.refresh_token)),
      "400 invalid_grant",
    ],
    ["contract §3", "a token lives 30 days", later(30 * 86_400_000), "400 invalid_grant"],
    [
      "9700 §4.14.2",
      "a used token with another request",
      after(() => app.refresh(pair.refresh_token, { scope: "llm:chat" })),
      "400 invalid_grant",
    ],
    [
      "9700 §4.14.2",
      "a used token after ten seconds",
      after(async () => {
        await app.refresh(pair.refresh_token);
        desk.clock.move(10_001);
      }),
      "400 invalid_grant",
    ],
    [
      "9700 §4.14.2",
      "a token used twice over",
      after(async () => app.refresh((await granted(app.refresh(pair.refresh_token))).refresh_token)),
      "400 invalid_grant",
    ],
    ["6749 §6", "a person who was disabled", disabled, "400 invalid_grant"],
  ],
};

let device: Awaited<ReturnType<App["startDevice"]>>;
const startDevice = async (decide: () => unknown) => {
  await meet();
  device = await app.startDevice();
  await decide();
  const grant_type = "urn:ietf:params:oauth:grant-type:device_code";
  return post({ grant_type, client_id: app.clientId, device_code: device.device_code });
};
const poll = () => app.poll(device.device_code);
const devices: Family = {
  name: "POST /oauth/token with a device's code",
  good: "200",
  ask: () => startDevice(() => decideDevice(person, device.user_code)),
  rows: [
    ...isPublic,
    ...askedRows,
    ["8628 §3.4", "device_code is required", without("device_code"), "400 invalid_request"],
    ["6749 §3.2", "an empty device_code is none", empty("device_code"), "400 invalid_request"],
    ["6749 §3.2", "device_code must not stand twice", again("device_code"), "400 invalid_request"],
    ["8628 §3.5", "a code out of thin air", set("device_code", `sgd_${"0".repeat(43)}`), "400 invalid_grant"],
    [
      "8628 §3.4",
      "the person's code is none",
      set("device_code", () => device.user_code),
      "400 invalid_grant",
    ],
    ["8628 §3.4", "another client's code", set("client_id", other.clientId), "400 invalid_grant"],
    ["8628 §3.5", "a code lives ten minutes, decided or not", later(600_000), "400 expired_token"],
    ["8628 §3.5", "a code is good once", after(async () => granted(await poll())), "400 invalid_grant"],
    ["8628 §3.5", "a person who was disabled", disabled, "400 access_denied"],
  ],
};
const ticking = async (...scopes: string[]) =>
  expect((await decideDevice(person, device.user_code, scopes)).status).toBe(400);
const undecided: Family = {
  name: "POST /oauth/token with a device's code that nobody has decided about",
  good: "400 authorization_pending",
  ask: () => startDevice(() => undefined),
  rows: [
    ["8628 §3.5", "too soon", after(poll), "400 slow_down"],
    [
      "8628 §3.5",
      "a second too soon",
      after(async () => [await poll(), desk.clock.move(4_000)]),
      "400 slow_down",
    ],
    [
      "8628 §3.5",
      "the longer interval too soon",
      after(async () => [await poll(), await poll(), desk.clock.move(9_000)]),
      "400 slow_down",
    ],
    ["8628 §3.5", "denied", after(() => decideDevice(person, device.user_code, null)), "400 access_denied"],
    ["8628 §3.5", "nothing ticked is not decided", after(() => ticking()), "400 authorization_pending"],
    [
      "8628 §3.3",
      "more ticked than asked is not decided",
      after(() => ticking("control:read")),
      "400 authorization_pending",
    ],
    ["8628 §3.5", "too old", later(600_000), "400 expired_token"],
    ["8628 §3.4", "by another client", set("client_id", other.clientId), "400 invalid_grant"],
  ],
};

let parent: IssuedToken;
const refused = "400 invalid_request";
const subjects: Row[] = [
  ["8693 §2.1", "subject_token is required", without("subject_token"), refused],
  ["6749 §3.2", "an empty subject_token is none", empty("subject_token"), refused],
  ["6749 §3.2", "subject_token must not stand twice", again("subject_token"), refused],
  ["8693 §2.2.2", "no token at all", set("subject_token", "garbage"), refused],
  [
    "8693 §2.2.2",
    "a token with another signature",
    ({ fields }) => fields.append("subject_token", `${take(fields, "subject_token").slice(0, -4)}AAAA`),
    refused,
  ],
  ["8693 §2.2.2", "a client's secret", set("subject_token", machine.client_secret ?? ""), refused],
  [
    "8693 §2.2.2",
    "an API key",
    set("subject_token", async () => {
      const owner = { clientId: machine.client_id };
      return (await desk.keys.create(localActor, { owner, scope })).key;
    }),
    refused,
  ],
  ["8693 §2.1", "subject_token_type is required", without("subject_token_type"), refused],
  ["8693 §3", "an id_token", set("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"), refused],
  [
    "8693 §3",
    "a refresh token",
    set("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
    refused,
  ],
  ["8693 §3", "a bare JWT", set("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"), refused],
  [
    "8693 §2.1",
    "a refresh token is not to be had",
    set("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
    refused,
  ],
  [
    "8693 §2.1",
    "nor is SAML",
    set("requested_token_type", "urn:ietf:params:oauth:token-type:saml2"),
    refused,
  ],
  ["8693 §2.1", "no actor", set("actor_token", () => parent.access_token), refused],
  ["8693 §2.1", "nor an actor's type", set("actor_token_type", accessTokenType), refused],
  ["8693 §2.1", "places are named by resource", set("audience", "https://mcp.example"), refused],
  ["8693 §2.2.2", "the parent has expired", later(900_000), refused],
  ["8693 §2.2.2", "a scope that is none", set("scope", "everything"), "400 invalid_scope"],
  ["8693 §2.2.2", "a scope beyond the parent's", set("scope", "llm:chat control:read"), "400 invalid_scope"],
  ["8693 §2.2.2", "an administrator's scope", set("scope", "admin"), "400 invalid_scope"],
  ["8693 §2.1", "another project", set("project_id", elsewhereProject), refused],
  ["8693 §2.1", "a project that is not there", set("project_id", newId("prj")), refused],
  ["8693 §2.1", "a project that is no id", set("project_id", "\u0000"), refused],
  ["8693 §2.1", "a session that is no id", set("session_id", "ses_x"), refused],
  ["8693 §2.1", "an unknown client", set("client_id", newId("cli")), "401 invalid_client"],
  ["8693 §2.1", "another client than the token's", set("client_id", other.clientId), refused],
  ["8693 §2.1", "another machine than the token's", header("authorization", basicOf(machine)), refused],
  [
    "6749 §5.2",
    "a wrong secret",
    header("authorization", basicOf({ ...machine, client_secret: "x" })),
    "401 invalid_client",
  ],
  ["8693 §2.1", "nine generations", set("subject_token", () => generations(8)), refused],
];

async function generations(count: number): Promise<string> {
  let token = parent.access_token;
  for (let i = 0; i < count; i++) {
    const exchanged = desk.send("/oauth/token", { method: "POST", body: exchanging(token) });
    token = (await granted<IssuedToken>(exchanged)).access_token;
  }
  return token;
}

const persons: Family = {
  name: "POST /oauth/token with a person's token, to be narrowed",
  good: "200",
  async ask() {
    await meet();
    pair = await app.signIn(person, { resource: `${deskUrl}/v1` });
    parent = pair;
    return post(Object.fromEntries(exchanging(parent.access_token)));
  },
  rows: [
    ...subjects,
    ...askedRows,
    [
      "8693 §2.2.2",
      "a refresh token as the subject",
      set("subject_token", () => pair.refresh_token),
      refused,
    ],
    ["8707 §2.2", "a resource beyond the parent's", set("resource", `${deskUrl}/mcp`), "400 invalid_target"],
    ["8707 §2.2", "all resources when the parent has one", set("resource", deskUrl), "400 invalid_target"],
    ["8693 §2.1", "a project that the person has no part in", set("project_id", project), refused],
    ["8693 §2.1", "a session outside of all projects", set("session_id", newId("ses")), refused],
    ["8693 §2.2.2", "the parent was revoked", after(() => app.revoke(parent.access_token)), refused],
    ["8693 §2.2.2", "the parent's sign-in was revoked", after(() => app.revoke(pair.refresh_token)), refused],
    ["8693 §2.2.2", "the person was disabled", disabled, refused],
    ["8693 §2.2.2", "the app was revoked", revoked, refused],
  ],
};
const session = await putSession(desk.database, project);
const otherSession = await putSession(desk.database, project);
const runners: Family = {
  name: "POST /oauth/token with a runner's token, to be narrowed",
  good: "200",
  async ask() {
    await meet();
    runner = await newRunner(project);
    parent = await granted<IssuedToken>(desk.ask(runner, { session_id: session, resource: `${deskUrl}/v1` }));
    return post(Object.fromEntries(exchanging(parent.access_token)));
  },
  rows: [
    ...subjects,
    ["8707 §2.2", "a resource beyond the parent's", set("resource", `${deskUrl}/mcp`), "400 invalid_target"],
    ["8693 §2.1", "another session", set("session_id", otherSession), refused],
    [
      "8693 §2.2.2",
      "the runner was revoked",
      after(() => desk.clients.revoke(localActor, runner.client_id)),
      refused,
    ],
    [
      "8693 §2.2.2",
      "the project was archived",
      after(() => desk.database.sql`update projects set archived_at = now() where id = ${project}`),
      refused,
    ],
  ],
};

const families = [codes, machines, refreshes, devices, undecided, persons, runners];
for (const family of families) tryFamily(desk.send, family);

test("the token endpoint has more than 150 rows", () => {
  expect(exchangeGrant).toEndWith(":token-exchange");
  expect(families.flatMap(({ rows }) => rows).length).toBeGreaterThan(150);
});
