import { beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { eq } from "drizzle-orm";
import { audit } from "../db/schema.ts";
import { type Person, startGateway, type TestGateway } from "../testing/gateway.ts";
import {
  type Around,
  changed,
  desktop,
  openTerminal,
  past,
  type Said,
  type Terminal,
} from "../testing/terminal.ts";
import type { Credential } from "./credentials.ts";

let gateway: TestGateway;
let ed: Person;
let terminal: Terminal;
beforeAll(async () => {
  gateway = await startGateway();
  ({ ed } = await gateway.people());
  return () => gateway.close();
});
beforeEach(() => {
  terminal = openTerminal(gateway.url);
});

const specgate = (line: string, around?: Around): Promise<Said> => terminal.specgate(line, around);
const ticked = ["control:read", "usage:read"];

/** What the gateway sends ed's browser back to. */
async function decide(authorizationUrl: string, decision: "allow" | "deny"): Promise<string> {
  const { pathname, search, searchParams } = new URL(authorizationUrl);
  expect(searchParams.has("resource")).toBe(false);
  const asked = new URL((await ed.fetch(pathname + search)).headers.get("location") ?? "");
  const ticket = asked.searchParams.get("ticket") ?? "";
  return (await decided("/oauth/consent", ticket, decision)).headers.get("location") ?? "";
}

async function connect(userCode: string, decision: "allow" | "deny"): Promise<void> {
  const body = new URLSearchParams({ user_code: userCode });
  const page = await (await ed.fetch("/device", { method: "POST", body })).text();
  const ticket = /name="ticket" value="([^"]+)"/.exec(page)?.[1] ?? "";
  expect((await decided("/device", ticket, decision)).status).toBe(200);
}

function decided(path: string, ticket: string, decision: "allow" | "deny"): Promise<Response> {
  const body = new URLSearchParams({ ticket, decision });
  for (const scope of ticked) body.append("scope", scope);
  return ed.fetch(path, { method: "POST", body });
}

const allow = (url: string): Promise<string> => decide(url, "allow");
const willing = () => desktop(allow);

/** Signed in as ed, with these changes made to what is kept. */
async function signedIn(changes: Partial<Credential> = {}): Promise<Credential> {
  expect(await specgate("login", willing())).toMatchObject({ code: 0 });
  const credential = terminal.kept()[gateway.url];
  if (credential === undefined) throw new Error("nothing is kept");
  terminal.keep({ ...credential, ...changes });
  return credential;
}

/** The app sign-ins of ed, the latest first. */
const sessions = async () => {
  const { data } = (await (await ed.fetch("/api/v1/me/sessions")).json()) as {
    data: { id: string; kind: string }[];
  };
  return data.filter(({ kind }) => kind === "app").map(({ id }) => id);
};

