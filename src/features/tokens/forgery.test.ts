import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { Secret } from "../../platform/secret.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { type Desk, deskSecret, deskUrl, localActor, openDesk } from "../../testing/desk.ts";
import { appOf, claimsOf, newPerson } from "../../testing/oauth.ts";
import type { CreatedClient } from "./contract.ts";
import { signingSecrets } from "./secrets.ts";

type Json = Record<string, unknown>;

const kid = signingSecrets([new Secret(deskSecret)])[0]?.kid ?? "";
const otherKid = signingSecrets([new Secret(deskSecret.toUpperCase())])[0]?.kid ?? "";

let desk: Desk;
let client: CreatedClient;

beforeAll(async () => {
  desk = await openDesk((await testDatabase()).database);
  client = await desk.clients.create(localActor, { name: "robo", kind: "runner", scope: "llm:chat" });
});
afterAll(() => desk.close());

const encode = (value: unknown): string =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
const hmac = (input: string, secret: string | Buffer = deskSecret, hash = "sha256"): string =>
  createHmac(hash, secret).update(input).digest("base64url");

const goodHeader: Json = { alg: "HS256", typ: "at+jwt", kid };
const now = () => Math.floor(Date.now() / 1000);
const goodClaims = (): Json => ({
  iss: deskUrl,
  sub: client.client_id,
  aud: deskUrl,
  client_id: client.client_id,
  scope: "llm:chat",
  role: "runner",
  jti: crypto.randomUUID(),
  iat: now(),
  nbf: now(),
  exp: now() + 300,
});

/** A token signed with the right secret, except for what `header` and `claims` change; undefined leaves a member out. */
function forge(header: Json = {}, claims: Json = {}, secret?: string | Buffer, hash?: string): string {
  const input = `${encode({ ...goodHeader, ...header })}.${encode({ ...goodClaims(), ...claims })}`;
  return `${input}.${hmac(input, secret, hash)}`;
}

const rsa = generateKeyPairSync("rsa", { modulusLength: 2_048 });
const publicPem = rsa.publicKey.export({ type: "spki", format: "pem" });
const rsaSigned = (): string => {
  const input = `${encode({ ...goodHeader, alg: "RS256" })}.${encode(goodClaims())}`;
  return `${input}.${sign("sha256", Buffer.from(input), rsa.privateKey).toString("base64url")}`;
};
const ownJwk = { kty: "oct", k: Buffer.from("attacker").toString("base64url") };

const changed = (token: string, part: number, change: (text: string) => string): string =>
  token
    .split(".")
    .map((text, i) => (i === part ? change(text) : text))
    .join(".");
/** The same bytes in another spelling: the last character's two unused bits are set. */
const strayBits = (text: string): string => {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return text.slice(0, -1) + alphabet[alphabet.indexOf(text.at(-1) ?? "") | 1];
};

