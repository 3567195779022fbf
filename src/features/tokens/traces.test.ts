import { afterAll, expect, test } from "bun:test";
import { basicOf, localActor } from "../../testing/desk.ts";
import {
  appOf,
  claimsOf,
  decideDevice,
  exchanging,
  granted,
  newPerson,
  openOAuth,
  type Send,
} from "../../testing/oauth.ts";
import type { IssuedToken } from "./contract.ts";

const ip = "203.0.113.7";
const userAgent = "test-app/1.0";
/** Whatever went over the wire and must not be found again. */
const secrets = new Set<string>();
const secretForm = /\bsg[a-z]_[\w-]{43,}|\beyJ[\w-]+\.[\w-]+\.[\w-]+/g;
const notice = (text: string) => {
  for (const [secret] of text.matchAll(secretForm)) if (!secret.startsWith("sgn_")) secrets.add(secret);
};

const opened = await openOAuth();
const send: Send = async (path, init = {}, origin) => {
  const headers = new Headers(init.headers);
  headers.set("x-forwarded-for", ip);
  headers.set("user-agent", userAgent);
  notice(decodeURIComponent(path));
  if (init.body instanceof URLSearchParams) {
    notice([...init.body.values()].join(" "));
    secrets.add(init.body.get("code_verifier") ?? init.body.get("code") ?? "sgo_none");
  }
  notice([...headers.values()].join(" "));
  const response = await opened.send(path, { ...init, headers }, origin);
  notice([...response.headers.values()].join(" "));
  notice(await response.clone().text());
  return response;
};
const desk = { ...opened, send };
afterAll(() => desk.close());

test("what a sign-in leaves behind says who, what and from where, and holds no secret", async () => {
  const app = appOf(send);
  const person = await newPerson(desk);
  const project = (await desk.projects.create(localActor, { name: "Alpha" })).id;
  const runner = await desk.clients.create(localActor, {
    name: "robo",
    kind: "runner",
    projectId: project,
    scope: "llm:chat usage:read",
  });
  const { key } = await desk.keys.create(localActor, {
    owner: { clientId: runner.client_id },
    scope: "llm:chat",
  });
  for (const secret of [key, runner.client_secret ?? ""]) notice(secret);

  const code = await app.code(person);
  const first = await granted(app.redeem(code));
  const next = await granted(app.refresh(first.refresh_token));
  const helper = await granted<IssuedToken>(
    send("/oauth/token", { method: "POST", body: exchanging(next.access_token, { scope: "llm:chat" }) }),
  );
  await granted(app.revoke(helper.access_token));
  await granted(app.revoke(next.refresh_token));
  await app.redeem(code);
  const over = await app.signIn(person);
  await granted(app.refresh(over.refresh_token));
  desk.clock.move(11_000);
  await app.refresh(over.refresh_token);
  const ticket = await app.ticket(person, app.asking().params);
  await person.post("/oauth/consent", { ticket, decision: "deny" });
  const device = await app.startDevice();
  await decideDevice(person, device.user_code);
  await granted(app.poll(device.device_code));
  const machine = { authorization: basicOf(runner) };
  const body = new URLSearchParams({ grant_type: "client_credentials" });
  const { access_token } = await granted<IssuedToken>(
    send("/oauth/token", { method: "POST", headers: machine, body }),
  );
  const asked = new URLSearchParams({ token: access_token });
  await granted(send("/oauth/introspect", { method: "POST", headers: machine, body: asked }));
  await granted(send("/oauth/revoke", { method: "POST", headers: machine, body: asked }));
  // A secret in every field that is not its own.
  for (const field of ["client_id", "code", "scope", "state", "resource", "project_id", "user_code"])
    await app.token({
      grant_type: "authorization_code",
      code_verifier: "v".repeat(43),
      code: "x",
      [field]: key,
    });
  await person.get(`/oauth/authorize?${app.asking({ scope: key }).params}`);
  await person.get(`/oauth/authorize?${app.asking({ client_id: first.refresh_token }).params}`);
  await person.post("/device", { user_code: key });

  const rows = await desk.database.sql`
    select action, outcome, actor, actor_kind, client_id, ip, user_agent, request_id, details from audit
    where ip = ${ip} order by id`;
  expect(rows.map(({ action, outcome }) => (outcome === "ok" ? action : `${action}, ${outcome}`))).toEqual([
    "consent.granted",
    "token.issued",
    "token.refreshed",
    "token.exchanged",
    "token.revoked",
    "token.revoked",
    "token.reused, refused",
    "token.refused, refused",
    "consent.granted",
    "token.issued",
    "token.refreshed",
    "token.reused, refused",
    "token.refused, refused",
    "consent.denied, refused",
    "consent.granted",
    "token.issued",
    "token.issued",
    "token.revoked",
    ...Array<string>(7).fill("token.refused, refused"),
  ]);
  for (const row of rows) {
    expect([row.user_agent, row.ip]).toEqual([userAgent, ip]);
    expect(row.request_id).toMatch(/^req_[0-9a-f]{32}$/);
  }
  const signIn = String(claimsOf(first.access_token).jti).split(".")[0] ?? "";
  expect(rows[0]).toMatchObject({
    actor: person.id,
    actor_kind: "user",
    details: { scope: "llm:chat usage:read" },
  });
  expect(rows[1]).toMatchObject({
    actor: app.clientId,
    actor_kind: "client",
    details: {
      jti: claimsOf(first.access_token).jti,
      scope: first.scope,
      sign_in: signIn,
      user_id: person.id,
    },
  });
  expect(rows[2]?.details).toMatchObject({ jti: claimsOf(next.access_token).jti, sign_in: signIn });
  expect(rows[3]).toMatchObject({ actor: person.id, details: { parent: claimsOf(next.access_token).jti } });
});

test("no table holds any secret that went over the wire", async () => {
  expect(secrets.size).toBeGreaterThan(20);
  for (const kind of ["sgk_", "sgs_", "sgc_", "sgo_", "sgr_", "sgd_", "sgt_", "eyJ"])
    expect([kind, [...secrets].some((secret) => secret.startsWith(kind))]).toEqual([kind, true]);
  const { sql } = desk.database;
  const tables = await sql<{ name: string }[]>`
    select table_name as name from information_schema.tables
    where table_schema = current_schema() and table_type = 'BASE TABLE'`;
  expect(tables.length).toBeGreaterThan(12);
  let rows = 0;
  for (const { name } of tables) {
    const texts = await sql<{ text: string }[]>`select t::text as text from ${sql(name)} t`;
    rows += texts.length;
    const held = texts.map(({ text }) => text).join("\n");
    for (const secret of secrets) {
      const places = [secret, Buffer.from(secret).toString("hex")].filter((one) => held.includes(one));
      expect({ name, places }).toEqual({ name, places: [] });
    }
  }
  expect(rows).toBeGreaterThan(30);
});