describe("login in a browser", () => {
  test("signs a person in, tells the window so, and keeps the sign-in for them alone", async () => {
    const { openBrowser, page } = willing();
    const said = await specgate("login", { openBrowser });
    const { url } = gateway;
    expect(said).toEqual({ code: 0, out: "", err: expect.stringContaining(`${url}/oauth/authorize?`) });
    expect(said.err).toContain(`Signed in to ${url}, with control:read usage:read.`);
    const shown = await page();
    expect([shown.status, await shown.text()]).toEqual([200, expect.stringContaining("You are signed in")]);
    expect(shown.headers.get("content-security-policy")).toStartWith("default-src 'none'");
    expect(terminal.modes()).toEqual(["600", "700"]);
    const names = readdirSync(dirname(terminal.file)).sort();
    expect(names).toEqual(["credentials.json", "credentials.lock"]);
    expect(terminal.kept()[url]).toMatchObject({
      client_id: "specgate-desktop",
      scope: "control:read usage:read",
    });
    const who = await specgate("whoami");
    expect([who.code, who.err]).toEqual([0, ""]);
    expect(who.out).toContain(ed.email);
  });

  test("asks for the scopes that were named, and keeps below XDG_CONFIG_HOME when that is a full path", async () => {
    let asked = "";
    const { openBrowser } = desktop((url) => {
      asked = new URL(url).searchParams.get("scope") ?? "";
      return allow(url);
    });
    const env = { XDG_CONFIG_HOME: join(terminal.home, "elsewhere") };
    const said = await specgate("login --scope usage:read", { openBrowser, env });
    expect([said.code, asked]).toEqual([0, "usage:read"]);
    expect(said.err).toContain("with usage:read.");
    expect(readdirSync(join(terminal.home, "elsewhere/specgate"))).toContain("credentials.json");
    expect((await specgate("whoami", { env })).code).toBe(0);
    expect((await specgate("whoami", { env: { XDG_CONFIG_HOME: "elsewhere" } })).code).toBe(1);
  });

  test("other pages of this machine that call the listener neither end the wait nor get anywhere", async () => {
    const statuses: number[] = [];
    const { openBrowser } = desktop(async (url) => {
      const back = await allow(url);
      const twice = `${back}&state=x`;
      const strangers = [new URL("/favicon.ico", back).href, changed(back, { state: "guess" }), twice];
      for (const address of strangers) statuses.push((await fetch(address)).status);
      statuses.push((await fetch(back, { method: "POST" })).status);
      return back;
    });
    expect((await specgate("login", { openBrowser })).code).toBe(0);
    expect(statuses).toEqual([404, 400, 400, 404]);
  });

  test("an answer of another issuer, without one or without a code, and a denial, keep nothing", async () => {
    const answers: [(url: string) => Promise<string>, string][] = [
      [async (url) => changed(await allow(url), { iss: "http://127.0.0.1:1" }), "another issuer"],
      [async (url) => changed(await allow(url), { iss: null }), "another issuer"],
      [async (url) => changed(await allow(url), { code: null }), "without a code"],
      [(url) => decide(url, "deny"), "denied in the browser"],
    ];
    for (const [goBack, words] of answers) {
      const { openBrowser, page } = desktop(goBack);
      const said = await specgate("login", { openBrowser });
      expect([said.code, said.out]).toEqual([1, ""]);
      expect(said.err).toContain(words);
      expect(await (await page()).text()).toContain("You are not signed in");
      expect(() => terminal.kept()).toThrow();
    }
  });

  test("a code that the gateway refuses keeps nothing, and the window says so", async () => {
    const { openBrowser, page } = desktop(async (url) =>
      changed(await allow(url), { code: "spent already" }),
    );
    const said = await specgate("login", { openBrowser });
    expect([said.code, said.err]).toEqual([1, expect.stringContaining("(invalid_grant)")]);
    expect((await page()).status).toBe(400);
  });

  test("without a desktop the address is printed, and after five minutes the wait ends", async () => {
    const slept: number[] = [];
    const sleep = async (ms: number) => void slept.push(ms);
    const said = await specgate("login", { sleep });
    expect([said.code, slept]).toEqual([1, [300_000]]);
    expect(said.err).toContain(`\n  ${gateway.url}/oauth/authorize?response_type=code`);
    expect(said.err).toContain("within 5 minutes");
  });
});

describe("login by a code", () => {
  /** What the terminal shows is not known before the command ends, so the code is looked up where the gateway has it. */
  const pending = async (): Promise<string> => {
    const rows = await gateway.database.sql`select user_code from device_codes where state = 'pending'`;
    return String(rows.at(-1)?.user_code);
  };

  test("waits as it is told, longer when it is told to slow down", async () => {
    const slept: number[] = [];
    let code = "";
    const sleep = async (ms: number) => {
      slept.push(ms);
      if (slept.length < 3) return;
      code = await pending();
      await connect(code, "allow");
    };
    const said = await specgate("login --device", { sleep });
    expect([said.code, said.out]).toEqual([0, ""]);
    expect(slept).toEqual([5_000, 5_000, 10_000]);
    const shown = `${code.slice(0, 4)}-${code.slice(4)}`;
    expect(said.err).toContain(`${gateway.url}/device\n`);
    expect(said.err).toContain(`the code ${shown}`);
    expect(said.err).toContain(`${gateway.url}/device?user_code=${shown}`);
    expect(said.err).toContain("with control:read usage:read.");
    expect(terminal.modes()).toEqual(["600", "700"]);
  });

  test("a denied code keeps nothing", async () => {
    const said = await specgate("login --device", { sleep: async () => connect(await pending(), "deny") });
    expect([said.code, said.err]).toEqual([1, expect.stringContaining("denied in the browser")]);
    expect(() => terminal.kept()).toThrow();
  });
});