const forgeries: [string, () => string][] = [
  ["alg none, unsigned", () => changed(forge({ alg: "none" }), 2, () => "")],
  ["alg none, signed", () => forge({ alg: "none" })],
  ["alg None", () => changed(forge({ alg: "None" }), 2, () => "")],
  ["alg NONE", () => forge({ alg: "NONE" })],
  ["alg nOnE", () => forge({ alg: "nOnE" })],
  ["alg hs256", () => forge({ alg: "hs256" })],
  ["alg HS384", () => forge({ alg: "HS384" }, {}, deskSecret, "sha384")],
  ["alg HS512", () => forge({ alg: "HS512" }, {}, deskSecret, "sha512")],
  ["alg RS256, signed with a stranger's key", rsaSigned],
  ["alg RS256, signed with our secret", () => forge({ alg: "RS256" })],
  ["HS256 with a public key as the secret", () => forge({}, {}, publicPem as string)],
  ["alg missing", () => forge({ alg: undefined })],
  ["alg null", () => forge({ alg: null })],
  ["alg in a list", () => forge({ alg: ["HS256"] })],
  ["alg empty", () => forge({ alg: "" })],
  ["unsigned", () => changed(forge(), 2, () => "")],
  ["without the third part", () => forge().split(".").slice(0, 2).join(".")],
  ["signed with another secret", () => forge({}, {}, "another secret, also 32 bytes and more")],
  ["signed with an empty secret", () => forge({}, {}, Buffer.alloc(1))],
  ["our other secret under the wrong kid", () => forge({}, {}, deskSecret.toUpperCase())],
  ["our secret under our other kid", () => forge({ kid: otherKid })],
  ["kid unknown", () => forge({ kid: "0123456789abcdef" })],
  ["kid missing", () => forge({ kid: undefined })],
  ["kid empty", () => forge({ kid: "" })],
  ["kid a number", () => forge({ kid: 1 })],
  ["kid a path", () => forge({ kid: "../../dev/null" }, {}, Buffer.alloc(1))],
  ["kid with SQL", () => forge({ kid: `${kid}' or 1=1 --` })],
  ["kid of the prototype", () => forge({ kid: "__proto__" })],
  ["a jwk in the header", () => forge({ jwk: ownJwk }, {}, "attacker")],
  ["a jwk beside a right signature", () => forge({ jwk: ownJwk })],
  ["a jku in the header", () => forge({ jku: "http://127.0.0.1:1/keys" })],
  ["an x5u in the header", () => forge({ x5u: "http://127.0.0.1:1/cert" })],
  ["an x5c in the header", () => forge({ x5c: ["MIIB"] })],
  ["a crit in the header", () => forge({ crit: ["exp"] })],
  ["an empty crit", () => forge({ crit: [] })],
  ["b64 false", () => forge({ b64: false, crit: ["b64"] })],
  ["a cty in the header", () => forge({ cty: "JWT" })],
  ["typ JWT", () => forge({ typ: "JWT" })],
  ["typ missing", () => forge({ typ: undefined })],
  ["typ of an id token", () => forge({ typ: "id+jwt" })],
  ["typ in capitals", () => forge({ typ: "AT+JWT" })],
  ["typ in full", () => forge({ typ: "application/at+jwt" })],
  ["exp missing", () => forge({}, { exp: undefined })],
  ["exp past by a second", () => forge({}, { nbf: now() - 100, exp: now() - 1 })],
  ["exp now", () => forge({}, { nbf: now() - 100, exp: now() })],
  ["exp a fraction", () => forge({}, { exp: now() + 300.5 })],
  ["exp text", () => forge({}, { exp: String(now() + 300) })],
  ["exp null", () => forge({}, { exp: null })],
  ["exp huge", () => forge({}, { exp: 1e15 })],
  ["exp beyond all numbers", () => forge({}, { exp: 1e308 })],
  ["exp in milliseconds", () => forge({}, { exp: Date.now() + 300_000 })],
  ["exp an hour and a second away", () => forge({}, { exp: now() + 3_601 })],
  ["exp negative", () => forge({}, { exp: -1 })],
  ["exp a list", () => forge({}, { exp: [now() + 300] })],
  ["nbf in a minute", () => forge({}, { nbf: now() + 60 })],
  ["nbf text", () => forge({}, { nbf: String(now()) })],
  ["nbf missing", () => forge({}, { nbf: undefined })],
  ["nbf after exp", () => forge({}, { nbf: now() + 20, exp: now() + 10 })],
  ["iat missing", () => forge({}, { iat: undefined })],
  ["iat a fraction", () => forge({}, { iat: now() + 0.5 })],
  ["iss wrong", () => forge({}, { iss: "https://evil.example" })],
  ["iss missing", () => forge({}, { iss: undefined })],
  ["iss with a slash more", () => forge({}, { iss: `${deskUrl}/` })],
  ["iss in a list", () => forge({}, { iss: [deskUrl] })],
  ["aud wrong", () => forge({}, { aud: "https://evil.example" })],
  ["aud missing", () => forge({}, { aud: undefined })],
  ["aud empty", () => forge({}, { aud: [] })],
  ["aud with a slash more", () => forge({}, { aud: `${deskUrl}/` })],
  ["aud an alias", () => forge({}, { aud: "https://alias.example" })],
  ["aud an object", () => forge({}, { aud: { [deskUrl]: true } })],
  ["aud holding a number", () => forge({}, { aud: [deskUrl, 1] })],
  ["jti missing", () => forge({}, { jti: undefined })],
  ["jti empty", () => forge({}, { jti: "" })],
  ["sub another's", () => forge({}, { sub: "cli_00000000000000000000000000000000" })],
  [
    "a client that does not exist",
    () =>
      forge(
        {},
        { sub: "cli_00000000000000000000000000000000", client_id: "cli_00000000000000000000000000000000" },
      ),
  ],
  ["client_id missing", () => forge({}, { client_id: undefined })],
  ["client_id with NUL", () => forge({}, { sub: "cli_\u0000", client_id: "cli_\u0000" })],
  ["scope a list", () => forge({}, { scope: ["llm:chat"] })],
  ["role admin", () => forge({}, { role: "admin" })],
  ["a project that the client is not bound to", () => forge({}, { project_id: "prj_0" })],
  ["a dot at the end", () => `${forge()}.`],
  ["two dots at the end", () => `${forge()}..`],
  ["a dot at the start", () => `.${forge()}`],
  ["five parts", () => `${forge()}.AAAA.AAAA`],
  ["padded", () => `${forge()}=`],
  ["the signature in another spelling", () => changed(forge(), 2, strayBits)],
  ["the signature cut", () => forge().slice(0, -1)],
  ["the signature longer", () => `${forge()}A`],
  ["the payload changed", () => changed(forge(), 1, () => encode({ ...goodClaims(), scope: "admin" }))],
  ["the payload a list", () => changed(forge(), 1, () => encode([]))],
  ["the header no JSON", () => changed(forge(), 0, () => encode("{"))],
  ["the header null", () => changed(forge(), 0, () => encode("null"))],
  ["the header not UTF-8", () => changed(forge(), 0, () => Buffer.from([0xff, 0xfe]).toString("base64url"))],
  ["a giant token", () => forge({}, { jti: "x".repeat(100_000) })],
  ["just over the size", () => forge({}, { jti: "x".repeat(4_000) })],
  ["only dots", () => ".."],
  ["an empty object", () => `${encode({})}.${encode({})}.`],
  ["a key's prefix alone", () => "sgk_"],
  ["a client's secret", () => client.client_secret ?? ""],
];

