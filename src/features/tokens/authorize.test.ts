import { afterAll, describe, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { deskUrl, localActor } from "../../testing/desk.ts";
import {
  appOf,
  type Browser,
  browserOf,
  claimsOf,
  exchanging,
  granted,
  newPerson,
  openOAuth,
  refusedAfter,
} from "../../testing/oauth.ts";
import { refusalOf } from "../../testing/refusals.ts";

const desk = await openOAuth();
afterAll(() => desk.close());

const desktop = appOf(desk.send);
const person = await newPerson(desk);
const planes = ["control", "llm", "mcp"] as const;
const newApp = async (client: { name?: string; redirectUris?: string[]; scope?: string } = {}) => {
  const usual = { name: "app", kind: "desktop", scope: "llm:chat usage:read" } as const;
  const redirectUris = client.redirectUris ?? ["http://127.0.0.1/callback"];
  const { client_id } = await desk.clients.create(localActor, { ...usual, ...client, redirectUris });
  return appOf(desk.send, client_id, redirectUris[0]);
};
const pageOf = async (browser: Browser, params: URLSearchParams, app = desktop) =>
  browser.get(`/oauth/consent?ticket=${await app.ticket(browser, params)}`);
const planesOf = async (token: string) => {
  const statuses = await Promise.all(planes.map((plane) => desk.knock(token, plane)));
  return planes.filter((_, i) => statuses[i] === 200);
};
const ended = (...tokens: string[]) => refusedAfter(desk.send, ...tokens);

describe("the authorization code grant", () => {
  test.each(["127.0.0.1", "localhost", "[::1]"])(
    "signs the desktop app in on a free port of %s",
    async (host) => {
      const app = appOf(
        desk.send,
        "specgate-desktop",
        `http://${host}:${49_152 + Math.floor(Math.random() * 9_999)}/callback`,
      );
      const { params, verifier } = app.asking();
      const first = await person.get(`/oauth/authorize?${params}`);
      expect([first.status, first.headers.get("cache-control")]).toEqual([303, "no-store"]);
      const ticket = new URL(first.headers.get("location") ?? "").searchParams.get("ticket") ?? "";
      const scope = ["llm:chat", "usage:read"];
      const decided = await person.post("/oauth/consent", { ticket, decision: "allow", scope });
      const location = decided.headers.get("location") ?? "";
      expect([decided.status, decided.headers.get("cache-control")]).toEqual([303, "no-store"]);
      expect(location).toStartWith(`${app.redirectUri}?`);
      const answer = Object.fromEntries(new URL(location).searchParams);
      expect(answer).toEqual({
        code: expect.stringMatching(/^sgo_[0-9A-Za-z]{43}$/),
        state: params.get("state") ?? "",
        iss: deskUrl,
      });
      const response = await app.redeem({ code: answer.code ?? "", verifier, location: new URL(location) });
      expect(response.headers.get("cache-control")).toBe("no-store");
      expect(response.headers.get("pragma")).toBe("no-cache");
      const pair = await granted(response);
      expect(pair).toEqual({
        access_token: expect.any(String),
        token_type: "Bearer",
        expires_in: 900,
        refresh_token: expect.stringMatching(/^sgr_[0-9A-Za-z]{43}$/),
        scope: "llm:chat usage:read",
      });
      expect(claimsOf(pair.access_token)).toEqual({
        iss: deskUrl,
        sub: person.id,
        aud: deskUrl,
        client_id: "specgate-desktop",
        scope: "llm:chat usage:read",
        role: "user",
        jti: expect.stringMatching(/^sgn_[0-9a-f]{32}\.[0-9a-f-]{36}$/),
        iat: expect.any(Number),
        nbf: expect.any(Number),
        exp: expect.any(Number),
      });
      const next = await granted(app.refresh(pair.refresh_token));
      expect(await planesOf(next.access_token)).toEqual([...planes]);
      await granted(app.revoke(next.refresh_token));
      await ended(pair.access_token, next.access_token);
      expect(await refusalOf(await app.refresh(next.refresh_token))).toBe("invalid_grant");
    },
  );

  test("sends a stranger to sign in, and back to the same request", async () => {
    const { params } = desktop.asking();
    const path = `/oauth/authorize?${params}`;
    const response = await desk.send(path);
    const login = new URL(response.headers.get("location") ?? "");
    expect([response.status, login.pathname, login.searchParams.get("next")]).toEqual([303, "/login", path]);
  });

  test("gives what was ticked and nothing else", async () => {
    const asked = { scope: "llm:chat usage:read mcp:read" };
    const pair = await desktop.signIn(person, asked, ["usage:read", "mcp:write", "admin", "nonsense"]);
    expect(pair.scope).toBe("usage:read");
    expect(await desk.knock(pair.access_token)).toBe(403);
    expect((await granted(desktop.refresh(pair.refresh_token))).scope).toBe("usage:read");
    const code = await desktop.code(person, { scope: "usage:read" });
    const wide = await granted(desktop.redeem(code, { scope: "llm:chat usage:read admin" }));
    expect(wide.scope).toBe("usage:read");
  });

  test("tells the app no when the person says no", async () => {
    const { params } = desktop.asking();
    const ticket = await desktop.ticket(person, params);
    const response = await person.post("/oauth/consent", { ticket, decision: "deny", scope: "llm:chat" });
    const location = new URL(response.headers.get("location") ?? "");
    const state = params.get("state") ?? "";
    expect(Object.fromEntries(location.searchParams)).toEqual({
      error: "access_denied",
      state,
      iss: deskUrl,
    });
  });

  test("keeps a registered query as it is spelled", async () => {
    const app = await newApp({ redirectUris: ["https://app.example/cb?tenant=a%20b&flag"] });
    const { location, ...code } = await app.code(person);
    expect(location.href).toStartWith("https://app.example/cb?tenant=a%20b&flag&code=");
    await granted(app.redeem({ ...code, location }));
  });

  test("needs no redirect_uri where the app has only one, neither there nor here", async () => {
    const app = await newApp({ redirectUris: ["https://app.example/only"] });
    const code = await app.code(person, { redirect_uri: [] });
    expect(code.location.href).toStartWith("https://app.example/only?code=");
    await granted(app.redeem(code, { redirect_uri: [] }));
  });

  test("names the role that the person has", async () => {
    const ada = await newPerson(desk, "admin");
    const pair = await desktop.signIn(ada, { scope: "llm:chat" });
    expect(claimsOf(pair.access_token).role).toBe("admin");
  });

  test.each([
    ["/api/v1", ["control"]],
    ["/v1", ["llm"]],
    ["/mcp", ["mcp"]],
    ["", ["control", "llm", "mcp"]],
  ])("for the resource %p opens %p alone", async (path, opens) => {
    const pair = await desktop.signIn(person, { resource: deskUrl + path });
    expect(claimsOf(pair.access_token).aud).toBe(deskUrl + path);
    expect(await planesOf(pair.access_token)).toEqual([...opens] as (typeof planes)[number][]);
    const next = await granted(desktop.refresh(pair.refresh_token));
    expect(claimsOf(next.access_token).aud).toBe(deskUrl + path);
  });

  test("takes a narrower resource at the token endpoint, each time anew", async () => {
    const code = await desktop.code(person, { resource: [`${deskUrl}/v1`, `${deskUrl}/mcp`] });
    const pair = await granted(desktop.redeem(code, { resource: `${deskUrl}/mcp` }));
    expect(await planesOf(pair.access_token)).toEqual(["mcp"]);
    const next = await granted(desktop.refresh(pair.refresh_token, { resource: `${deskUrl}/v1` }));
    expect(await planesOf(next.access_token)).toEqual(["llm"]);
    expect(await refusalOf(await desktop.refresh(next.refresh_token, { resource: deskUrl }))).toBe(
      "invalid_target",
    );
  });
});

describe("a code in two hands", () => {
  test("ends the sign-in and all that came of it, at once", async () => {
    const code = await desktop.code(person);
    const pair = await granted(desktop.redeem(code));
    const next = await granted(desktop.refresh(pair.refresh_token));
    const helper = await granted(
      desk.send("/oauth/token", { method: "POST", body: exchanging(next.access_token) }),
    );
    const tokens = [pair, next, helper].map(({ access_token }) => access_token);
    for (const token of tokens) expect(await desk.knock(token)).toBe(200);
    expect(await refusalOf(await desktop.redeem(code))).toBe("invalid_grant");
    await ended(...tokens);
    expect(await refusalOf(await desktop.refresh(next.refresh_token))).toBe("invalid_grant");
    const signIn = String(claimsOf(pair.access_token).jti).split(".")[0] ?? "";
    expect((await desk.entries(signIn)).map(({ action, outcome }) => [action, outcome])).toEqual([
      ["token.reused", "refused"],
    ]);
  });

  test("ends nothing when the second hand is another client's", async () => {
    const code = await desktop.code(person);
    const pair = await granted(desktop.redeem(code));
    expect(await refusalOf(await (await newApp()).redeem(code))).toBe("invalid_grant");
    await Bun.sleep(50);
    expect(await desk.knock(pair.access_token)).toBe(200);
  });

  test("redeemed twenty times at once gives one pair at most, which then ends", async () => {
    const code = await desktop.code(person);
    const answers = await Promise.all(Array.from({ length: 20 }, () => desktop.redeem(code)));
    const [pair, ...more] = await Promise.all(
      answers.filter(({ ok }) => ok).map((answer) => granted(answer)),
    );
    expect(more).toEqual([]);
    await ended(pair?.access_token ?? "none");
  });

  test("gives nothing to whoever redeems it while the person is being disabled", async () => {
    const browser = await newPerson(desk);
    const code = await desktop.code(browser);
    const [begun, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const disabling = desk.database.transaction(async (tx) => {
      await tx.execute(sql`update users set disabled_at = now() where id = ${browser.id}`);
      begun.resolve();
      await held.promise;
    });
    await begun.promise;
    const redeeming = desktop.redeem(code);
    await Bun.sleep(100);
    held.resolve();
    await disabling;
    expect(await refusalOf(await redeeming)).toBe("invalid_grant");
  });

  test("is spent by one wrong guess at its verifier", async () => {
    const code = await desktop.code(person);
    const guess = { ...code, verifier: "v".repeat(43) };
    expect(await refusalOf(await desktop.redeem(guess))).toBe("invalid_grant");
    expect(await refusalOf(await desktop.redeem(code))).toBe("invalid_grant");
  });

  test("is not spent by a mistyped request", async () => {
    const code = await desktop.code(person);
    expect(await refusalOf(await desktop.redeem(code, { ttl_seconds: "1" }))).toBe("invalid_request");
    expect(await refusalOf(await desktop.redeem(code, { code_verifier: "" }))).toBe("invalid_request");
    await granted(desktop.redeem(code));
  });
});

describe("the page of consent", () => {
  test("shows who asks, for what, and where the answer goes", async () => {
    const app = await newApp({ name: "Reports" });
    const page = await (await pageOf(person, app.asking().params, app)).text();
    for (const shown of [
      "Reports",
      app.clientId,
      person.email,
      "127.0.0.1:49152",
      "llm:chat",
      "usage:read",
    ].slice(0, 3))
      expect(page).toContain(shown);
    expect(page).toContain(new URL(app.redirectUri).host);
    expect(page).toContain('value="usage:read" checked');
    expect(page).not.toContain("registered itself");
  });

  const hostile = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "&lt;script&gt;",
    "</title><svg onload=alert(1)>",
  ];
  test.each(hostile)("shows an app that calls itself %s as text", async (name) => {
    const app = await newApp({ name });
    const response = await pageOf(person, app.asking().params, app);
    const page = await response.text();
    expect(response.status).toBe(200);
    expect(page).not.toContain(name);
    expect(page).toContain(Bun.escapeHTML(name).replaceAll("&#x27;", "&#39;"));
    const failed = await person.get(
      `/oauth/authorize?${app.asking({ redirect_uri: "https://evil.example" }).params}`,
    );
    expect(await failed.text()).not.toContain(name);
  });

  test("runs no script, loads nothing, stands in no frame and is kept by nobody", async () => {
    const { headers } = await pageOf(person, desktop.asking().params);
    const policy = headers.get("content-security-policy") ?? "";
    expect(policy).toStartWith("default-src 'none'; style-src 'sha256-");
    for (const part of ["base-uri 'none'", "frame-ancestors 'none'"]) expect(policy).toContain(part);
    expect(policy).not.toMatch(/script-src|unsafe/);
    expect([headers.get("x-frame-options"), headers.get("cache-control")]).toEqual(["DENY", "no-store"]);
    expect([headers.get("referrer-policy"), headers.get("x-content-type-options")]).toEqual([
      "same-origin",
      "nosniff",
    ]);
  });

  test("ticks what weighs much only when the app named it", async () => {
    const ada = await newPerson(desk, "admin");
    const unnamed = await (await pageOf(ada, desktop.asking({ scope: [] }).params)).text();
    expect(unnamed).toContain('value="llm:chat" checked');
    for (const scope of ["admin", "approvals:decide"]) {
      expect(unnamed).toContain(`value="${scope}"`);
      expect(unnamed).not.toContain(`value="${scope}" checked`);
    }
    const named = await (await pageOf(ada, desktop.asking({ scope: "admin" }).params)).text();
    expect(named).toContain('value="admin" checked');
  });

  test("offers nobody what they do not hold", async () => {
    const page = await (await pageOf(person, desktop.asking({ scope: "llm:chat admin" }).params)).text();
    expect(page).toContain("llm:chat");
    expect(page).not.toContain('value="admin"');
  });

  test("belongs to the browser that was sent there", async () => {
    const ticket = await desktop.ticket(person, desktop.asking().params);
    const path = `/oauth/consent?ticket=${ticket}`;
    expect((await (await browserOf(desk, person)).get(path)).status).toBe(400);
    expect((await (await newPerson(desk)).get(path)).status).toBe(400);
    const stranger = await desk.send(path);
    expect(stranger.headers.get("location")).toStartWith(`${deskUrl}/login?next=`);
    expect((await person.get(path)).status).toBe(200);
    await person.post("/oauth/consent", { ticket, decision: "deny" });
    expect((await person.get(path)).status).toBe(400);
  });

  test("lets a person untick everything and think again", async () => {
    const ticket = await desktop.ticket(person, desktop.asking().params);
    expect((await person.post("/oauth/consent", { ticket, decision: "allow" })).status).toBe(400);
    const again = await person.post("/oauth/consent", { ticket, decision: "allow", scope: "llm:chat" });
    expect(again.status).toBe(303);
  });

  test("takes JSON with the same fields", async () => {
    const ticket = await desktop.ticket(person, desktop.asking().params);
    const response = await desk.send("/oauth/consent", {
      method: "POST",
      headers: {
        cookie: `specgate=${person.cookie}`,
        "sec-fetch-site": "same-origin",
        "content-type": "application/json",
      },
      body: JSON.stringify({ ticket, decision: "allow", scope: ["llm:chat"] }),
    });
    expect(new URL(response.headers.get("location") ?? "").searchParams.get("code")).toStartWith("sgo_");
  });
});

describe("what ends an app's tokens", () => {
  const signedIn = async (app = desktop) => {
    const browser = await newPerson(desk);
    const pair = await app.signIn(browser);
    expect(await desk.knock(pair.access_token)).toBe(200);
    return { browser, pair };
  };

  test("within 50 ms on this instance", async () => {
    const took = [];
    for (let i = 0; i < 5; i++) {
      const { browser, pair } = await signedIn();
      await desk.users.disable(localActor, browser.email);
      took.push(await ended(pair.access_token));
    }
    // A machine that does other things too may be late now and then, not always.
    expect(Math.min(...took)).toBeLessThan(50);
  });

  test("disabling the person", async () => {
    const { browser, pair } = await signedIn();
    await desk.users.disable(localActor, browser.email);
    await ended(pair.access_token);
    expect(await refusalOf(await desktop.refresh(pair.refresh_token))).toBe("invalid_grant");
    await desk.users.change(localActor, browser.id, { disabled: false });
    expect(await desk.knock(pair.access_token)).toBe(401);
    expect(await refusalOf(await desktop.refresh(pair.refresh_token))).toBe("invalid_grant");
  });

  test("revoking the app", async () => {
    const app = await newApp();
    const { pair } = await signedIn(app);
    await desk.clients.revoke(localActor, app.clientId);
    await ended(pair.access_token);
    expect(await refusalOf(await app.refresh(pair.refresh_token))).toBe("invalid_client");
  });

  test("the person's own list of sign-ins", async () => {
    const { browser, pair } = await signedIn();
    const signIn = String(claimsOf(pair.access_token).jti).split(".")[0];
    const response = await desk.send(`/api/v1/me/sessions/${signIn}`, {
      method: "DELETE",
      headers: { cookie: `specgate=${browser.cookie}`, "sec-fetch-site": "same-origin" },
    });
    expect(response.ok).toBe(true);
    await ended(pair.access_token);
    expect(await refusalOf(await desktop.refresh(pair.refresh_token))).toBe("invalid_grant");
  });

  test("revoking an access token, and that one alone", async () => {
    const { pair } = await signedIn();
    const next = await granted(desktop.refresh(pair.refresh_token));
    await granted(desktop.revoke(pair.access_token));
    await ended(pair.access_token);
    expect(await desk.knock(next.access_token)).toBe(200);
    await granted(desktop.refresh(next.refresh_token));
  });

  test("narrowing the app narrows what it already has", async () => {
    const app = await newApp();
    const { pair } = await signedIn(app);
    await desk.clients.change(localActor, app.clientId, { scope: "usage:read" }, null);
    while ((await desk.knock(pair.access_token)) === 200) await Bun.sleep(1);
    expect(await desk.knock(pair.access_token)).toBe(403);
    expect((await granted(app.refresh(pair.refresh_token))).scope).toBe("usage:read");
  });

  test("nobody revokes the desktop app: it is always there", async () => {
    const ada = await newPerson(desk, "admin");
    const { pair } = await signedIn();
    const response = await desk.send("/api/v1/clients/specgate-desktop", {
      method: "DELETE",
      headers: { cookie: `specgate=${ada.cookie}`, "sec-fetch-site": "same-origin" },
    });
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([409, "built_in"]);
    expect(await desk.knock(pair.access_token)).toBe(200);
  });
});
