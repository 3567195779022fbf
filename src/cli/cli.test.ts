import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "../db/connection.ts";
import { embeddedEndpoints } from "../db/embedded.ts";
import { createAccessTokens } from "../features/tokens/access-token.ts";
import { signingSecrets } from "../features/tokens/secrets.ts";
import { systemClock } from "../platform/clock.ts";
import { signingSecretsOf } from "../platform/config-signing.ts";
import { openDataDir } from "../platform/data-dir.ts";
import { findHolder } from "../platform/data-dir-lock.ts";
import { host } from "../testing/cluster.ts";
import { run } from "./cli.ts";

const room = mkdtempSync(join(tmpdir(), "specgate-cli-"));
chmodSync(room, 0o711);
const home = join(room, "home");
mkdirSync(home);
afterAll(() => rmSync(room, { recursive: true, force: true }));

type Said = { code: number; out: string; err: string };
type Surroundings = { env?: Record<string, string>; stdin?: string; cwd?: string };

/** One command, as a shell would run it, in this process. */
async function specgate(
  line: string | string[],
  { env = {}, stdin = "", cwd = home }: Surroundings = {},
): Promise<Said> {
  let out = "";
  let err = "";
  const code = await run(typeof line === "string" ? line.split(" ") : line, {
    env,
    cwd,
    stdout: (text) => {
      out += text;
    },
    stderr: (text) => {
      err += text;
    },
    stdin: async () => stdin,
    stdinBytes: () => new Blob([stdin]).stream(),
    isTerminal: false,
    osUser: "tester",
    homeDir: home,
    openBrowser: () => false,
    sleep: (ms) => Bun.sleep(ms),
    host,
    version: "1.2.3",
    fetchesMax: 256,
    residentBytes: () => 0,
    onSignal: () => () => undefined,
  });
  return { code, out, err };
}

async function json<T = Record<string, unknown>>(
  line: string | string[],
  more: Surroundings = {},
): Promise<T> {
  const said = await specgate(typeof line === "string" ? `${line} --json` : [...line, "--json"], more);
  expect({ line, code: said.code, err: said.code === 0 ? "" : said.err }).toEqual({ line, code: 0, err: "" });
  return JSON.parse(said.out) as T;
}

describe("misuse", () => {
  test("a mistyped command or option is answered with the nearest one, and exit 2", async () => {
    for (const [line, nearest] of [
      ["clent list", "client"],
      ["client crate", "create"],
      ["client list --jsn", "--json"],
      ["--prot 9000", "--port"],
    ] as const) {
      const said = await specgate(line);
      expect([line, said.code, said.out]).toEqual([line, 2, ""]);
      expect(said.err).toContain(`(Did you mean ${nearest}?)`);
    }
  });

  test("what is missing or wrong is named, and exit 2", async () => {
    for (const [line, word] of [
      ["client create --scope llm:chat", "--kind"],
      ["client create --kind robot --scope llm:chat", "runner, service, desktop"],
      ["client revoke", "cli_…"],
      ["project create", "NAME"],
      ["user create", "--email"],
      ["user password --email ada@example.com", "--password-stdin"],
      ["key create --scope llm:chat", "--user EMAIL or --client ID"],
      ["key create --scope llm:chat --user a@b.example --client cli_1", "--user EMAIL or --client ID"],
      ["key create --scope llm:chat --user a@b.example --expires-days soon", "whole number"],
      ["token issue", "--client"],
      ["usage --by modle", 'did you mean "model"'],
      ["usage --from yesterday", "2026-01-31"],
      ["client", "Usage: specgate client"],
    ] as const) {
      const said = await specgate(line);
      expect([line, said.code, said.out]).toEqual([line, 2, ""]);
      expect(said.err).toContain(word);
    }
  });

  test("every mistake of the configuration stops every command, and exit 2", async () => {
    const env = { SPECGATE_PORT: "x", SPECGATE_JWT_SECRET: "canary" };
    for (const line of ["client list", "migrate", "usage", "serve", "config check"]) {
      const said = await specgate(line, { env });
      expect(said.code).toBe(2);
      expect(said.err.trim().split("\n")).toHaveLength(2);
      expect(said.err).not.toContain("canary");
    }
  });
});