const knock = (authorization: string) => desk.send("/v1/door", { headers: { authorization } });

describe("forged access tokens", () => {
  test("the token that the forgeries start from is good", async () => {
    expect(await desk.knock(forge())).toBe(200);
    expect(await desk.knock(forge({ kid: otherKid }, {}, deskSecret.toUpperCase()))).toBe(200);
    expect(await desk.knock(forge({}, { nbf: now() + 25, exp: now() + 200 }))).toBe(200);
  });

  test.each(forgeries)("%s: 401", async (_name, make) => {
    const response = await knock(`Bearer ${make()}`);
    expect(response.status).toBe(401);
    expect(response.headers.get("www-authenticate")).toContain('error="invalid_token"');
    expect(await response.json()).toMatchObject({ error: { code: "invalid_api_key" } });
  });

  test("there are many of them", () => {
    expect(forgeries.length).toBeGreaterThan(90);
  });

  test.each([
    ["two spaces inside", () => `Bearer ${forge().replace(".", " .")}`],
    ["a comma", () => `Bearer ${forge()}, Bearer ${forge()}`],
    ["another scheme", () => `Token ${forge()}`],
    ["no scheme", () => forge()],
    ["nothing after the scheme", () => "Bearer "],
  ])("a header with %s: 401", async (_name, make) => {
    expect((await knock(make())).status).toBe(401);
  });
});

