/**
 * The pages as people meet them, in a real Chromium: the ways in and out, what an app is told after a click, the keyboard
 * alone, a small screen, and names that would like to be scripts. Nothing of a page may complain, or leave this machine.
 */
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import axe from "axe-core";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { loginPage } from "./features/identity/pages.ts";
import { isMissing, openChromium, textOf, type Watch, watch } from "./testing/chromium.ts";
import { localActor } from "./testing/desk.ts";
import { type People, startGateway, type TestGateway } from "./testing/gateway.ts";

const password = "correct horse battery";
const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

describe.skipIf(isMissing)("the pages in Chromium", () => {
  let gateway: TestGateway;
  let app: ReturnType<typeof startApp>;
  let browser: Browser;
  let people: People;
  let context: BrowserContext;
  let seen: Watch;
  setDefaultTimeout(40_000);

  beforeAll(async () => {
    gateway = await startGateway();
    app = startApp();
    people = await gateway.people();
    await gateway.users.create(localActor, { email: "root@example.com", role: "admin", password });
    browser = await openChromium();
  });
  afterEach(async () => {
    const { dialogs, complaints, origins } = seen;
    await context.close();
    for (const url of [gateway.url, gateway.url.replace("127.0.0.1", "localhost"), app.url])
      origins.delete(url);
    expect({ dialogs, complaints, foreign: [...origins] }).toEqual({
      dialogs: [],
      complaints: [],
      foreign: [],
    });
  });
  afterAll(async () => {
    await browser?.close();
    await app?.stop();
    await gateway?.close();
  });

  test("the setup link makes the first administrator, once, and leads home", async () => {
    const empty = await startGateway();
    const page = await newPage();
    const link = `${empty.url}/setup?token=${await empty.setup.link()}`;
    await page.goto(link);
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      expect(await violations(page)).toEqual([]);
    }
    await page.fill("#email", "first@example.com");
    await page.fill("#password", "too short");
    await page.click("button");
    expect(await page.evaluate(`document.querySelector("#password").validity.tooShort`)).toBe(true);
    await page.fill("#password", password);
    await page.click("button");
    await page.waitForURL(`${empty.url}/`);
    expect(await textOf(page)).toContain("first@example.com");
    expect(await textOf(page)).toContain("admin");
    expect((await page.goto(link))?.status()).toBe(403);
    expect(await textOf(page)).toContain("not good any more");
    seen.origins.delete(empty.url);
    await empty.close();
  });

  test("a wrong password is told on the form, and the right one leads to where the person was going", async () => {
    const page = await newPage();
    await visit(page, "/device?user_code=ABCD-2345");
    expect(page.url()).toContain("/login?next=%2Fdevice");
    await page.fill("#email", "root@example.com");
    await page.fill("#password", "not the password at all");
    await page.click("button");
    expect(await page.getByRole("alert").textContent()).toContain("password is wrong");
    expect(await page.inputValue("#email")).toBe("root@example.com");
    expect([await page.inputValue("#password"), await focus(page)]).toEqual(["", "#password"]);
    await page.fill("#password", password);
    await page.click("button");
    await page.waitForURL(`${gateway.url}/device?user_code=ABCD-2345`);
    expect(await page.inputValue("#user_code")).toBe("ABCD-2345");
  });

  test("another spelling of this machine leads to the public URL, and the form works there", async () => {
    const page = await newPage();
    await page.goto(`${gateway.url.replace("127.0.0.1", "localhost")}/login?next=%2Fdevice`);
    expect(page.url()).toBe(`${gateway.url}/login?next=%2Fdevice`);
    await fillIn(page);
    await page.waitForURL(`${gateway.url}/device`);
  });

  test("signing out ends it in this browser, and going back shows nothing", async () => {
    const page = await newPage();
    await visit(page, "/login");
    await fillIn(page);
    await page.waitForURL(`${gateway.url}/`);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL(`${gateway.url}/login`);
    expect(await context.cookies()).toEqual([]);
    await page.goBack();
    expect(await textOf(page)).not.toContain("root@example.com");
    await visit(page, "/");
    expect(page.url()).toContain("/login");
  });

  test("another browser's sign-in is ended from the home page", async () => {
    const page = await newPage(people.olga.cookie);
    const [other] = await gateway.signIns.list(people.olga.id);
    await visit(page, "/");
    expect(await page.getByRole("button", { name: "End it" }).count()).toBe(0);
    await another(people.olga.id);
    await visit(page, "/");
    await page.getByRole("button", { name: "End it" }).click();
    await page.waitForURL(`${gateway.url}/`);
    const left = (await gateway.signIns.list(people.olga.id)).map(({ signIn }) => signIn.id);
    expect(left).toEqual([other?.signIn.id ?? ""]);
  });

  test("an app gets a code by a click on Allow, after the person signed in, and the code is good", async () => {
    const page = await newPage();
    await visit(page, authorizePath({ scope: "llm:chat usage:read", state: "s 1&2" }));
    expect(page.url()).toContain("/login?next=");
    await fillIn(page);
    await page.getByRole("button", { name: "Allow" }).click();
    await page.waitForURL(`${app.url}/**`);
    expect(await page.textContent("body")).toBe("back in the app");
    const answer = app.asked().searchParams;
    expect([answer.get("state"), answer.get("iss")]).toEqual(["s 1&2", gateway.url]);
    expect(await redeem(answer.get("code") ?? "")).toBe("llm:chat usage:read");
    expect(app.asked().searchParams.has("error")).toBe(false);
  });

  test("what is unticked is not given, and without a tick nothing is", async () => {
    const page = await newPage(people.olga.cookie);
    await visit(page, authorizePath({ scope: "llm:chat usage:read" }));
    await page.getByLabel("usage:read").uncheck();
    await page.getByRole("button", { name: "Allow" }).click();
    await page.waitForURL(`${app.url}/**`);
    expect(await redeem(app.asked().searchParams.get("code") ?? "")).toBe("llm:chat");
    await visit(page, authorizePath({ scope: "llm:chat" }));
    await page.getByLabel("llm:chat").uncheck();
    await page.getByRole("button", { name: "Allow" }).click();
    expect(await textOf(page)).toContain("Nothing was ticked");
  });

  test("an app is told no by a click on Deny", async () => {
    const page = await newPage(people.olga.cookie);
    await visit(page, authorizePath({ state: "x" }));
    await page.getByRole("button", { name: "Deny" }).click();
    await page.waitForURL(`${app.url}/**`);
    const answer = app.asked().searchParams;
    expect([answer.get("error"), answer.get("code"), answer.get("state")]).toEqual([
      "access_denied",
      null,
      "x",
    ]);
  });

  test("a device is connected by typing its code, and denied by a click", async () => {
    const page = await newPage(people.olga.cookie);
    for (const [decision, poll] of [
      ["Allow", "access_token"],
      ["Deny", "access_denied"],
    ] as const) {
      const device = await startDevice();
      await visit(page, "/device");
      await page.fill("#user_code", "BBBB-BBBB");
      await page.click("button");
      expect(await page.getByRole("alert").textContent()).toContain("No device waits");
      await page.fill("#user_code", device.user_code.toLowerCase().replace("-", " "));
      await page.click("button");
      expect(await textOf(page)).toContain(device.user_code);
      await page.getByRole("button", { name: decision }).click();
      expect(await textOf(page)).toContain(decision === "Allow" ? "Connected" : "Denied");
      expect(await pollDevice(device.device_code)).toContain(poll);
    }
  });

  test("a mistake that no app may be told is a page for the person", async () => {
    const page = await newPage();
    await visit(page, authorizePath({ client_id: "cli_nobody" }), 400);
    expect(await textOf(page)).toContain("not registered");
    await visit(page, authorizePath({ redirect_uri: "https://evil.example/" }), 400);
    expect(await textOf(page)).toContain("not registered for it");
    expect(page.url()).toStartWith(gateway.url);
    await visit(page, "/setup?token=guessed", 403);
    await page.getByRole("link", { name: "Back to the start" }).click();
    expect(page.url()).toBe(`${gateway.url}/login?next=%2F`);
  });

  test("the keyboard alone signs in and decides, in order, with the focus in sight", async () => {
    const page = await newPage();
    await visit(page, authorizePath({ scope: "llm:chat usage:read" }));
    expect(await focus(page)).toBe("#email");
    await page.keyboard.type("root@example.com");
    expect(await tab(page)).toBe("#password");
    await page.keyboard.type(password);
    expect(await tab(page)).toBe("Sign in");
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/oauth\/consent/);
    expect(await tab(page)).toBe("llm:chat");
    expect(await tab(page)).toBe("usage:read");
    await page.keyboard.press("Space");
    expect(await tab(page)).toBe("Allow");
    expect(await tab(page)).toBe("Deny");
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("Enter");
    await page.waitForURL(`${app.url}/**`);
    expect(await redeem(app.asked().searchParams.get("code") ?? "")).toBe("llm:chat");
  });

  test("names that would like to be scripts are shown as they are written", async () => {
    const hostile = `"><img src=x onerror=alert(1)></title></style><script>alert(2)</script>'`;
    const client = await gateway.clients.create(localActor, {
      name: hostile,
      kind: "desktop",
      redirectUris: [`${app.url}/callback`],
      scope: "llm:chat",
    });
    const email = `"><svg/onload=alert(3)>@example.com`;
    await gateway.database.sql`update users set email = ${email} where id = ${people.vera.id}`;
    const page = await newPage(people.vera.cookie);

    await visit(page, authorizePath({ client_id: client.client_id, state: hostile }));
    expect(await textOf(page)).toContain(hostile);
    expect(await textOf(page)).toContain(email);
    await page.getByRole("button", { name: "Allow" }).click();
    await page.waitForURL(`${app.url}/**`);
    expect(app.asked().searchParams.get("state")).toBe(hostile);

    const device = await startDevice(client.client_id, hostile);
    await visit(page, `/device?user_code=${encodeURIComponent(`"><b>${hostile}`)}`);
    await visit(page, `/device?user_code=${device.user_code}`);
    await page.click("button");
    expect(await textOf(page)).toContain(hostile);
    await page.getByRole("button", { name: "Allow" }).click();
    await pollDevice(device.device_code, client.client_id, hostile);

    await another(people.vera.id, hostile);
    await visit(page, "/");
    for (const text of [hostile, email]) expect(await textOf(page)).toContain(text);

    await context.clearCookies();
    await visit(page, `/login?next=${encodeURIComponent(`/"><script>alert(4)</script>`)}`);
    await page.evaluate(`document.querySelector("form").noValidate = true`);
    await page.fill("#email", hostile);
    await page.fill("#password", hostile);
    await page.click("button");
    expect(await page.inputValue("#email")).toBe(hostile);
    expect(await page.locator("img, svg[onload], script, b").count()).toBe(0);
  });

  test("a script that ran, or was stopped, would have been noticed", async () => {
    const page = await newPage();
    const ours = Object.fromEntries(loginPage({ next: "/", providerHost: null }).headers);
    await page.route("**/hostile*", (route) => {
      const headers = route.request().url().endsWith("?ours") ? ours : {};
      return route.fulfill({ contentType: "text/html", headers, body: `<script>alert("ran")</script>` });
    });
    await page.goto(`${gateway.url}/hostile?ours`);
    expect([seen.dialogs, seen.complaints.length]).toEqual([[], 2]);
    await page.goto(`${gateway.url}/hostile`);
    expect(seen.dialogs).toEqual(["ran"]);
    seen.dialogs.length = seen.complaints.length = 0;
  });

  for (const scheme of ["light", "dark"] as const) {
    test(`every page is fit for everybody, in ${scheme} and at 360 px`, async () => {
      const page = await newPage(people.ed.cookie);
      await page.emulateMedia({ colorScheme: scheme });
      for (const [name, show] of Object.entries(await gallery(page))) {
        await page.setViewportSize({ width: 360, height: 740 });
        await show();
        const wide = await page.evaluate(`document.documentElement.scrollWidth`);
        expect({ name, wide }).toEqual({ name, wide: 360 });
        expect({ name, found: await violations(page) }).toEqual({ name, found: [] });
      }
    });
  }

  /** Every page there is, each with more to show than is usual. */
  async function gallery(page: Page): Promise<Record<string, () => Promise<unknown>>> {
    const long = "An app whose maker could not decide on a name and so wrote down each one that came to mind";
    const client = await gateway.clients.create(localActor, {
      name: long,
      kind: "desktop",
      redirectUris: [`${app.url}/callback`],
      scope: "llm:chat mcp:read mcp:write control:read control:write artifacts:read usage:read",
    });
    const { user_code } = await startDevice(
      client.client_id,
      `${"Mozilla/5.0 ".repeat(10)}${"x".repeat(90)}`,
    );
    await another(people.ed.id);
    const signInPage = loginPage({ next: "/", providerHost: "sign-in.identity.example.com" });
    const markup = await signInPage.text();
    return {
      "no setup": () => visit(page, "/setup?token=guessed", 403),
      "sign in": () => visit(page, "/login"),
      "sign in, wrong": async () => {
        await page.fill("#email", "ed@example.com");
        await page.fill("#password", "wrong");
        await page.click("button");
      },
      "sign in, with a provider": async () => {
        await page.route("**/login?provider", (route) =>
          route.fulfill({ headers: Object.fromEntries(signInPage.headers), body: markup }),
        );
        await visit(page, "/login?provider");
      },
      home: () => visit(page, "/"),
      consent: () => visit(page, authorizePath({ client_id: client.client_id })),
      code: () => visit(page, `/device?user_code=${user_code}`),
      "code, wrong": async () => {
        await page.fill("#user_code", "BBBB-BBBB");
        await page.click("button");
      },
      device: async () => {
        await page.fill("#user_code", user_code);
        await page.click("button");
      },
      decided: () => page.getByRole("button", { name: "Deny" }).click(),
      mistake: () => visit(page, authorizePath({ client_id: "cli_nobody" }), 400),
    };
  }

  async function newPage(cookie?: string): Promise<Page> {
    context = await browser.newContext();
    seen = await watch(context);
    if (cookie !== undefined)
      await context.addCookies([{ name: "specgate", value: cookie, url: gateway.url, httpOnly: true }]);
    return context.newPage();
  }

  async function visit(page: Page, path: string, status = 200): Promise<void> {
    const answer = await page.goto(gateway.url + path);
    expect({ path, status: answer?.status() }).toEqual({ path, status });
  }

  async function fillIn(page: Page): Promise<void> {
    await page.fill("#email", "root@example.com");
    await page.fill("#password", password);
    await page.click("button");
  }

  function authorizePath(more: Record<string, string>): string {
    const asked = new URLSearchParams({
      client_id: "specgate-desktop",
      response_type: "code",
      redirect_uri: `${app.url}/callback`,
      code_challenge: challenge,
      code_challenge_method: "S256",
      ...more,
    });
    return `/oauth/authorize?${asked}`;
  }

  const askToken = async (fields: Record<string, string>, userAgent = "an app") => {
    const body = new URLSearchParams({ client_id: "specgate-desktop", ...fields });
    const headers = { "user-agent": userAgent };
    const path = fields.grant_type === undefined ? "device_authorization" : "token";
    const answer = await fetch(`${gateway.url}/oauth/${path}`, { method: "POST", body, headers });
    return (await answer.json()) as Record<string, string>;
  };

  /** The scopes that the code is good for. */
  async function redeem(code: string): Promise<string> {
    const redirect_uri = `${app.url}/callback`;
    const { scope, error } = await askToken({
      grant_type: "authorization_code",
      code,
      redirect_uri,
      code_verifier: verifier,
    });
    return scope ?? `refused: ${error}`;
  }

  async function startDevice(clientId = "specgate-desktop", userAgent?: string) {
    const { user_code = "", device_code = "" } = await askToken({ client_id: clientId }, userAgent);
    return { user_code, device_code };
  }

  const pollDevice = async (device_code: string, client_id = "specgate-desktop", userAgent?: string) => {
    const grant_type = "urn:ietf:params:oauth:grant-type:device_code";
    return JSON.stringify(await askToken({ grant_type, client_id, device_code }, userAgent));
  };

  /** The person has another browser too. */
  async function another(userId: string, userAgent = "Mozilla/5.0 (X11; Linux x86_64)"): Promise<void> {
    const origin = { ip: "192.0.2.7", userAgent, requestId: null };
    await gateway.database.transaction((tx) =>
      gateway.signIns.openBrowser(tx, { userId, method: "password", origin }),
    );
  }
});

/** Where an app waits for the browser to come back. */
function startApp() {
  let last = new URL("http://127.0.0.1/");
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const url = new URL(request.url);
      if (url.pathname === "/callback") last = url;
      return new Response("back in the app", { headers: { "content-type": "text/plain" } });
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, asked: () => last, stop: () => server.stop(true) };
}

/** What has the focus: its id, its scope or its words; empty when nobody could see it. */
const focus = (page: Page): Promise<string> =>
  page.evaluate(`(() => {
    const it = document.activeElement
    const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(it)
    const isSeen = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 && outlineColor !== "rgba(0, 0, 0, 0)"
    const box = it.getBoundingClientRect()
    if (!isSeen || box.width === 0) return ""
    return it.id ? "#" + it.id : it.type === "checkbox" ? it.value : it.textContent
  })()`);

async function tab(page: Page): Promise<string> {
  await page.keyboard.press("Tab");
  return focus(page);
}

/** What axe finds wrong, as `rule: where`. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  return page.evaluate(`axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
    violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ": " + html)))`);
}
