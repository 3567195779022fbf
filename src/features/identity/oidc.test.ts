import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { eq } from "drizzle-orm";
import { signIns as signInsTable, users as usersTable } from "../../db/schema.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { type Forgery, type TestIdentityProvider, testClient } from "../../testing/identity-provider.ts";
import { type OidcWorld, openOidcWorld, operator } from "../../testing/oidc-world.ts";

let world: OidcWorld;
let idp: TestIdentityProvider;
beforeAll(async () => {
  world = await openOidcWorld((await testDatabase()).database);
  idp = world.idp;
});
afterAll(() => world.close());
beforeEach(() => {
  idp.person = null;
  idp.tellsInToken = false;
  idp.change = {};
  idp.redirects = {};
  world.said.length = 0;
  world.restart();
});

describe("a person who is here", () => {
  test("signs in through the provider, and lands where they were going", async () => {
    const ada = await world.add("Ada@example.com");
    idp.person = { subject: "s-ada", email: "aDa@EXAMPLE.com", email_verified: true };
    const browser = world.browser();
    const landed = await browser.signIn("/projects?page=2");
    expect(landed.status).toBe(303);
    expect(landed.headers.get("location")).toBe(`${world.url}/projects?page=2`);
    expect(await browser.who()).toBe("Ada@example.com");
    expect(await world.linkOf(ada)).toEqual([idp.issuer, "s-ada"]);
    const entries = await world.entries(ada);
    expect(entries.map(({ action, details }) => [action, details])).toEqual([
      ["user.created", expect.anything()],
      ["user.linked", { issuer: idp.issuer, subject: "s-ada" }],
      ["login", { method: "oidc", sign_in: expect.stringMatching(/^sgn_/) }],
    ]);
    expect(entries.map(({ actor }) => actor).slice(1)).toEqual([ada, ada]);
  });

  test("is known by the provider's subject from then on, whatever their e-mail has become", async () => {
    const ben = await world.add("ben@example.com");
    idp.person = { subject: "s-ben", email: "ben@example.com", email_verified: true };
    await world.browser().signIn();
    idp.person = { subject: "s-ben", email: "benjamin@elsewhere.example", email_verified: false };
    const browser = world.browser();
    expect((await browser.signIn()).status).toBe(303);
    expect(await browser.who()).toBe("ben@example.com");
    const actions = (await world.entries(ben)).map(({ action }) => action);
    expect(actions).toEqual(["user.created", "user.linked", "login", "login"]);
  });

  test("may be told of in the ID token as well as in userinfo", async () => {
    await world.add("cleo@example.com");
    idp.tellsInToken = true;
    idp.rotate();
    idp.asked.length = 0;
    idp.person = { subject: "s-cleo", email: "cleo@example.com", email_verified: true };
    expect((await world.browser().signIn()).status).toBe(303);
    expect(idp.asked).not.toContain("/me");
    idp.tellsInToken = false;
    idp.rotate();
    expect((await world.browser().signIn()).status).toBe(303);
    expect(idp.asked).toContain("/me");
  });

  test("leaves the sign-in behind that the browser came with", async () => {
    const dora = await world.add("dora@example.com");
    idp.person = { subject: "s-dora", email: "dora@example.com", email_verified: true };
    const browser = world.browser();
    await browser.signIn();
    await browser.signIn();
    const rows = await world.database.db.select().from(signInsTable).where(eq(signInsTable.userId, dora));
    expect(rows.map(({ method, endedAt }) => [method, endedAt !== null]).sort()).toEqual([
      ["oidc", false],
      ["oidc", true],
    ]);
  });

  test("is linked once, however many first sign-ins there are at once", async () => {
    const eve = await world.add("eve@example.com");
    const firsts: { browser: ReturnType<typeof world.browser>; callback: string }[] = [];
    const subjects = ["s-eve", "s-eve", "s-eve-too", "s-eve"];
    for (const subject of subjects) {
      idp.person = { subject, email: "eve@example.com", email_verified: true };
      const browser = world.browser();
      firsts.push({ browser, callback: await browser.toCallback() });
    }
    // Their row is held until all of them wait for it, or for each other.
    const held = await world.database.transaction(async (tx) => {
      await tx.select().from(usersTable).where(eq(usersTable.id, eve)).for("update");
      const answers = Promise.all(firsts.map(({ browser, callback }) => browser.get(callback)));
      while ((await waiting()) < subjects.length) await Bun.sleep(5);
      return { answers };
    });
    const answers = await held.answers;
    const statuses = answers.map(({ status }) => status);
    const [issuer, linked] = await world.linkOf(eve);
    expect(issuer).toBe(idp.issuer);
    expect(statuses).toEqual(subjects.map((subject) => (subject === linked ? 303 : 403)));
    const links = (await world.entries(eve)).filter(({ action }) => action === "user.linked");
    expect(links).toHaveLength(1);
  });
});