test("help and version are data, and exit 0", async () => {
  expect(await specgate("version")).toEqual({ code: 0, out: "1.2.3\n", err: "" });
  expect(await json("version")).toEqual({ version: "1.2.3" });
  for (const line of ["help", "--help", "client create --help"]) {
    const said = await specgate(line);
    expect([said.code, said.err]).toEqual([0, ""]);
    expect(said.out).toContain("Example");
  }
});

test("the configuration is printed without its secrets, and checked", async () => {
  const env = { OPENAI_API_KEY: "canary", SPECGATE_PORT: "9123", SSL_CERT_FILE: "/etc/ssl/certs.pem" };
  const printed = await specgate("config print", { env });
  expect(printed.out).toContain("port: 9123");
  expect(printed.out).not.toContain("/etc/ssl");
  expect(JSON.stringify(await json("config print", { env })) + printed.out).not.toContain("canary");
  expect((await specgate("config print --defaults")).out).toContain("SPECGATE_PORT=8080");
  writeFileSync(join(room, "broken.yaml"), "modles: {}\n");
  expect((await specgate("config check ../broken.yaml")).err).toContain('did you mean "models"');
  expect((await specgate("config check")).code).toBe(0);
});

test("a command finds no data dir, names the path and makes nothing", async () => {
  const nowhere = join(room, "nowhere");
  mkdirSync(nowhere);
  for (const line of ["client list", "usage", "audit verify", "migrate --check", "doctor"]) {
    const said = await specgate(line, { cwd: nowhere });
    expect([line, said.code]).toEqual([line, 1]);
    expect(said.out + said.err).toContain(join(nowhere, "specgate-data"));
  }
  expect(readdirSync(nowhere)).toEqual([]);
});

test("a gateway that cannot listen makes no data dir", async () => {
  const other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const fresh = join(room, "fresh");
  const line = `serve --data-dir ${fresh} --port ${other.port}`;
  const said = await specgate(line);
  expect([said.code, said.err]).toEqual([
    1,
    `specgate: 127.0.0.1:${other.port} is already in use. Choose another with --port.\n`,
  ]);
  expect(existsSync(fresh)).toBe(false);
  other.stop(true);
});

