/**
 * What other pages in a person's browser can do to the gateway: nothing. A real Chromium, signed in, is led to hostile
 * pages of another site, of this site on another port (where the cookie does go along), and of no origin at all. Each
 * attack is then made from the gateway's own origin, where it has to succeed: a broken attack proves nothing.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Browser, BrowserContext, Page, Response as Seen } from "playwright-core";
import { isMissing, openChromium } from "../testing/chromium.ts";
import { localActor } from "../testing/desk.ts";
import { startGateway, type TestGateway } from "../testing/gateway.ts";
import { form, script, startAttacker, vectors, victim } from "../testing/hostile-pages.ts";

describe.skipIf(isMissing)("other pages in Chromium", () => {
  let gateway: TestGateway;
  let attacker: ReturnType<typeof startAttacker>;
  let browser: Browser;
  let context: BrowserContext;
  /** The victim's two windows: one is led astray; in the other the gateway shows what a test wants. */
  let page: Page;
  let ownPage: Page;
  setDefaultTimeout(40_000);

  beforeAll(async () => {
    gateway = await startGateway();
    attacker = startAttacker();
    const here = `127.0.0.1:${attacker.port}`;
    browser = await openChromium({ "evil.example": "127.0.0.1", "tauri.localhost:80": here });
    context = await browser.newContext();
    page = await context.newPage();
    ownPage = await context.newPage();
    const { password } = victim;
    await gateway.users.create(localActor, { email: victim.email, role: "admin", password });
    await gateway.users.create(localActor, { email: "mallory@example.com", role: "user", password });
  });
  afterAll(async () => {
    await browser?.close();
    await attacker?.stop();
    await gateway?.close();
  });

  for (const vector of vectors) {
    test(vector.name, async () => {
      await signIn();
      const target = {
        url: gateway.url,
        isOwn: false,
        ticket: vector.needs === "consent" ? await ticketOf() : "",
        deviceTicket: vector.needs === "device" ? await deviceTicketOf() : "",
        signIn: await otherSignIn(),
      };
      const before = await rows();
      for (const [name, place] of Object.entries(places())) {
        const outcome = await press(await open(vector.content(target), place));
        expect({ name, outcome }).toEqual({ name, outcome: expect.stringMatching(vector.foreign) });
        expect({ name, rows: await rows() }).toEqual({ name, rows: before });
      }
      const own = await openOwn(vector.content({ ...target, isOwn: true }));
      expect(await press(own)).toMatch(vector.own);
      const after = await rows();
      const changed = tables.filter((table) => table !== "audit" && after[table] !== before[table]);
      expect(changed.sort()).toEqual(vector.changes);
    });
  }

  test("the cookie goes along from another port of this site, so it is the gateway that refuses", async () => {
    await signIn();
    await open(form(`${gateway.url}/logout`, {}), places()["another port of this site"]);
    const [sent] = await Promise.all([page.waitForRequest(`${gateway.url}/logout`), page.click("button")]);
    const headers = await sent.allHeaders();
    expect(headers.cookie).toStartWith("specgate=");
    expect(headers["sec-fetch-site"]).toBe("same-site");
  });

  test("a form does not sign a stranger's browser in as the attacker", async () => {
    const stranger = await browser.newContext();
    const fields = { email: "mallory@example.com", password: victim.password };
    attacker.show(form(`${gateway.url}/login`, fields));
    const window = await stranger.newPage();
    for (const place of Object.values(places())) {
      await window.goto(place);
      const answered = window.waitForResponse(`${gateway.url}/login`);
      await window.click("button");
      expect((await answered).status()).toBe(403);
      expect(await stranger.cookies()).toEqual([]);
    }
    await window.goto(`${gateway.url}/login`);
    await window.fill("#email", fields.email);
    await window.fill("#password", fields.password);
    await window.click("button");
    await window.waitForURL(`${gateway.url}/`);
    expect((await stranger.cookies()).map(({ name }) => name)).toEqual(["specgate"]);
    await stranger.close();
  });

  test("no page of the gateway shows in a frame, not even in one of its own", async () => {
    await signIn();
    const paths = ["/", "/login", "/device", `/oauth/consent?ticket=${await ticketOf()}`];
    const before = await rows();
    const frames = paths.map((path) => `<iframe src="${gateway.url}${path}"></iframe>`);
    frames.push(`<object data="${gateway.url}${paths[3]}"></object><embed src="${gateway.url}${paths[3]}">`);
    const harmless = `<iframe srcdoc="<main>here</main>"></iframe>`;
    for (const place of [...Object.values(places()), null]) {
      const framing = await openAt(harmless + frames.join(""), place);
      await framing.waitForLoadState();
      const [known, ...shown] = framing.frames().slice(1);
      expect(await known?.locator("main").textContent()).toBe("here");
      expect(shown.length).toBeGreaterThanOrEqual(paths.length);
      // What is refused inside of an object leaves no frame behind.
      const mains = shown.map((frame) =>
        frame
          .locator("main")
          .count()
          .catch(() => 0),
      );
      expect(await Promise.all(mains)).toEqual(shown.map(() => 0));
    }
    for (const path of paths) {
      await page.goto(gateway.url + path);
      expect(await page.locator("main").count()).toBe(1);
    }
    expect(await rows()).toEqual(before);
  });

  test("a window that a page opens is closed to that page", async () => {
    await signIn();
    const content = `<button onclick="popup = window.open('${gateway.url}/')">Win</button>`;
    const read = `Object.fromEntries(Object.entries({
      text: () => popup.document.body.innerText, address: () => popup.location.href, name: () => popup.name,
      storage: () => popup.localStorage.length, history: () => popup.history.length, origin: () => popup.origin,
    }).map(([what, look]) => { try { return [what, String(look())] } catch (error) { return [what, error.name] } }))`;
    for (const place of [...Object.values(places()), null]) {
      const opener = await openAt(content, place);
      const [popup] = await Promise.all([opener.waitForEvent("popup"), opener.click("button")]);
      await popup.waitForURL((url) => url.origin === gateway.url);
      const seen = (await opener.evaluate(read)) as Record<string, string>;
      await popup.close();
      if (place === null) expect(seen.text).toContain(victim.email);
      else expect([...new Set(Object.values(seen))]).toEqual(["SecurityError"]);
    }
  });

  test("tags that ask for the gateway's addresses change nothing and learn nothing", async () => {
    await signIn();
    const addresses = [...(await gets()), "/api/v1/me"].map((path) => gateway.url + path);
    const content = script(`
      const names = Object.keys(window).length
      const loaded = (tag, set) => new Promise((done) => {
        const made = document.createElement(tag)
        made.onload = () => done(tag)
        made.onerror = () => done(null)
        set(made)
        document.head.append(made)
      })
      const asked = ${JSON.stringify(addresses)}.flatMap((address) => [
        loaded("img", (made) => { made.src = address }),
        loaded("script", (made) => { made.src = address }),
        loaded("link", (made) => { made.rel = "stylesheet"; made.href = address }),
        loaded("link", (made) => { made.rel = "prefetch"; made.href = address }),
      ])
      const ran = (await Promise.all(asked)).filter((tag) => tag === "img" || tag === "script")
      const rules = [...document.styleSheets].map((sheet) => { try { return sheet.cssRules.length } catch { return 0 } })
      return [ran.length, rules.reduce((sum, some) => sum + some, 0), Object.keys(window).length - names].join()
    `);
    const before = await rows();
    for (const place of [...Object.values(places()), null]) {
      expect(await press(await openAt(content, place))).toBe("0,0,0");
      expect(await rows()).toEqual(before);
    }
    const own = await openOwn(script(`return (await fetch("/api/v1/me")).text()`));
    expect(await press(own)).toContain(victim.email);
  });

  test("links that say what to decide decide nothing", async () => {
    await signIn();
    const paths = await gets();
    const links = paths.map((path) => `<a href="${gateway.url}${Bun.escapeHTML(path)}">Win</a> `).join("");
    const before = await rows();
    for (const place of Object.values(places()).slice(0, 2)) {
      for (const [index, path] of paths.entries()) {
        await open(links, place);
        const answered = page.waitForResponse(gateway.url + path);
        await page.locator("a").nth(index).click();
        // A link is followed with the cookie: that a GET decides nothing is all that stands between.
        expect((await (await answered).request().allHeaders()).cookie).toStartWith("specgate=");
      }
      expect(await rows()).toEqual(before);
    }
  });

  test("no page passes for the desktop app, and the app's own pages are nobody without a bearer", async () => {
    await signIn();
    const bearer = `authorization: "Bearer ${gateway.robo.bearer}"`;
    const tries = script(`
      const ask = (init) => fetch("${gateway.url}/api/v1/me", init).then(({ status }) => status, ({ name }) => name)
      return [
        await ask({ credentials: "include" }),
        await ask({}),
        await ask({ headers: { ${bearer} } }),
        await ask({ headers: { ${bearer}, Origin: "tauri://localhost", Host: "tauri.localhost" } }),
      ].join()
    `);
    for (const place of Object.values(places()))
      expect(await press(await open(tries, place))).toBe(Array(4).fill("TypeError").join());
    expect(await press(await open(tries, "http://tauri.localhost/"))).toBe("TypeError,401,200,200");
    expect(await press(await openOwn(tries))).toBe("200,200,200,200");
  });

  test("a name that is made to lead here is refused, whatever is asked under it", async () => {
    await signIn();
    const rebound = gateway.url.replace("127.0.0.1", "evil.example");
    const before = await rows();
    expect((await page.goto(`${rebound}/login`))?.status()).toBe(403);
    expect(await page.locator("form").count()).toBe(0);
    // The page is empty, and yet of the name's origin: what a script from the name's true owner asks is same-origin.
    const statuses = `Promise.all([
      ...["/", "/login", "/api/v1/me", "/healthz", "/oauth/consent", "/v1/models"].map((path) => fetch(path)),
      ...["/logout", "/login", "/api/v1/projects"].map((path) => fetch(path, { method: "POST", body: "{}" })),
    ]).then((answers) => answers.map(({ status }) => status))`;
    expect(await page.evaluate(statuses)).toEqual(Array(9).fill(403));
    expect(await rows()).toEqual(before);
    expect(await press(await openOwn(script(`return (await fetch("/api/v1/me")).status`)))).toBe("200");
  });

  const places = () => ({
    "another site": `http://localhost:${attacker.port}/`,
    "another port of this site": `http://127.0.0.1:${attacker.port}/`,
    "no origin": `http://127.0.0.1:${attacker.port}/sandboxed`,
  });

  async function open(content: string, place: string): Promise<Page> {
    attacker.show(content);
    await page.goto(place);
    return page;
  }

  /** Shows the content as a page of the gateway, which only a test can arrange. */
  async function openOwn(content: string): Promise<Page> {
    const show = `${gateway.url}/show`;
    await ownPage.unrouteAll();
    await ownPage.route(show, (route) => route.fulfill({ contentType: "text/html", body: content }));
    await ownPage.goto(show);
    return ownPage;
  }

  const openAt = (content: string, place: string | null): Promise<Page> =>
    place === null ? openOwn(content) : open(content, place);

  /** Presses the page's button: what a script then tells, or the status that a form is answered with. */
  async function press(at: Page): Promise<string> {
    if ((await at.content()).includes("window.told")) {
      await at.click("button");
      return String(await (await at.waitForFunction("window.told")).jsonValue());
    }
    const isAnswer = (seen: Seen) => seen.request().method() === "POST" && seen.url().startsWith(gateway.url);
    const [answer] = await Promise.all([at.waitForResponse(isAnswer), at.click("button")]);
    return String(answer.status());
  }

  /** Posts the login form, unless this browser is signed in. */
  async function signIn(): Promise<void> {
    await page.goto(`${gateway.url}/`);
    if (page.url() === `${gateway.url}/`) return;
    await page.fill("#email", victim.email);
    await page.fill("#password", victim.password);
    await page.click("button");
    await page.waitForURL(`${gateway.url}/`);
  }

  /** What the consent page holds for the victim's own browser; an attacker would have to steal it. */
  async function ticketOf(): Promise<string> {
    const asked = new URLSearchParams({
      client_id: "specgate-desktop",
      response_type: "code",
      redirect_uri: "http://127.0.0.1:9/callback",
      code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
      code_challenge_method: "S256",
    });
    await page.goto(`${gateway.url}/oauth/authorize?${asked}`);
    return page.inputValue("[name=ticket]");
  }

  async function deviceTicketOf(): Promise<string> {
    const body = new URLSearchParams({ client_id: "specgate-desktop" });
    const begun = await fetch(`${gateway.url}/oauth/device_authorization`, { method: "POST", body });
    const { verification_uri_complete: link } = (await begun.json()) as { verification_uri_complete: string };
    await page.goto(link);
    await page.click("button");
    return page.inputValue("[name=ticket]");
  }

  /** Another of the victim's browsers, to be ended by whoever can. */
  async function otherSignIn(): Promise<string> {
    const { database, signIns, users } = gateway;
    const userId = (await users.list()).find(({ email }) => email === victim.email)?.id ?? "";
    const origin = { ip: null, userAgent: null, requestId: null };
    const { id } = await database.transaction((tx) =>
      signIns.openBrowser(tx, { userId, method: "password", origin }),
    );
    return id;
  }

  /** Addresses that would do harm if a GET could. */
  async function gets(): Promise<string[]> {
    const [ticket, deviceTicket] = [await ticketOf(), await deviceTicketOf()];
    return [
      "/logout",
      "/api/v1/auth/logout",
      `/sign-ins?id=${await otherSignIn()}`,
      `/oauth/consent?ticket=${ticket}&decision=allow&scope=llm%3Achat`,
      `/device?ticket=${deviceTicket}&decision=allow&scope=llm%3Achat`,
      `/login?email=mallory%40example.com&password=${encodeURIComponent(victim.password)}`,
      "/api/v1/projects?name=stolen",
    ];
  }

  /** The rows that an attack could be after, without the notes that reading makes. */
  async function rows(): Promise<Record<string, string>> {
    const found = tables.map(async (table) => {
      const unread = table === "sign_ins" ? "- 'used_at'" : "- 'seal'";
      const list = await gateway.database.sql.unsafe(
        `select to_jsonb(t) ${unread} as row from ${table} t order by 1`,
      );
      return [table, JSON.stringify(list)] as const;
    });
    return Object.fromEntries(await Promise.all(found));
  }
});

const tables = [
  "users",
  "projects",
  "project_members",
  "clients",
  "api_keys",
  "sign_ins",
  "refresh_tokens",
  "authorization_codes",
  "device_codes",
  "tickets",
  "audit",
];