describe("the gateway", () => {
  test("is spelled on loopback in any way, and its sign-in is found again by each", async () => {
    const alias = gateway.url.replace("127.0.0.1", "localhost");
    expect((await specgate(`login --url ${alias}/`, willing())).code).toBe(0);
    expect(Object.keys(terminal.kept())).toEqual([gateway.url]);
    for (const url of [alias, gateway.url]) expect((await specgate(`whoami --url ${url}`)).code).toBe(0);
  });

  test("is reached over https unless it is on this machine", async () => {
    for (const url of ["http://gate.example.com", "gate.example.com", "https://a:b@gate.example.com", ""]) {
      for (const command of ["login", "logout", "whoami"]) {
        const said = await specgate(`${command} --url ${url}`);
        expect([url, said.code, said.err]).toEqual([url, 2, expect.stringMatching(/^specgate: --url: /)]);
      }
    }
    const said = await specgate("whoami", { env: { SPECGATE_URL: "ftp://x" } });
    expect([said.code, said.err]).toEqual([2, expect.stringContaining("SPECGATE_URL: ")]);
  });

  test("runs beside the command line's variables without a word", async () => {
    const env = { SPECGATE_TOKEN: "abc", SPECGATE_URL: "not even a URL" };
    expect(await specgate("config check", { env })).toMatchObject({ code: 0 });
    expect((await specgate("config check", { env })).err).not.toContain("SPECGATE_");
    expect((await specgate("config check", { env: { SPECGATE_TOKE: "abc" } })).code).toBe(2);
  });
});

describe("a kept sign-in", () => {
  test("is refreshed once when several commands need it at once", async () => {
    const before = await signedIn({ expires_at: past() });
    const [signInId = ""] = await sessions();
    const said = await Promise.all([specgate("whoami"), specgate("whoami"), specgate("whoami")]);
    expect(said.map(({ code, err }) => [code, err])).toEqual(said.map(() => [0, ""]));
    const { db } = gateway.database;
    const rows = await db.select().from(audit).where(eq(audit.action, "token.refreshed"));
    expect(rows.map(({ details }) => details)).toMatchObject([{ sign_in: signInId }]);
    expect(terminal.kept()[gateway.url]?.refresh_token).not.toBe(before.refresh_token);
    expect(terminal.modes()).toEqual(["600", "700"]);
  });

  test("that the gateway ended says how to begin again", async () => {
    const credential = await signedIn();
    const [signInId = ""] = await sessions();
    expect((await ed.fetch(`/api/v1/me/sessions/${signInId}`, { method: "DELETE" })).status).toBe(204);
    await gateway.feed.read();
    expect((await specgate("whoami")).err).toMatch(/run specgate login \(request req_\w+\)\n$/);
    terminal.keep({ ...credential, expires_at: past() });
    const said = await specgate("whoami");
    const words = `specgate: Your sign-in has ended; run specgate login --url ${gateway.url}\n`;
    expect([said.code, said.err]).toEqual([1, words]);
    expect((await specgate("whoami")).err).toContain("You are not signed in");
  });

  test("is tightened with a warning when others could read it", async () => {
    await signedIn();
    chmodSync(terminal.file, 0o644);
    const said = await specgate("whoami");
    expect([said.code, said.err]).toEqual([0, expect.stringContaining("warning: ")]);
    expect([terminal.modes()[0], (await specgate("whoami")).err]).toEqual(["600", ""]);
  });

  test("in a file of somebody else, or in one that cannot be understood, is left as it is", async () => {
    await signedIn();
    const before = readFileSync(terminal.file, "utf8");
    const stranger = { pid: 1, uid: 4_242, platform: "linux", arch: "x64" };
    const foreign = await specgate("login", { ...willing(), host: stranger });
    expect([foreign.code, foreign.err]).toEqual([1, expect.stringContaining("belongs to another user")]);
    expect(readFileSync(terminal.file, "utf8")).toBe(before);
    for (const text of ["{", "", `{"version":2,"gateways":{}}`, `{"version":1,"gateways":{"x":{}}}`]) {
      writeFileSync(terminal.file, text);
      for (const line of ["login", "logout", "whoami"]) {
        const said = await specgate(line, willing());
        expect([said.code, said.err]).toEqual([1, expect.stringContaining("Move it away")]);
      }
      expect(readFileSync(terminal.file, "utf8")).toBe(text);
    }
  });

  test("keeps what is beside it: other gateways, and fields of a later version", async () => {
    const other = "https://gate.example.com";
    const credential = await signedIn();
    terminal.keep({ ...credential, nickname: "work" } as Credential, other);
    expect((await specgate("login", willing())).code).toBe(0);
    expect(Object.keys(terminal.kept()).sort()).toEqual([gateway.url, other].sort());
    expect(terminal.kept()[other]).toMatchObject({ nickname: "work" });
    await specgate("logout");
    expect(Object.keys(terminal.kept())).toEqual([other]);
    expect((await specgate("whoami")).err).toContain(`you are signed in to ${other}: name it with --url`);
  });
});