describe("with no gateway", () => {
  beforeAll(async () => {
    expect((await specgate("migrate")).code).toBe(0);
  }, 60_000);

  test("migrate makes the data dir, and check then finds nothing to do", async () => {
    expect(existsSync(join(home, "specgate-data"))).toBe(true);
    expect(await specgate("migrate --check")).toEqual({
      code: 0,
      out: "",
      err: "The schema is up to date.\n",
    });
  });

  test("a secret is printed once, in the shape that scripts rely on", async () => {
    const project = await json<{ id: string }>(["project", "create", "Billing rewrite"]);
    expect<unknown>(project).toEqual({
      id: expect.stringMatching(/^prj_[0-9a-f]{32}$/),
      name: "Billing rewrite",
    });
    const client = await json<{ client_id: string; client_secret: string }>([
      ...["client", "create", "--name", "nightly", "--kind", "runner", "--project", project.id],
      ...["--scope", "llm:chat usage:read"],
    ]);
    expect<unknown>(client).toEqual({
      client_id: expect.stringMatching(/^cli_[0-9a-f]{32}$/),
      client_secret: expect.stringMatching(/^sgs_/),
      kind: "runner",
      scope: "llm:chat usage:read",
      project_id: project.id,
    });
    const key = await json<{ id: string; key: string }>(
      `key create --client ${client.client_id} --scope llm:chat --expires-days 7`,
    );
    expect<unknown>(key).toEqual({
      id: expect.stringMatching(/^key_[0-9a-f]{32}$/),
      key: expect.stringMatching(/^sgk_/),
      scope: "llm:chat",
      expires_at: expect.stringMatching(/Z$/),
    });
    const rotated = await json<{ client_secret: string }>(`client rotate ${client.client_id}`);
    expect(rotated.client_secret).not.toBe(client.client_secret);
    const lists = await Promise.all([specgate("client list"), json("key list")]);
    for (const secret of [client.client_secret, rotated.client_secret, key.key])
      expect(JSON.stringify(lists)).not.toContain(secret);
    expect((await json<{ revoked_at: string }>(`key revoke ${key.id}`)).revoked_at).not.toBeNull();
    expect(
      (await json<{ revoked_at: string }>(`client revoke ${client.client_id}`)).revoked_at,
    ).not.toBeNull();
  }, 60_000);

  test("a mistake in the file stops no command that needs nothing of it", async () => {
    const cwd = join(home, "broken");
    mkdirSync(cwd);
    writeFileSync(join(cwd, "specgate.yaml"), "modles: {}\n");
    const dataDir = join(home, "specgate-data");
    for (const line of ["client list", "usage", "audit verify"]) {
      const said = await specgate(`${line} --data-dir ${dataDir}`, { cwd });
      expect([line, said.code]).toEqual([line, 0]);
      expect(said.err).toContain('warning: specgate.yaml:1: modles: no such key; did you mean "models"?');
    }
    const doctor = await specgate(`doctor --data-dir ${dataDir}`, { cwd });
    expect(doctor.code).toBe(1);
    expect(doctor.out).toMatch(/FAIL +configuration .*modles.*ok +database/s);
    for (const line of ["serve", "migrate", "config check"])
      expect([line, (await specgate(line, { cwd })).code]).toEqual([line, 2]);
  }, 60_000);

  test("a desktop client has no secret", async () => {
    const line = "client create --kind desktop --redirect-uri http://127.0.0.1/cb --scope llm:chat";
    expect(Object.keys(await json(line))).not.toContain("client_secret");
    expect((await specgate(line)).err).toBe("");
  }, 60_000);

  test("people are added, listed, given a password by standard input, and disabled", async () => {
    const made = await json("user create --email ada@example.com --role admin");
    expect<unknown>(made).toEqual({
      id: expect.stringMatching(/^usr_/),
      email: "ada@example.com",
      role: "admin",
    });
    expect((await specgate("user create ada@example.com")).code).toBe(1);
    const line = "user password --email ada@example.com --password-stdin";
    expect((await specgate(line, { stdin: "too short\n" })).code).toBe(2);
    expect((await specgate(line, { stdin: "" })).code).toBe(2);
    expect((await specgate(line, { stdin: "correct horse battery staple\n" })).code).toBe(0);
    expect((await specgate("user disable ada@example.com")).code).toBe(0);
    const { data } = await json<{ data: { disabled_at: string | null }[] }>("user list");
    expect(data[0]?.disabled_at).not.toBeNull();
    expect((await specgate("user disable nobody@example.com")).code).toBe(1);
  }, 60_000);

  test("a project's owner gets keys for it, and nobody else does", async () => {
    const { id: user } = await json("user create --email owner@example.com");
    await json("user create --email other@example.com");
    const { id } = await json(["project", "create", "Owned", "--owner", "owner@example.com"]);
    await json(`key create --user owner@example.com --project ${id} --scope llm:chat`);
    const other = await specgate(`key create --user other@example.com --project ${id} --scope llm:chat`);
    expect([other.code, other.err]).toEqual([2, expect.stringContaining("has no part in")]);
    expect((await specgate(["project", "create", "Lost", "--owner", "nobody@example.com"])).code).toBe(1);
    expect(user).toMatch(/^usr_/);
  });

  test("scopes that do not fit are a misuse that says why", async () => {
    const said = await specgate(["client", "create", "--kind", "runner", "--scope", "llm:chat admin"]);
    expect(said.code).toBe(2);
    expect(said.err).toContain("for people only");
  });

  test("a token issued here is one that the gateway takes", async () => {
    const { client_id } = await json<{ client_id: string }>("client create --kind service --scope llm:chat");
    const issued = await json<{ access_token: string }>(
      `token issue --client ${client_id} --ttl-seconds 120`,
    );
    expect<unknown>(issued).toEqual({
      access_token: expect.any(String),
      token_type: "Bearer",
      expires_in: 120,
      scope: "llm:chat",
    });
    const dir = openDataDir(join(home, "specgate-data"), { create: false });
    const secrets = signingSecrets(signingSecretsOf({ jwtSecrets: null }, dir));
    const tokens = createAccessTokens({
      secrets,
      clock: systemClock(),
      publicUrl: () => "http://127.0.0.1:8080",
    });
    expect(await tokens.verify(issued.access_token)).toMatchObject({ client_id, scope: "llm:chat" });

    const plain = await specgate(`token issue --client ${client_id}`);
    expect(plain.out).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    expect((await specgate(`token issue --client ${client_id} --scope usage:read`)).code).toBe(2);
    const env = { SPECGATE_JWT_SECRET: "a secret that this database has never seen" };
    const stranger = await specgate(`token issue --client ${client_id}`, { env });
    expect([stranger.code, stranger.out]).toEqual([2, ""]);
    expect(stranger.err).toContain("SPECGATE_JWT_SECRET");
  }, 60_000);

  test("what was done is in the audit log under the system's user, sealed", async () => {
    const found = await json<{ rows: number; seals: number }>("audit verify");
    expect(found).toMatchObject({ outcome: "intact", unsealed: 0 });
    expect(found.rows).toBeGreaterThan(5);
  });

  test("nothing was spent, and the table says so in each form", async () => {
    expect(await json("usage --by model")).toMatchObject({
      data: [],
      totals: { requests: 0, cost_usd: "0.00" },
    });
    expect((await specgate("usage --by model")).out).toMatch(/^MODEL +REQUESTS/);
    expect((await specgate("usage --by model --csv")).out).toStartWith("model,requests,errors,cost_usd");
    expect((await specgate("usage --by tag,day --csv")).out).toStartWith("tag,day,requests,errors,cost_usd");
  });

  test("doctor says one line for each thing; a provider out of reach is a warning, a broken setting a failure", async () => {
    const well = await specgate("doctor");
    expect(well.code).toBe(0);
    for (const name of ["configuration", "database", "clock", "journal", "providers"])
      expect(well.out).toMatch(new RegExp(`^ok +${name} `, "m"));
    const env = { OPENAI_API_KEY: "canary", OPENAI_BASE_URL: "http://127.0.0.1:9/v1" };
    const cut = await json<{ checks: { status: string }[] }>("doctor", { env });
    expect(cut.checks.filter(({ status }) => status === "warning")).toHaveLength(1);
    expect(JSON.stringify(cut)).not.toContain("canary");
    expect((await specgate("doctor", { env: { SPECGATE_JOURNAL: "paper" } })).code).toBe(1);
  }, 60_000);

  test("every command says which database does not answer, and why", async () => {
    const env = { DATABASE_URL: "postgres://canary:canary@127.0.0.1:1/canary" };
    const words =
      "DATABASE_URL: 127.0.0.1:1 refuses connections (ECONNREFUSED); is PostgreSQL running there?";
    for (const line of ["serve --port 0", "client list", "migrate", "migrate --check", "doctor"]) {
      const said = await specgate(line, { env });
      expect([line, said.code, said.out + said.err]).toEqual([line, 1, expect.stringContaining(words)]);
      expect(said.out + said.err).not.toContain("canary");
    }
    const owner = { ...env, DATABASE_MIGRATE_URL: "postgres://127.0.0.1:2/x" };
    expect((await specgate("migrate", { env: owner })).err).toContain("DATABASE_MIGRATE_URL: 127.0.0.1:2 ");
  }, 60_000);

  test("every command leaves the data dir as it found it: free, with nothing running", async () => {
    const dir = openDataDir(join(home, "specgate-data"), { create: false });
    expect(findHolder(dir)).toBeNull();
    expect(Bun.spawnSync({ cmd: ["pgrep", "-f", join(home, "specgate-data")] }).stdout.toString()).toBe("");
  });
});