const waiting = async (): Promise<number> => {
  const rows = await world.database.sql<{ n: number }[]>`
    select count(*)::int as n from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`;
  return rows[0]?.n ?? 0;
};

describe("who is refused", () => {
  const refusedAs = async (reason: string): Promise<string> => {
    const browser = world.browser();
    const before = (await world.entries(null)).length;
    const response = await browser.signIn();
    expect(response.status).toBe(403);
    expect(browser.cookies.has("specgate")).toBe(false);
    expect(browser.cookies.has("specgate-oidc")).toBe(false);
    const entries = (await world.entries(null)).slice(before);
    expect(entries).toMatchObject([
      { outcome: "refused", actor: "anonymous", details: { method: "oidc", reason } },
    ]);
    return (await response.text()).replace(/req_\w+/, "");
  };

  test("strangers, the disabled, and the linked elsewhere get one answer", async () => {
    const fay = await world.add("fay@example.com");
    idp.person = { subject: "s-fay", email: "fay@example.com", email_verified: true };
    await world.browser().signIn();
    idp.person = { subject: "s-fay-again", email: "fay@example.com", email_verified: true };
    const elsewhere = await refusedAs("linked_elsewhere");
    expect(elsewhere).toContain("Nobody here has the e-mail fay@example.com. Ask an administrator");
    expect(await world.linkOf(fay)).toEqual([idp.issuer, "s-fay"]);
    await world.users.disable(operator, "fay@example.com");
    idp.person = { subject: "s-fay", email: "fay@example.com", email_verified: true };
    expect(await refusedAs("disabled")).toBe(elsewhere);

    const gus = await world.add("gus@example.com");
    await world.users.disable(operator, "gus@example.com");
    idp.person = { subject: "s-gus", email: "gus@example.com", email_verified: true };
    expect(await refusedAs("disabled")).toBe(elsewhere.replaceAll("fay@", "gus@"));
    expect(await world.linkOf(gus)).toEqual([null, null]);

    idp.person = { subject: "s-nobody", email: "stranger@example.com", email_verified: true };
    expect(await refusedAs("unknown")).toBe(elsewhere.replaceAll("fay@", "stranger@"));
    expect(JSON.stringify(await world.entries(null))).not.toContain("stranger");
  });

  test("nobody is made by signing in, and markup in an address is text", async () => {
    idp.person = { subject: "s-x", email: "<script>@example.com", email_verified: true };
    expect(await refusedAs("unknown")).toContain("&lt;script&gt;@example.com");
    // The Kelvin sign becomes a k when its case is folded.
    await world.add("kim@example.com");
    idp.person = { subject: "s-k", email: "\u212aim@example.com", email_verified: true };
    await refusedAs("unknown");
    const rows = await world.database.db.select().from(usersTable).where(eq(usersTable.oidcSubject, "s-k"));
    expect(rows).toEqual([]);
  });

  test.each([false, undefined, "true", 1, null])(
    "an address whose verification is %p proves nothing",
    async (verified) => {
      const email = `h${Bun.randomUUIDv7()}@example.com`;
      const hugo = await world.add(email);
      idp.person = { subject: `s-${email}`, email, email_verified: verified };
      expect(await refusedAs("unverified")).toContain("Have it verified there");
      expect(await world.linkOf(hugo)).toEqual([null, null]);
    },
  );

  test("whoever declines at the provider, or is declined there", async () => {
    expect(await refusedAs("denied")).toContain("declined there");
  });

  test("an address that fails too often waits", async () => {
    const browser = world.browser();
    await browser.begin();
    const answer = `error=access_denied&state=${browser.state}&iss=${idp.issuer}`;
    const decline = `${world.url}/login/callback?${answer}`;
    const kept = browser.cookies.get("specgate-oidc") ?? "";
    const statuses = new Set<number>();
    for (let count = 0; count < 121; count++) {
      browser.cookies.set("specgate-oidc", kept);
      statuses.add((await browser.get(decline)).status);
    }
    expect([...statuses]).toEqual([403, 429]);
  });
});

