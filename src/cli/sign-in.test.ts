import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { run } from "./cli.ts";
import type { Credential } from "./credentials.ts";
import type { World } from "./world.ts";

const room = mkdtempSync(join(tmpdir(), "specgate-sign-in-"));
afterAll(() => rmSync(room, { recursive: true, force: true }));

let gate: Gate;
let home = "";
beforeEach(() => {
  gate = startGate();
  home = mkdtempSync(join(room, "home-"));
});
afterEach(() => gate.close());

const file = () => join(home, ".config/specgate/credentials.json");
const kept = (): Record<string, Credential> => JSON.parse(readFileSync(file(), "utf8")).gateways;
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

function keep(changes: Partial<Credential> = {}, url = gate.url): void {
  const credential = { ...gate.issue(), ...changes };
  mkdirSync(dirname(file()), { recursive: true, mode: 0o700 });
  writeFileSync(file(), JSON.stringify({ version: 1, gateways: { [url]: credential } }), { mode: 0o600 });
}

const past = () => new Date(Date.now() - 1_000).toISOString();

type Said = { code: number; out: string; err: string };
type Surroundings = Partial<Pick<World, "openBrowser" | "sleep" | "host">> & { env?: Record<string, string> };

/** One command, as a shell would run it; SPECGATE_URL names the gate. Nobody waits, but for five minutes forever. */
async function specgate(line: string, { env = {}, ...more }: Surroundings = {}): Promise<Said> {
  const said = { code: 0, out: "", err: "" };
  const world: World = {
    env: { SPECGATE_URL: gate.url, ...env },
    cwd: home,
    stdout: (text) => {
      said.out += text;
    },
    stderr: (text) => {
      said.err += text;
    },
    stdin: async () => "",
    isTerminal: false,
    osUser: "tester",
    homeDir: home,
    host: { pid: process.pid, uid: process.getuid?.() ?? 0, platform: process.platform, arch: process.arch },
    version: "1.2.3",
    fetchesMax: 256,
    residentBytes: () => 0,
    openBrowser: () => false,
    sleep: (ms) => (ms >= 300_000 ? new Promise(() => undefined) : Promise.resolve()),
    onSignal: () => () => undefined,
    ...more,
  };
  said.code = await run(line.split(" "), world);
  for (const secret of gate.secrets) expect(said.out + said.err).not.toContain(secret);
  return said;
}

/** A person's browser: where the gateway sends it back to, and what the terminal shows there. */
function browser(goBack: (url: string) => string | Promise<string> = gate.allow) {
  const pages: Promise<Response>[] = [];
  const openBrowser = (url: string): boolean => {
    pages.push(Promise.resolve(goBack(url)).then((back) => fetch(back)));
    return true;
  };
  return { openBrowser, page: async () => (await pages[0]) ?? new Response() };
}

const changed = (address: string, query: Record<string, string>): string => {
  const url = new URL(address);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url.href;
};