/** A person's token, as an app has it after a sign-in. */
const people: Json = { role: "user" };
const forgePerson = (claims: Json = {}): string => forge({}, { ...people, ...claims });
/** What else there is around the person. */
const known: Record<string, string> = {};
const newProject = async (name: string) => (await desk.projects.create(localActor, { name })).id;
const someone = "usr_00000000000000000000000000000000";
const prefixed = (tail: string): Json => ({ jti: `${known.signIn}${tail}` });

const peoplesForgeries: [string, () => string][] = [
  ["role admin for one who is a client", () => forge({}, { role: "admin" })],
  ["role user for one who is a client", () => forge({}, { role: "user" })],
  ["a client's sub with a sign-in", () => forgePerson({ sub: client.client_id })],
  ["a client for itself, with a sign-in", () => forge({}, { jti: people.jti })],
  ["a person with the role runner", () => forgePerson({ role: "runner" })],
  ["a person as its own client", () => forgePerson({ role: "runner", client_id: people.sub })],
  ["a person as its own app", () => forgePerson({ client_id: people.sub })],
  ["a person through a runner", () => forgePerson({ client_id: client.client_id })],
  [
    "a person through a client that does not exist",
    () => forgePerson({ client_id: `cli_${"0".repeat(32)}` }),
  ],
  ["a person through no client", () => forgePerson({ client_id: "" })],
  ["a person through an app that was revoked", () => forgePerson({ client_id: known.revokedApp })],
  ["a person who does not exist", () => forgePerson({ sub: someone })],
  ["a person who was disabled", () => forgePerson({ sub: known.disabled })],
  ["an e-mail address as sub", () => forgePerson({ sub: known.email })],
  ["a sub in capitals", () => forgePerson({ sub: String(people.sub).toUpperCase() })],
  ["two subs", () => forgePerson({ sub: [people.sub] })],
  ["a role that is none", () => forgePerson({ role: "owner" })],
  ["a role in capitals", () => forgePerson({ role: "ADMIN" })],
  ["two roles", () => forgePerson({ role: ["user", "admin"] })],
  ["no role", () => forgePerson({ role: undefined })],
  ["an app's token without a sign-in", () => forgePerson({ jti: crypto.randomUUID() })],
  ["a sign-in that has ended", () => forgePerson({ jti: `${known.endedSignIn}.${crypto.randomUUID()}` })],
  [
    "a child of a sign-in that has ended",
    () => forgePerson({ jti: `${known.endedSignIn}.${crypto.randomUUID()}~0123456789abcdef` }),
  ],
  ["a sign-in without a token", () => forgePerson(prefixed(""))],
  ["a sign-in with an empty token", () => forgePerson(prefixed("."))],
  ["a sign-in with another after it", () => forgePerson(prefixed(`.${known.signIn}`))],
  ["a sign-in behind its token", () => forgePerson({ jti: `${crypto.randomUUID()}.${known.signIn}` })],
  ["a sign-in as a child", () => forgePerson({ jti: `${crypto.randomUUID()}~${known.signIn}.x` })],
  ["a sign-in in capitals", () => forgePerson({ jti: String(people.jti).toUpperCase() })],
  ["a sign-in with a space before", () => forgePerson({ jti: ` ${people.jti}` })],
  ["a sign-in cut short", () => forgePerson({ jti: String(people.jti).replace("sgn_0", "sgn_") })],
  ["a sign-in of another kind", () => forgePerson({ jti: String(people.jti).replace("sgn_", "usr_") })],
  ["two dots after the sign-in", () => forgePerson(prefixed(`..${crypto.randomUUID()}`))],
  ["a child without a name", () => forgePerson({ jti: `${people.jti}~` })],
  ["a child with a short name", () => forgePerson({ jti: `${people.jti}~0` })],
  ["a child with a dot", () => forgePerson({ jti: `${people.jti}~0123456789abcdef.x` })],
  ["a child of nobody", () => forgePerson({ jti: "~0123456789abcdef" })],
  ["nine generations", () => forgePerson({ jti: `${people.jti}${"~0123456789abcdef".repeat(9)}` })],
  ["a jti in a list", () => forgePerson({ jti: [people.jti] })],
  ["a project that is not the person's", () => forgePerson({ project_id: known.foreignProject })],
  ["a project that does not exist", () => forgePerson({ project_id: `prj_${"0".repeat(32)}` })],
  ["an empty project", () => forgePerson({ project_id: "" })],
  ["a project that is null", () => forgePerson({ project_id: null })],
  ["a project in a list", () => forgePerson({ project_id: [known.project] })],
  ["a session without a project", () => forgePerson({ session_id: `ses_${"0".repeat(32)}` })],
  ["a session that is no id", () => forgePerson({ project_id: known.project, session_id: "x" })],
  ["a cookie", () => String(known.cookie)],
  ["a refresh token", () => String(known.refreshToken)],
];