describe("a callback", () => {
  const begun = async () => {
    idp.person = { subject: "s-ivy", email: "ivy@example.com", email_verified: true };
    const browser = world.browser();
    return { browser, callback: await browser.toCallback() };
  };
  const isRefused = async (response: Response): Promise<void> => {
    expect(response.status).toBe(400);
    expect(await response.text()).toContain("Go back to the start and begin again");
    expect(response.headers.getSetCookie()).toEqual([
      "specgate-oidc=; Path=/login; Max-Age=0; HttpOnly; SameSite=Lax",
    ]);
  };
  beforeAll(() => world.add("ivy@example.com"));

  test("counts in the browser alone that began the sign-in", async () => {
    const { callback } = await begun();
    await isRefused(await world.browser().get(callback));
    const other = await begun();
    await isRefused(await other.browser.get(callback));
  });

  test("counts with an untouched cookie alone", async () => {
    const { browser, callback } = await begun();
    const value = browser.cookies.get("specgate-oidc") ?? "";
    for (const at of [0, 20, value.length - 3]) {
      const other = value[at] === "A" ? "B" : "A";
      browser.cookies.set("specgate-oidc", value.slice(0, at) + other + value.slice(at + 1));
      await isRefused(await browser.get(callback));
    }
    for (const garbage of ["", "x", "A".repeat(200), value.slice(0, -4)]) {
      browser.cookies.set("specgate-oidc", garbage);
      await isRefused(await browser.get(callback));
    }
  });

  test("counts with the very state that was sent alone", async () => {
    const { browser, callback } = await begun();
    const url = new URL(callback);
    const state = url.searchParams.get("state") ?? "";
    const kept = browser.cookies.get("specgate-oidc") ?? "";
    for (const change of [
      (to: URL) => to.searchParams.delete("state"),
      (to: URL) => to.searchParams.set("state", `${state}x`),
      (to: URL) => to.searchParams.append("state", state),
      (to: URL) => to.searchParams.delete("code"),
    ]) {
      const changed = new URL(callback);
      change(changed);
      browser.cookies.set("specgate-oidc", kept);
      await isRefused(await browser.get(changed.href));
    }
  });

  test("counts once", async () => {
    const { browser, callback } = await begun();
    const kept = browser.cookies.get("specgate-oidc") ?? "";
    expect((await browser.get(callback)).status).toBe(303);
    await isRefused(await browser.get(callback));
    browser.cookies.set("specgate-oidc", kept);
    await isRefused(await browser.get(callback));
  });

  test("counts for ten minutes", async () => {
    const { browser, callback } = await begun();
    world.clock.move(10 * 60_000);
    await isRefused(await browser.get(callback));
  });

  test("from another provider is no answer (RFC 9207)", async () => {
    const { browser, callback } = await begun();
    const mixed = new URL(callback);
    mixed.searchParams.set("iss", "https://evil.example");
    expect((await browser.get(mixed.href)).status).toBe(403);
    expect(browser.cookies.has("specgate")).toBe(false);
  });
});

describe("an ID token", () => {
  const seconds = () => Math.floor(Date.now() / 1_000);
  const strange = generateKeyPairSync("rsa", { modulusLength: 2_048 }).privateKey;
  const forgeries: Record<string, () => Forgery> = {
    "of another key": () => ({ key: strange }),
    "of another key that calls itself otherwise": () => ({ key: strange, header: { kid: "other" } }),
    "without a signature": () => ({ key: "none", header: { alg: "none" } }),
    "whose signature is left out": () => ({ key: "none" }),
    "signed with the client's secret": () => ({ key: testClient.secret, header: { alg: "HS256" } }),
    "for another client": () => ({ claims: { aud: "another" } }),
    "for another client too, and made for that one": () => ({
      claims: { aud: ["gate", "another"], azp: "another" },
    }),
    "of another issuer": () => ({ claims: { iss: "https://evil.example" } }),
    "that has expired": () => ({ claims: { iat: seconds() - 7_200, exp: seconds() - 3_600 } }),
    "that never expires": () => ({ claims: { exp: undefined } }),
    "for another sign-in": () => ({ claims: { nonce: "another" } }),
    "for no sign-in": () => ({ claims: { nonce: undefined } }),
    "of nobody": () => ({ claims: { sub: "" } }),
    "of a subject that no provider may have": () => ({ claims: { sub: "\0".repeat(3) } }),
  };

  test("that is right is taken, though the provider signed it anew", async () => {
    await world.add("jo@example.com");
    idp.person = { subject: "s-jo", email: "jo@example.com", email_verified: true };
    idp.change["/token"] = (answer) => ({ ...answer, id_token: idp.forge(answer.id_token, {}) });
    expect((await world.browser().signIn()).status).toBe(303);
  });

  test.each(Object.keys(forgeries))("%s is refused, audited, and told to the operator", async (name) => {
    const before = (await world.entries(null)).length;
    let sent = "";
    idp.person = { subject: "s-ada", email: "ada@example.com", email_verified: true };
    idp.change["/token"] = (answer) => {
      sent = idp.forge(answer.id_token, forgeries[name]?.() ?? {});
      return { ...answer, id_token: sent };
    };
    const browser = world.browser();
    const response = await browser.signIn();
    expect(response.status).toBe(403);
    expect(await response.text()).toContain("does not prove who you are");
    expect(browser.cookies.size).toBe(0);
    const entries = (await world.entries(null)).slice(before);
    expect(entries.map(({ details }) => details)).toEqual([{ method: "oidc", reason: "unproven" }]);
    expect(world.said).toHaveLength(1);
    expect(sent).not.toBe("");
    for (const secret of [sent, testClient.secret]) expect(world.said.join()).not.toContain(secret);
  });

  test.each(["a.b.c", "a.b.c.d.e", "{}", 7])("that is %p is none", async (idToken) => {
    idp.person = { subject: "s-ada", email: "ada@example.com", email_verified: true };
    idp.change["/token"] = (answer) => ({ ...answer, id_token: idToken });
    expect((await world.browser().signIn()).status).toBe(403);
    expect(world.said.join()).not.toContain("a.b.c.d.e");
  });

  test("has to be there, and userinfo has to speak of the same person", async () => {
    idp.person = { subject: "s-ada", email: "ada@example.com", email_verified: true };
    idp.change["/token"] = ({ id_token: _, ...answer }) => answer;
    expect((await world.browser().signIn()).status).toBe(403);
    idp.change = { "/me": (answer) => ({ ...answer, sub: "s-other" }) };
    expect((await world.browser().signIn()).status).toBe(403);
  });
});