describe("login in a browser", () => {
  test("signs a person in, tells the window so, and keeps the sign-in for them alone", async () => {
    const { openBrowser, page } = browser();
    const said = await specgate("login", { openBrowser });
    expect(said).toEqual({ code: 0, out: "", err: expect.stringContaining(`${gate.url}/oauth/authorize?`) });
    expect(said.err).toContain(`Signed in to ${gate.url}, with control:read usage:read.`);
    const shown = await page();
    expect([shown.status, await shown.text()]).toEqual([200, expect.stringContaining("You are signed in")]);
    expect(shown.headers.get("content-security-policy")).toStartWith("default-src 'none'");
    expect([modeOf(file()), modeOf(dirname(file()))]).toEqual(["600", "700"]);
    expect(readdirSync(dirname(file())).sort()).toEqual(["credentials.json", "credentials.lock"]);
    expect(kept()[gate.url]).toMatchObject({
      client_id: "specgate-desktop",
      scope: "control:read usage:read",
    });
    const who = await specgate("whoami");
    expect([who.code, who.err]).toEqual([0, ""]);
    expect(who.out).toContain("ada@example.com");
  });

  test("asks for the scopes that were named, and keeps below XDG_CONFIG_HOME when that is a full path", async () => {
    let asked = "";
    const { openBrowser } = browser((url) => {
      asked = new URL(url).searchParams.get("scope") ?? "";
      return gate.allow(url);
    });
    const env = { XDG_CONFIG_HOME: join(home, "elsewhere") };
    expect((await specgate("login --scope usage:read", { openBrowser, env })).code).toBe(0);
    expect(asked).toBe("usage:read");
    expect(readdirSync(join(home, "elsewhere/specgate"))).toContain("credentials.json");
    expect((await specgate("whoami", { env })).code).toBe(0);
    expect((await specgate("whoami", { env: { XDG_CONFIG_HOME: "elsewhere" } })).code).toBe(1);
  });

  test("other pages of this machine that call the listener neither end the wait nor get anywhere", async () => {
    const statuses: number[] = [];
    const { openBrowser } = browser(async (url) => {
      const back = await gate.allow(url);
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
    const without = (address: string, name: string): string => {
      const url = new URL(address);
      url.searchParams.delete(name);
      return url.href;
    };
    const answers: [(url: string) => Promise<string>, string][] = [
      [async (url) => changed(await gate.allow(url), { iss: "http://127.0.0.1:1" }), "another issuer"],
      [async (url) => without(await gate.allow(url), "iss"), "another issuer"],
      [async (url) => without(await gate.allow(url), "code"), "without a code"],
      [gate.deny, "denied in the browser"],
    ];
    for (const [goBack, words] of answers) {
      const { openBrowser, page } = browser(goBack);
      const said = await specgate("login", { openBrowser });
      expect([said.code, said.out]).toEqual([1, ""]);
      expect(said.err).toContain(words);
      expect(await (await page()).text()).toContain("You are not signed in");
      expect(() => kept()).toThrow();
    }
  });

  test("a code that the gateway refuses keeps nothing, and the window says so", async () => {
    const { openBrowser, page } = browser(async (url) =>
      changed(await gate.allow(url), { code: "spent already" }),
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
    expect(said.err).toContain(`\n  ${gate.url}/oauth/authorize?response_type=code`);
    expect(said.err).toContain("within 5 minutes");
  });
});

describe("login by a code", () => {
  test("waits as it is told, longer when told to slow down or when the gateway is in trouble", async () => {
    gate.device.push("authorization_pending", "slow_down", "503", "granted");
    const slept: number[] = [];
    const said = await specgate("login --device", { sleep: async (ms) => void slept.push(ms) });
    expect([said.code, said.out]).toEqual([0, ""]);
    expect(slept).toEqual([5_000, 5_000, 10_000, 15_000]);
    expect(said.err).toContain(`${gate.url}/device\n`);
    expect(said.err).toContain("the code ABCD-2345");
    expect(said.err).toContain(`${gate.url}/device?user_code=ABCD-2345`);
    expect(modeOf(file())).toBe("600");
  });

  test("a denied code and an expired one keep nothing, also when only this side notices", async () => {
    for (const [answers, words] of [
      [["authorization_pending", "access_denied"], "denied in the browser"],
      [["expired_token"], "expired"],
      [Array.from({ length: 200 }, () => "authorization_pending"), "expired"],
    ] as const) {
      gate.device.splice(0, gate.device.length, ...answers);
      const said = await specgate("login --device");
      expect([said.code, said.err]).toEqual([1, expect.stringContaining(words)]);
      expect(() => kept()).toThrow();
    }
  });

  test("people are not sent elsewhere to enter it", async () => {
    gate.verificationUri = "https://evil.example/device";
    const said = await specgate("login --device");
    expect([said.code, said.err]).toEqual([1, expect.stringContaining("elsewhere")]);
    expect(said.err).not.toContain("ABCD");
  });
});

describe("the gateway", () => {
  test("is taken for itself alone: another issuer and endpoints elsewhere are refused", async () => {
    for (const [metadata, words] of [
      [{ issuer: "https://gate.example.com" }, "--url https://gate.example.com"],
      [{ issuer: `${gate.url}/` }, "says that it is"],
      [{ token_endpoint: "http://127.0.0.1:1/oauth/token" }, "token_endpoint elsewhere"],
      [{ token_endpoint: undefined }, "does not answer as a SpecGate gateway"],
    ] as const) {
      gate.metadata = metadata;
      const said = await specgate("login", browser());
      expect([said.code, said.err]).toEqual([1, expect.stringContaining(words)]);
    }
  });

  test("is spelled on loopback in any way, and its sign-in is found again by each", async () => {
    const alias = gate.url.replace("127.0.0.1", "localhost");
    expect((await specgate(`login --url ${alias}/`, browser())).code).toBe(0);
    expect(Object.keys(kept())).toEqual([gate.url]);
    for (const url of [alias, gate.url]) expect((await specgate(`whoami --url ${url}`)).code).toBe(0);
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

  test("that is not there is named, and exit 1", async () => {
    keep();
    gate.close();
    for (const line of ["login", "login --device", "whoami", "whoami --token abc"]) {
      const said = await specgate(line);
      expect([said.code, said.out]).toEqual([1, ""]);
      expect(said.err).toContain(`${gate.url} cannot be reached`);
    }
  });

  test("runs beside the command line's variables without a word", async () => {
    const env = { SPECGATE_TOKEN: "abc", SPECGATE_URL: "not even a URL" };
    expect(await specgate("config check", { env })).toMatchObject({ code: 0 });
    expect((await specgate("config check", { env })).err).not.toContain("SPECGATE_");
    expect((await specgate("config check", { env: { SPECGATE_TOKE: "abc" } })).code).toBe(2);
  });
});

describe("a kept sign-in", () => {
  test("is refreshed once when two commands need it at once", async () => {
    keep({ expires_at: past() });
    const before = kept()[gate.url]?.refresh_token;
    const said = await Promise.all([specgate("whoami"), specgate("whoami"), specgate("whoami")]);
    expect(said.map(({ code, err }) => [code, err])).toEqual(said.map(() => [0, ""]));
    expect(gate.refreshes).toEqual([before ?? ""]);
    expect(kept()[gate.url]?.refresh_token).not.toBe(before ?? "");
    expect(modeOf(file())).toBe("600");
  });

  test("survives an answer that was lost on its way", async () => {
    keep({ expires_at: past() });
    gate.losesNext = true;
    expect((await specgate("whoami")).code).toBe(0);
    expect(gate.refreshes).toHaveLength(2);
    expect(new Set(gate.refreshes).size).toBe(1);
  });

  test("that the gateway ended says how to begin again", async () => {
    keep({ expires_at: past(), refresh_token: "revoked" });
    const said = await specgate("whoami");
    expect([said.code, said.err]).toEqual([
      1,
      `specgate: Your sign-in has ended; run specgate login --url ${gate.url}\n`,
    ]);
    expect((await specgate("whoami")).err).toContain("You are not signed in");
    keep({ access_token: "revoked" });
    expect((await specgate("whoami")).err).toContain("run specgate login (request req_1)");
  });

  test("is tightened with a warning when others could read it", async () => {
    keep();
    chmodSync(file(), 0o644);
    const said = await specgate("whoami");
    expect([said.code, said.err]).toEqual([0, expect.stringContaining("warning: ")]);
    expect([modeOf(file()), (await specgate("whoami")).err]).toEqual(["600", ""]);
  });

  test("in a file of somebody else, or in one that cannot be understood, is left as it is", async () => {
    keep();
    const before = readFileSync(file(), "utf8");
    const stranger = { pid: 1, uid: 4_242, platform: "linux", arch: "x64" };
    const foreign = await specgate("login", { ...browser(), host: stranger });
    expect([foreign.code, foreign.err]).toEqual([1, expect.stringContaining("belongs to another user")]);
    expect(readFileSync(file(), "utf8")).toBe(before);
    for (const text of ["{", "", `{"version":2,"gateways":{}}`, `{"version":1,"gateways":{"x":{}}}`]) {
      writeFileSync(file(), text);
      for (const line of ["login", "logout", "whoami"]) {
        const said = await specgate(line, browser());
        expect([said.code, said.err]).toEqual([1, expect.stringContaining("Move it away")]);
      }
      expect(readFileSync(file(), "utf8")).toBe(text);
    }
  });

  test("keeps what is beside it: other gateways, and fields of a later version", async () => {
    const other = "https://gate.example.com";
    keep({ nickname: "work" } as Partial<Credential>, other);
    expect((await specgate("login", browser())).code).toBe(0);
    expect(Object.keys(kept()).sort()).toEqual([gate.url, other].sort());
    expect(kept()[other]).toMatchObject({ nickname: "work" });
    await specgate("logout");
    expect(Object.keys(kept())).toEqual([other]);
    expect((await specgate("whoami")).err).toContain(`you are signed in to ${other}: name it with --url`);
  });
});

describe("logout", () => {
  test("revokes the sign-in and forgets it; again is no error", async () => {
    keep();
    const token = kept()[gate.url]?.refresh_token;
    expect(await specgate("logout")).toEqual({ code: 0, out: "", err: `Signed out of ${gate.url}.\n` });
    expect(gate.revoked).toEqual([token ?? ""]);
    expect(kept()).toEqual({});
    expect(await specgate("logout")).toEqual({
      code: 0,
      out: "",
      err: `You were not signed in to ${gate.url}.\n`,
    });
    expect((await specgate("whoami")).code).toBe(1);
  });

  test("forgets it also when the gateway cannot be reached, and says so", async () => {
    keep();
    gate.close();
    const said = await specgate("logout");
    expect([said.code, said.err]).toEqual([0, expect.stringContaining("the gateway did not revoke it")]);
    expect(kept()).toEqual({});
  });
});

describe("whoami", () => {
  test("prints what the API answers with --json, and the projects in words without", async () => {
    keep();
    expect(JSON.parse((await specgate("whoami --json")).out)).toEqual(me);
    const { out } = await specgate("whoami");
    expect(out).toMatch(/^id +usr_1$/m);
    expect(out).toMatch(/^scopes +control:read usage:read$/m);
    expect(out).toMatch(/^projects +prj_1 "Billing rewrite" as owner$/m);
    expect(out).not.toContain("key_id");
  });

  test("without any credential says how to get one", async () => {
    const said = await specgate("whoami");
    expect([said.code, said.out]).toEqual([1, ""]);
    expect(said.err).toContain("run specgate login");
    expect(() => statSync(join(home, ".config"))).toThrow();
  });

  test("takes the token that it is given before the one in the environment, and that before the sign-in", async () => {
    const { access_token: good } = gate.issue();
    expect((await specgate(`whoami --token ${good}`, { env: { SPECGATE_TOKEN: "bad" } })).code).toBe(0);
    expect((await specgate("whoami", { env: { SPECGATE_TOKEN: good } })).code).toBe(0);
    writeFileSync(join(home, "token"), `${good}\n`);
    expect((await specgate("whoami", { env: { SPECGATE_TOKEN_FILE: "token" } })).code).toBe(0);
    keep();
    const said = await specgate("whoami", { env: { SPECGATE_TOKEN: "bad" } });
    expect([said.code, said.err]).toEqual([
      1,
      "specgate: No valid credential: It is not good. (request req_1)\n",
    ]);
    expect((await specgate("whoami --token ")).code).toBe(2);
  });

  test("follows no redirect and believes no page", async () => {
    keep();
    for (const answer of [Response.redirect("https://evil.example/", 307), new Response("<html>")]) {
      gate.meAnswer = answer;
      expect((await specgate("whoami")).code).toBe(1);
    }
  });
});

const me = {
  principal: {
    ...{ id: "usr_1", kind: "user", role: "user", email: "ada@example.com", client_id: "specgate-desktop" },
    ...{ key_id: null, project_id: null, session_id: null, expires_at: "2026-01-31T08:00:00.000Z" },
  },
  scopes: ["control:read", "usage:read"],
  memberships: [{ project_id: "prj_1", name: "Billing rewrite", role: "owner" }],
  limits: { requests_per_minute: { control: 1_200 } },
};

/** What the tests need of a gateway: a person at its pages, and a look at what it was asked. */
type Gate = {
  readonly url: string;
  /** What a person's answer on the consent page sends their browser back to. */
  allow(authorizationUrl: string): Promise<string>;
  deny(authorizationUrl: string): Promise<string>;
  /** A sign-in that was made some time ago. */
  issue(): Credential;
  /** What the device's polls get, in turn: `granted`, an error's code, or a status. */
  readonly device: string[];
  readonly refreshes: string[];
  readonly revoked: string[];
  /** What no command may print. */
  readonly secrets: string[];
  verificationUri: string;
  /** Instead of what the gateway says of itself. */
  metadata: Record<string, unknown>;
  /** The next refresh is done, but its answer is lost. */
  losesNext: boolean;
  meAnswer: Response | null;
  close(): void;
};

type Pair = { access_token: string; refresh_token: string };

/** Small, but strict in what a client has to get right. */
function startGate(): Gate {
  const codes = new Map<string, { challenge: string; redirectUri: string }>();
  const live = new Map<string, Pair | null>();
  const accessTokens = new Set<string>();

  const random = (): string => {
    const text = crypto.randomUUID();
    gate.secrets.push(text);
    return text;
  };
  const pair = (): Pair => {
    const made = { access_token: random(), refresh_token: random() };
    live.set(made.refresh_token, null);
    accessTokens.add(made.access_token);
    return made;
  };
  const tokens = (made: Pair): Response =>
    Response.json({ ...made, token_type: "Bearer", expires_in: 900, scope: "control:read usage:read" });
  const refuse = (error: string, why = "No."): Response =>
    Response.json({ error, error_description: why }, { status: 400 });
  const form = async (request: Request, handle: (field: (name: string) => string) => Response) => {
    const fields = new URLSearchParams(await request.text());
    if (fields.get("client_id") !== "specgate-desktop") return refuse("invalid_client");
    if (fields.has("client_secret") || fields.has("resource")) return refuse("invalid_request");
    return handle((name) => fields.get(name) ?? "");
  };

  const grants: Record<string, (field: (name: string) => string) => Response> = {
    authorization_code(field) {
      const asked = codes.get(field("code"));
      codes.delete(field("code"));
      const challenge = new Bun.CryptoHasher("sha256").update(field("code_verifier")).digest("base64url");
      const fits = asked?.challenge === challenge && asked.redirectUri === field("redirect_uri");
      return fits && field("code_verifier").length >= 43 ? tokens(pair()) : refuse("invalid_grant");
    },
    refresh_token(field) {
      const parent = field("refresh_token");
      gate.refreshes.push(parent);
      const successor = live.get(parent);
      if (successor === undefined) return refuse("invalid_grant");
      const made = successor ?? pair();
      live.set(parent, made);
      if (!gate.losesNext) return tokens(made);
      gate.losesNext = false;
      return new Response("the proxy fell over", { status: 502 });
    },
    "urn:ietf:params:oauth:grant-type:device_code"(field) {
      const next = gate.device.shift() ?? "expired_token";
      if (field("device_code") !== "device-code") return refuse("invalid_grant");
      if (/^\d+$/.test(next)) return new Response("", { status: Number(next) });
      return next === "granted" ? tokens(pair()) : refuse(next);
    },
  };

  const answerMe = (request: Request): Response => {
    if (gate.meAnswer !== null) return gate.meAnswer;
    const token = request.headers.get("authorization")?.replace(/^Bearer /, "") ?? "";
    if (accessTokens.has(token)) return Response.json(me);
    const problem = { title: "No valid credential", code: "invalid_token", detail: "It is not good." };
    return Response.json(
      { ...problem, request_id: "req_1" },
      { status: 401, headers: { "content-type": "application/problem+json" } },
    );
  };

  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    routes: {
      "/.well-known/oauth-authorization-server": () => {
        const at = (name: string) => `${gate.url}/oauth/${name}`;
        const endpoints = ["token", "revocation", "authorization", "device_authorization"];
        const paths: Record<string, string> = { authorization: "authorize", revocation: "revoke" };
        const named = endpoints.map((name) => [`${name}_endpoint`, at(paths[name] ?? name)]);
        return Response.json({ issuer: gate.url, ...Object.fromEntries(named), ...gate.metadata });
      },
      "/oauth/token": {
        POST: (request) =>
          form(request, (field) => grants[field("grant_type")]?.(field) ?? refuse("unsupported_grant_type")),
      },
      "/oauth/device_authorization": {
        POST: (request) =>
          form(request, () =>
            Response.json({
              device_code: "device-code",
              user_code: "ABCD-2345",
              verification_uri: gate.verificationUri,
              verification_uri_complete: `${gate.verificationUri}?user_code=ABCD-2345`,
              expires_in: 600,
            }),
          ),
      },
      "/oauth/revoke": {
        POST: (request) =>
          form(request, (field) => {
            gate.revoked.push(field("token"));
            live.delete(field("token"));
            return Response.json({});
          }),
      },
      "/api/v1/me": answerMe,
    },
  });

  const backTo = (authorizationUrl: string, answer: () => Record<string, string>): string => {
    const query = new URL(authorizationUrl).searchParams;
    const asked = Object.fromEntries(query);
    // A copy: the runner writes its matchers into what it compares.
    expect({ ...asked }).toMatchObject({
      response_type: "code",
      client_id: "specgate-desktop",
      code_challenge_method: "S256",
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      state: expect.stringMatching(/^[\w-]{43}$/),
      redirect_uri: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/callback$/),
    });
    expect(query.has("resource")).toBe(false);
    return changed(asked.redirect_uri ?? "", { ...answer(), state: asked.state ?? "", iss: gate.url });
  };

  const gate: Gate = {
    url: `http://127.0.0.1:${server.port}`,
    allow: async (url) =>
      backTo(url, () => {
        const { code_challenge: challenge = "", redirect_uri: redirectUri = "" } = Object.fromEntries(
          new URL(url).searchParams,
        );
        const code = random();
        codes.set(code, { challenge, redirectUri });
        return { code };
      }),
    deny: async (url) => backTo(url, () => ({ error: "access_denied" })),
    issue: () => ({
      ...pair(),
      expires_at: new Date(Date.now() + 900_000).toISOString(),
      scope: "control:read usage:read",
      client_id: "specgate-desktop",
      signed_in_at: new Date().toISOString(),
    }),
    device: [],
    refreshes: [],
    revoked: [],
    secrets: [],
    verificationUri: `http://127.0.0.1:${server.port}/device`,
    metadata: {},
    losesNext: false,
    meAnswer: null,
    close: () => void server.stop(true),
  };
  return gate;
}