describe("forged tokens of people", () => {
  beforeAll(async () => {
    const person = await newPerson(desk);
    const { access_token, refresh_token } = await appOf(desk.send).signIn(person);
    const { jti } = claimsOf(access_token);
    const [signIn] = String(jti).split(".");
    const over = await appOf(desk.send).signIn(person);
    const [endedSignIn] = String(claimsOf(over.access_token).jti).split(".");
    await appOf(desk.send).revoke(over.refresh_token);
    const disabled = await newPerson(desk);
    await desk.users.disable(localActor, disabled.email);
    const revoked = await desk.clients.create(localActor, { name: "r", kind: "desktop", scope: "llm:chat" });
    await desk.clients.revoke(localActor, revoked.client_id);
    const [project, foreign] = [await newProject("own"), await newProject("foreign")];
    await desk.projects.setMember(
      localActor,
      { projectId: project, userId: person.id, role: "editor" },
      null,
    );
    Object.assign(people, { sub: person.id, client_id: "specgate-desktop", jti });
    Object.assign(known, {
      signIn,
      endedSignIn,
      disabled: disabled.id,
      revokedApp: revoked.client_id,
      email: person.email,
      project,
      foreignProject: foreign,
      cookie: person.cookie,
      refreshToken: refresh_token,
    });
  });

  test("the token that the forgeries start from is good", async () => {
    expect(await desk.knock(forgePerson())).toBe(200);
    expect(await desk.knock(forgePerson({ project_id: known.project }))).toBe(200);
    expect(await desk.knock(forgePerson({ jti: `${people.jti}~0123456789abcdef` }))).toBe(200);
  });

  test.each(peoplesForgeries)("%s: 401", async (_name, make) => {
    expect((await knock(`Bearer ${make()}`)).status).toBe(401);
  });

  test("a role beyond the person's own gives nothing", async () => {
    const token = forgePerson({ role: "admin", scope: "admin control:read llm:chat" });
    const headers = { authorization: `Bearer ${token}` };
    const me = (await (await desk.send("/api/v1/me", { headers })).json()) as Json;
    expect(me).toMatchObject({ principal: { role: "user" }, scopes: ["llm:chat", "control:read"] });
    expect((await desk.send("/api/v1/users", { headers })).status).toBe(403);
  });
});

describe("audience and plane", () => {
  const planes = ["control", "llm", "mcp"] as const;
  const opened = async (aud: unknown) => {
    const token = forge({}, { aud });
    const statuses = await Promise.all(planes.map((plane) => desk.knock(token, plane)));
    return planes.filter((_plane, i) => statuses[i] === 200);
  };

  test.each([
    ["the public URL", deskUrl, ["control", "llm", "mcp"]],
    ["/v1", `${deskUrl}/v1`, ["llm"]],
    ["/mcp", `${deskUrl}/mcp`, ["mcp"]],
    ["/api/v1", `${deskUrl}/api/v1`, ["control"]],
    ["two of them", [`${deskUrl}/mcp`, `${deskUrl}/v1`], ["llm", "mcp"]],
    ["ours among strangers", ["https://evil.example", `${deskUrl}/mcp`], ["mcp"]],
  ] as const)("a token for %s opens what it names", async (_name, aud, expected) => {
    expect(await opened(aud)).toEqual([...expected]);
  });
});
