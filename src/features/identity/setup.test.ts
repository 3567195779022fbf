import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { testDatabase } from "../../testing/cluster.ts";
import {
  type Desk,
  deskUrl,
  localActor,
  type MovableClock,
  movableClock,
  openDesk,
} from "../../testing/desk.ts";
import { bodyOf, cookieOf, json, type Me } from "../../testing/people.ts";

let desk: Desk;
let clock: MovableClock;
beforeEach(async () => {
  clock = movableClock();
  desk = await openDesk((await testDatabase()).database, clock);
});
afterEach(() => desk.close());

const ada = { email: "ada@example.com", password: "correct horse battery" };
const show = (token: string) => desk.send(`/setup?token=${encodeURIComponent(token)}`);
const send = (fields: Record<string, string>) =>
  desk.send("/setup", {
    method: "POST",
    headers: { "sec-fetch-site": "same-origin" },
    body: new URLSearchParams(fields),
  });
const people = () => desk.users.list();

describe("the first administrator", () => {
  test("is made with the link, once, and is signed in", async () => {
    const token = await desk.setup.link();
    const page = await show(token);
    expect([page.status, page.headers.get("cache-control")]).toEqual([200, "no-store"]);
    expect(page.headers.get("referrer-policy")).toBe("same-origin");
    expect(await page.text()).toContain(`name="token" value="${token}"`);
    const made = await send({ token, ...ada });
    expect([made.status, made.headers.get("location")]).toEqual([303, `${deskUrl}/`]);
    const me = await desk.send("/api/v1/me", { headers: { cookie: `specgate=${cookieOf(made)}` } });
    expect((await bodyOf<Me>(me)).principal).toMatchObject({ role: "admin", email: ada.email });
    const again = await send({ token, email: "mallory@example.com", password: ada.password });
    expect([again.status, cookieOf(again)]).toEqual([403, null]);
    expect((await show(token)).status).toBe(403);
    const [only, ...more] = await people();
    expect([only?.email, only?.role, more]).toEqual([ada.email, "admin", []]);
    const entries = await desk.entries(only?.id ?? "");
    expect(entries.map(({ action, actor }) => [action, actor])).toEqual([
      ["user.created", "anonymous"],
      ["login", only?.id ?? ""],
    ]);
    expect(JSON.stringify(entries)).not.toContain(ada.password);
    expect(JSON.stringify(entries)).not.toContain(token);
  });

  test("is one, when two use the link at once, or two links", async () => {
    const [token, other] = [await desk.setup.link(), await desk.setup.link()];
    const answers = await Promise.all(
      [token, token, other].map((one, n) => send({ token: one, ...ada, email: `n${n}@example.com` })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([303, 403, 403]);
    expect(answers.map(cookieOf).filter((cookie) => cookie !== null).length).toBe(1);
    expect((await people()).length).toBe(1);
  });

  test("has half an hour", async () => {
    const token = await desk.setup.link();
    clock.move(30 * 60_000 - 2_000);
    expect((await show(token)).status).toBe(200);
    clock.move(2_000);
    expect((await show(token)).status).toBe(403);
    expect((await send({ token, ...ada })).status).toBe(403);
    expect((await send({ token: await desk.setup.link(), ...ada })).status).toBe(303);
  });

  test("is nobody's to make once anybody exists, whoever made them", async () => {
    const token = await desk.setup.link();
    await desk.users.create(localActor, { email: "ed@example.com", role: "user" });
    expect([(await show(token)).status, (await send({ token, ...ada })).status]).toEqual([403, 403]);
    expect(await desk.setup.fromConfiguration(ada)).toBe(false);
    expect((await people()).length).toBe(1);
  });

  test.each(["", "x", "\u0000", "a".repeat(43), "' or 1=1 --", "%"])("is not made with %p", async (token) => {
    await desk.setup.link();
    expect([(await show(token)).status, (await send({ token, ...ada })).status]).toEqual([403, 403]);
    expect(await people()).toEqual([]);
  });

  test.each<[string, Partial<typeof ada>, string]>([
    ["a short password", { password: "x".repeat(11) }, "12 to 1024 bytes"],
    ["no password", { password: "" }, "12 to 1024 bytes"],
    ["a long password", { password: "x".repeat(1_025) }, "12 to 1024 bytes"],
    ["no e-mail address", { email: "" }, "e-mail address is not valid"],
    ["markup for one", { email: `"><script>@x` }, "e-mail address is not valid"],
  ])("may try again after %s", async (_, change, why) => {
    const token = await desk.setup.link();
    const refused = await send({ token, ...ada, ...change });
    const text = await refused.text();
    expect([refused.status, cookieOf(refused)]).toEqual([422, null]);
    expect(text).toContain(why);
    expect(text).not.toContain("<script>");
    expect(text).not.toContain(change.password || "no password was sent");
    expect((await send({ token, ...ada })).status).toBe(303);
  });

  test("is made by this gateway's own page alone", async () => {
    const token = await desk.setup.link();
    const body = new URLSearchParams({ token, ...ada });
    for (const headers of [{}, { "sec-fetch-site": "cross-site" }, { origin: "https://evil.example" }]) {
      expect((await desk.send("/setup", { method: "POST", headers, body })).status).toBe(403);
    }
    const wrongForm = { method: "POST", headers: { "sec-fetch-site": "same-origin" }, body: "token=x" };
    expect((await desk.send("/setup", wrongForm)).status).toBe(415);
    const asJson = json("POST", { token, ...ada }, { origin: deskUrl });
    expect((await desk.send("/setup", asJson)).status).toBe(303);
  });

  test("of the configuration is made once, signs in with the password, and is in the audit as such", async () => {
    const made = await Promise.all([desk.setup.fromConfiguration(ada), desk.setup.fromConfiguration(ada)]);
    expect(made.sort()).toEqual([false, true]);
    const [only] = await people();
    const [entry] = await desk.entries(only?.id ?? "");
    expect(entry).toMatchObject({ action: "user.created", actor: "configuration", actorKind: "system" });
    expect((await desk.send("/api/v1/auth/login", json("POST", ada))).status).toBe(200);
    // Another password there later changes nothing: this is no back door.
    expect(await desk.setup.fromConfiguration({ ...ada, password: "another long password" })).toBe(false);
    expect((await desk.send("/api/v1/auth/login", json("POST", ada))).status).toBe(200);
  });
});

describe("pages under another name of this machine", () => {
  const names = [
    "http://localhost:8080",
    "http://[::1]:8080",
    "http://LOCALHOST:8080",
    "http://127.0.0.1:9",
    "http://localhost",
  ];
  test.each(names)("%s lead to the public URL, with all that was asked", async (name) => {
    for (const path of [
      "/",
      "/login?next=%2Fdevice",
      "/setup?token=a%26b",
      "/device?user_code=ABCD-2345",
      "//evil.example",
    ]) {
      const { status, headers } = await desk.send(path, {}, name);
      if (path === "//evil.example") expect([path, status]).toEqual([path, 404]);
      else expect([status, headers.get("location")]).toEqual([307, deskUrl + path]);
    }
  });

  test("do so for pages alone, and only to look", async () => {
    const here = "http://localhost:8080";
    for (const path of ["/api/v1/me", "/v1/door", "/.well-known/oauth-authorization-server"]) {
      expect((await desk.send(path, {}, here)).status).not.toBe(307);
    }
    for (const path of ["/login", "/logout", "/setup", "/device", "/sign-ins", "/oauth/consent"]) {
      const post = { method: "POST", headers: { "sec-fetch-site": "same-origin", origin: here } };
      expect([path, (await desk.send(path, post, here)).status]).toEqual([path, 403]);
    }
  });

  test.each([
    "http://evil.example:8080",
    "http://localhost.evil.example:8080",
    "http://127.0.0.1.evil.example",
    "http://127.0.0.2:8080",
    "http://0.0.0.0:8080",
    "http://[::]:8080",
    "http://localhost.:8080",
  ])("do not do so for %s, which is refused", async (name) => {
    const { status, headers } = await desk.send("/login", {}, name);
    expect([status, headers.get("location")]).toEqual([403, null]);
  });

  test("do not do so for the public name itself", async () => {
    expect((await desk.send("/login")).status).toBe(200);
    expect((await desk.send("/login", {}, "https://alias.example")).status).toBe(200);
  });
});
