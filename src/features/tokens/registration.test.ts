import { afterAll, describe, expect, test } from "bun:test";
import { localActor } from "../../testing/desk.ts";
import { appOf, claimsOf, decideDevice, granted, newPerson, openOAuth } from "../../testing/oauth.ts";
import { refusalOf } from "../../testing/refusals.ts";
import type { RegisteredClient } from "./contract.ts";

const desk = await openOAuth();
afterAll(() => desk.close());

const person = await newPerson(desk);
const loopback = "http://127.0.0.1/callback";
const register = (metadata: Record<string, unknown> = {}) =>
  desk.send("/oauth/register", {
    method: "POST",
    headers: { "content-type": "application/json", "user-agent": "tool/1" },
    body: JSON.stringify({ redirect_uris: [loopback], client_name: "Tool", ...metadata }),
  });
const registered = async (metadata: Record<string, unknown> = {}) =>
  granted<RegisteredClient>(register(metadata));
const appScopes =
  "llm:chat mcp:read mcp:write control:read control:write artifacts:read artifacts:write approvals:request usage:read";

describe("an app that registers itself", () => {
  test("is public, gets what was kept of its metadata, and no secret", async () => {
    const response = await register({
      scope: "llm:chat usage:read",
      grant_types: ["authorization_code", "client_credentials"],
      token_endpoint_auth_method: "client_secret_basic",
      logo_uri: "https://evil.example/logo.svg",
      jwks: { keys: [] },
      client_id: "specgate-desktop",
      client_secret: "chosen by the app",
    });
    expect([response.status, response.headers.get("cache-control")]).toEqual([201, "no-store"]);
    expect(await response.json()).toEqual({
      client_id: expect.stringMatching(/^cli_[0-9a-f]{32}$/),
      client_id_issued_at: expect.any(Number),
      client_name: "Tool",
      redirect_uris: [loopback],
      grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
      scope: "llm:chat usage:read",
    });
  });

  test("signs a person in, refreshes and signs out again, on a free loopback port and by https", async () => {
    const redirect_uris = [loopback, "https://app.example/cb"];
    const { client_id } = await registered({ redirect_uris });
    for (const redirectUri of ["http://127.0.0.1:50001/callback", "https://app.example/cb"]) {
      const app = appOf(desk.send, client_id, redirectUri);
      const pair = await app.signIn(person);
      expect(claimsOf(pair.access_token)).toMatchObject({ client_id, sub: person.id, role: "user" });
      const next = await granted(app.refresh(pair.refresh_token));
      expect(await desk.knock(next.access_token)).toBe(200);
      await granted(app.revoke(next.refresh_token));
      expect(await refusalOf(await app.refresh(next.refresh_token))).toBe("invalid_grant");
    }
  });

  test("may use the device flow", async () => {
    const app = appOf(desk.send, (await registered()).client_id);
    const device = await app.startDevice();
    await decideDevice(person, device.user_code);
    await granted(app.poll(device.device_code));
  });

  test("holds nothing of its own", async () => {
    const { client_id } = await registered();
    const app = appOf(desk.send, client_id);
    expect(await refusalOf(await app.token({ grant_type: "client_credentials" }))).toBe(
      "unauthorized_client",
    );
    const introspected = await app.post("/oauth/introspect", { token: "x" });
    expect([introspected.status, await refusalOf(introspected)]).toEqual([401, "invalid_client"]);
  });

  test.each([
    ["no scope at all", undefined, appScopes],
    ["an empty scope", " ", appScopes],
    ["people's scopes among others", "admin llm:chat approvals:decide", "llm:chat"],
    ["other servers' scopes among others", "openid llm:chat offline_access", "llm:chat"],
    ["a runner's scope among others", "approvals:consume usage:read", "usage:read"],
  ])("that asks for %s gets what an app may hold", async (_name, scope, held) => {
    expect((await registered({ scope })).scope).toBe(held);
  });

  test.each([
    ["no name", undefined],
    ["an empty name", ""],
    ["a blank name", "   "],
  ])("with %s is called so", async (_name, client_name) => {
    expect((await registered({ client_name })).client_name).toBe("An app without a name");
  });

  test("with the same address twice has it once", async () => {
    expect((await registered({ redirect_uris: [loopback, loopback] })).redirect_uris).toEqual([loopback]);
  });

  test("is said to have named itself, and its name is shown as text", async () => {
    const name = "SpecGate <b>Official</b> <script>";
    const app = appOf(desk.send, (await registered({ client_name: name })).client_id);
    const ticket = await app.ticket(person, app.asking().params);
    const page = await (await person.get(`/oauth/consent?ticket=${ticket}`)).text();
    expect(page).toContain("registered itself; its name is its own claim");
    expect(page).toContain("&lt;b&gt;Official&lt;/b&gt;");
    expect(page).not.toMatch(/<b>|<script/);
  });

  test("leaves an audit entry, and is stopped by an operator", async () => {
    const { client_id } = await registered({ scope: "llm:chat usage:read" });
    const app = appOf(desk.send, client_id);
    const pair = await app.signIn(person);
    await desk.clients.revoke(localActor, client_id);
    expect(await refusalOf(await app.refresh(pair.refresh_token))).toBe("invalid_client");
    const [entry] = await desk.entries(client_id);
    expect(entry).toMatchObject({ action: "client.registered", actor: "anonymous", userAgent: "tool/1" });
    expect(entry?.ip).toStartWith("10.");
    expect(entry?.details).toEqual({ name: "Tool", scope: "llm:chat usage:read", redirect_uris: [loopback] });
  });

  test("is swept away after a day without anybody, and stays while somebody is signed in or it was revoked", async () => {
    const [unused, used, revoked, young] = await Promise.all([
      registered(),
      registered(),
      registered(),
      registered(),
    ]);
    await appOf(desk.send, used.client_id).signIn(person);
    await desk.clients.revoke(localActor, revoked.client_id);
    const old = [unused, used, revoked].map(({ client_id }) => client_id);
    await desk.database
      .sql`update clients set created_at = created_at - interval '2 days' where id = any(${old})`;
    await desk.sweep();
    const left = [];
    for (const { client_id } of [unused, used, revoked, young])
      left.push((await desk.clients.find(client_id)) !== undefined);
    expect(left).toEqual([false, true, true, true]);
  });
});