describe("token print", () => {
  test("prints the bearer of the sign-in, renewed when it is nearly over, whatever SPECGATE_TOKEN says", async () => {
    const { access_token: before } = await signedIn();
    const env = { SPECGATE_TOKEN: "a runner's" };
    const said = await specgate("token print", { env });
    expect([said.code, said.out]).toEqual([0, `${before}\n`]);
    expect(said.err).toMatch(/^Good for [89]\d\d s, with control:read usage:read\.\n$/);
    terminal.keep({ ...(terminal.kept()[gateway.url] as Credential), expires_at: past() });
    const { out } = await specgate("token print", { env });
    expect(out).not.toBe(`${before}\n`);
    expect((await gateway.as(out.trim()).fetch("/api/v1/me")).status).toBe(200);
    const json = JSON.parse((await specgate("token print --json")).out);
    expect(json).toMatchObject({
      access_token: out.trim(),
      token_type: "Bearer",
      scope: "control:read usage:read",
    });
  });

  test("is refused where nobody is signed in", async () => {
    const said = await specgate("token print");
    expect([said.code, said.out, said.err]).toEqual([1, "", expect.stringContaining("run specgate login")]);
  });
});

describe("logout", () => {
  test("revokes the sign-in and forgets it; again is no error", async () => {
    const before = await sessions();
    await signedIn();
    expect((await sessions()).length).toBe(before.length + 1);
    const { url } = gateway;
    expect(await specgate("logout")).toEqual({ code: 0, out: "", err: `Signed out of ${url}.\n` });
    expect([await sessions(), terminal.kept()]).toEqual([before, {}]);
    const again = { code: 0, out: "", err: `You were not signed in to ${url}.\n` };
    expect(await specgate("logout")).toEqual(again);
    expect((await specgate("whoami")).code).toBe(1);
  });
});

describe("whoami", () => {
  test("prints what the API answers with --json, and the projects in words without", async () => {
    const { access_token } = await signedIn();
    const me = await (await gateway.as(access_token).fetch("/api/v1/me")).json();
    expect(me).toMatchObject({ principal: { email: ed.email, client_id: "specgate-desktop" } });
    expect(JSON.parse((await specgate("whoami --json")).out)).toEqual(me);
    const { out } = await specgate("whoami");
    expect(out).toMatch(new RegExp(`^id +${ed.id}$`, "m"));
    expect(out).toMatch(/^scopes +control:read usage:read$/m);
    expect(out).toMatch(new RegExp(`^projects +${gateway.robo.projectId} "robo's project" as editor$`, "m"));
    expect(out).not.toContain("key_id");
  });

  test("without any credential says how to get one", async () => {
    const said = await specgate("whoami");
    expect([said.code, said.out]).toEqual([1, ""]);
    expect(said.err).toContain("run specgate login");
    expect(() => statSync(join(terminal.home, ".config"))).toThrow();
  });

  test("takes the token that it is given before the one in the environment, and that before the sign-in", async () => {
    const { access_token: good } = await signedIn();
    const stranger = openTerminal(gateway.url);
    const line = `whoami --token ${good}`;
    expect((await stranger.specgate(line, { env: { SPECGATE_TOKEN: "bad" } })).code).toBe(0);
    expect((await stranger.specgate("whoami", { env: { SPECGATE_TOKEN: good } })).code).toBe(0);
    writeFileSync(join(stranger.home, "token"), `${good}\n`);
    expect((await stranger.specgate("whoami", { env: { SPECGATE_TOKEN_FILE: "token" } })).code).toBe(0);
    const said = await specgate("whoami", { env: { SPECGATE_TOKEN: "bad" } });
    expect([said.code, said.err]).toEqual([1, expect.stringMatching(/ \(request req_\w+\)\n$/)]);
    expect(said.err).not.toContain("run specgate login");
    expect((await specgate("whoami --token ")).code).toBe(2);
  });
});