describe("beside a running gateway", () => {
  let gateway: Bun.Subprocess;
  let url = "";

  beforeAll(async () => {
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    const main = join(import.meta.dir, "../main.ts");
    const { PATH = "" } = process.env;
    gateway = Bun.spawn([process.execPath, main, "serve", "--port", String(port)], {
      cwd: home,
      env: { PATH, SPECGATE_LOG_LEVEL: "warn" },
      stdout: "inherit",
      stderr: "inherit",
    });
    const ready = () =>
      fetch(`${url}/readyz`).then(
        ({ status }) => status === 200,
        () => false,
      );
    while (!(await ready()) && gateway.exitCode === null) await Bun.sleep(50);
  }, 60_000);

  afterAll(async () => {
    gateway.kill("SIGTERM");
    await gateway.exited;
  });

  const me = (token: string) => fetch(`${url}/api/v1/me`, { headers: { authorization: `Bearer ${token}` } });

  test("a token is for the address that the gateway really has, and a revoked client stops at once", async () => {
    const { client_id } = await json<{ client_id: string }>("client create --kind runner --scope llm:chat");
    const token = (await specgate(`token issue --client ${client_id}`)).out.trim();
    expect((await me(token)).status).toBe(200);
    await json(`client revoke ${client_id}`);
    const revokedAt = performance.now();
    while ((await me(token)).status === 200 && performance.now() - revokedAt < 2_000) await Bun.sleep(5);
    expect(performance.now() - revokedAt).toBeLessThan(500);
  });

  test("a key works, its call is in the usage, and a revoked one stops", async () => {
    await json("user create --email olga@example.com");
    const made = await json<{ id: string; key: string }>(
      "key create --user olga@example.com --scope llm:chat",
    );
    const call = () =>
      fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${made.key}`, "content-type": "application/json" },
        body: JSON.stringify({ model: "demo/echo", messages: [{ role: "user", content: "hello" }] }),
      });
    expect((await call()).status).toBe(200);
    const usage = () => json<{ data: { model: string; requests: number }[] }>("usage --by model,key");
    const deadline = performance.now() + 5_000;
    let found = await usage();
    while (found.data.length === 0 && performance.now() < deadline) found = await usage();
    expect(found.data).toEqual([expect.objectContaining({ model: "echo", key: made.id, requests: 1 })]);
    await json(`key revoke ${made.id}`);
    await Bun.sleep(500);
    expect((await call()).status).toBe(401);
  }, 30_000);

  test("doctor and migrate --check look at the same database", async () => {
    expect((await specgate("doctor")).code).toBe(0);
    expect((await specgate("migrate --check")).code).toBe(0);
    expect((await specgate("migrate")).code).toBe(0);
  });

  test("an altered row of the audit log is named, and exit 1", async () => {
    const dir = openDataDir(join(home, "specgate-data"), { create: false });
    const owner = embeddedEndpoints(dir)?.owner;
    if (owner === undefined) throw new Error("the gateway has no embedded database");
    const options = { applicationName: "tests", prepare: false, connectionsMax: 1, statementTimeoutMs: null };
    const sql = connect(owner, options);
    await sql.unsafe(`alter table audit disable trigger all; update audit set actor = 'nobody' where id = 3`);
    await sql.end();
    const said = await specgate("audit verify");
    expect(said.code).toBe(1);
    expect(said.out).toStartWith("broken: audit 3:");
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}