describe("the provider", () => {
  beforeAll(() => world.add("lea@example.com"));
  beforeEach(() => {
    idp.person = { subject: "s-lea", email: "lea@example.com", email_verified: true };
  });
  const isUnavailable = async (response: Response): Promise<void> => {
    expect(response.status).toBe(502);
    expect(await response.text()).toContain("cannot be reached right now");
    expect(world.said.at(-1)).toStartWith("identity_provider_unavailable");
  };

  test("may be down: people are told so, and it works when it is back", async () => {
    const [there, coming] = [world.browser(), world.browser()];
    const callback = await there.toCallback();
    await idp.down();
    world.restart();
    await isUnavailable(await coming.begin());
    await isUnavailable(await there.get(callback));
    expect(there.cookies.size).toBe(0);
    await idp.up();
    expect((await coming.signIn()).status).toBe(303);
  });

  test("may change its keys at any time, and one that it withdrew is worth nothing at once", async () => {
    expect((await world.browser().signIn()).status).toBe(303);
    const { kid, privateKey } = idp.rotate();
    expect((await world.browser().signIn()).status).toBe(303);
    const forgery = { header: { kid }, key: privateKey };
    idp.change["/token"] = (answer) => ({ ...answer, id_token: idp.forge(answer.id_token, forgery) });
    expect((await world.browser().signIn()).status).toBe(403);
  });

  test("is asked who it is once an hour, however many come at once", async () => {
    const wellKnown = "/.well-known/openid-configuration";
    const count = () => idp.asked.filter((path) => path === wellKnown).length;
    idp.asked.length = 0;
    await Promise.all([1, 2, 3].map(() => world.browser().begin()));
    expect(count()).toBe(1);
    world.clock.move(3_599_000);
    await world.browser().begin();
    expect(count()).toBe(1);
    world.clock.move(2_000);
    await world.browser().begin();
    expect(count()).toBe(2);
  });

  test.each<[string, Record<string, unknown>]>([
    ["calls itself otherwise", { issuer: "https://evil.example" }],
    ["publishes no keys", { jwks_uri: undefined }],
    ["has no place to sign in", { authorization_endpoint: undefined }],
    ["is no page of the web", { authorization_endpoint: "javascript:alert(1)" }],
  ])("is not spoken to when it %s", async (_, change) => {
    idp.change["/.well-known/openid-configuration"] = (answer) => ({ ...answer, ...change });
    const response = await world.browser().begin();
    expect(response.status).toBe(502);
    expect(response.headers.getSetCookie()).toEqual([]);
  });

  test("cannot send the gateway to another door of this machine, nor on to another place", async () => {
    const asked: string[] = [];
    const trap = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch(request) {
        asked.push(request.url);
        return Response.json({});
      },
    });
    for (const name of ["token_endpoint", "jwks_uri", "userinfo_endpoint"]) {
      for (const url of [`http://127.0.0.1:${trap.port}/`, "http://169.254.169.254/", "http://10.0.0.1/"]) {
        world.restart();
        idp.change["/.well-known/openid-configuration"] = (answer) => ({ ...answer, [name]: url });
        await isUnavailable(await world.browser().signIn());
      }
    }
    idp.change = {};
    for (const path of ["/.well-known/openid-configuration", "/token", "/jwks", "/me"]) {
      world.restart();
      idp.redirects = { [path]: `http://127.0.0.1:${trap.port}/` };
      await isUnavailable(
        path.startsWith("/.well-known") ? await world.browser().begin() : await world.browser().signIn(),
      );
    }
    expect(asked).toEqual([]);
    await trap.stop(true);
  });

  test("is not listened to for ever", async () => {
    idp.change["/.well-known/openid-configuration"] = (answer) => ({ ...answer, more: "x".repeat(300_000) });
    await isUnavailable(await world.browser().begin());
  });

  test("that refuses the gateway is a trouble of the operator's, in whose log it stands", async () => {
    world.restart("not the client's secret");
    await isUnavailable(await world.browser().signIn());
    expect(world.said.at(-1)).toContain("invalid_client");
  });
});

describe("the browser", () => {
  beforeAll(() => world.add("mia@example.com"));
  beforeEach(() => {
    idp.person = { subject: "s-mia", email: "mia@example.com", email_verified: true };
  });

  test.each([
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "javascript:alert(1)",
    "/\t/evil.example",
    "http:evil.example",
    "\\\\evil.example",
    "/%0d%0aset-cookie:x=y",
  ])("is never sent elsewhere by next=%p", async (next) => {
    const landed = await world.browser().signIn(next);
    const location = new URL(landed.headers.get("location") ?? "");
    expect(location.origin).toBe(world.url);
    expect(landed.headers.getSetCookie().filter((line) => line.startsWith("x="))).toEqual([]);
  });

  test("is sent to the start when the way back is too long for a cookie", async () => {
    const browser = world.browser();
    const long = `/x?${"y".repeat(2_490)}`;
    expect((await browser.signIn(long)).headers.get("location")).toBe(world.url + long);
    const landed = await browser.signIn(`${long}${"y".repeat(100)}`);
    expect(landed.headers.get("location")).toBe(`${world.url}/`);
  });

  test("holds a short cookie for the way, that no script, no other path and no other site's post gets", async () => {
    const browser = world.browser();
    const sent = await browser.begin(`/x?${"y".repeat(2_490)}`);
    expect(sent.headers.get("cache-control")).toBe("no-store");
    const [line = "", ...rest] = sent.headers.getSetCookie();
    expect(rest).toEqual([]);
    expect(line).toMatch(/^specgate-oidc=[\w-]+; Path=\/login; Max-Age=600; HttpOnly; SameSite=Lax$/);
    expect(line.length).toBeLessThan(4_096);
    const location = new URL(sent.headers.get("location") ?? "");
    const { state, nonce, scope, ...query } = Object.fromEntries(location.searchParams);
    expect(scope).toBe("openid email profile");
    expect(query).toMatchObject({
      client_id: "gate",
      response_type: "code",
      redirect_uri: `${world.url}/login/callback`,
      code_challenge_method: "S256",
    });
    expect(`${state}${nonce}`.length).toBeGreaterThan(80);
    const opened = Buffer.from(line.split(/[=;]/)[1] ?? "", "base64url").toString("latin1");
    for (const word of [state, nonce, "/x?"]) expect(opened).not.toContain(word ?? "");
    const landed = await browser.get(await browser.follow(sent));
    const cookies = landed.headers.getSetCookie().map((cookie) => cookie.replace(/=sgc_[\w-]+/, "=…"));
    expect(cookies).toEqual([
      "specgate=…; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax",
      "specgate-oidc=; Path=/login; Max-Age=0; HttpOnly; SameSite=Lax",
    ]);
  });

  test("over https gets it as a secure one", async () => {
    const oidc = world.oidcAt("https://gate.example.com");
    const [line] = (await oidc.begin("/")).headers.getSetCookie();
    expect(line).toMatch(
      /^__Secure-specgate-oidc=[\w-]+; Path=\/login; Max-Age=600; HttpOnly; SameSite=Lax; Secure$/,
    );
  });

  test("is offered the provider by its host", async () => {
    const response = await fetch(`${world.url}/login?next=/x`);
    expect(await response.text()).toContain(`Continue with ${new URL(idp.issuer).host}`);
  });
});
