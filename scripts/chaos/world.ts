/**
 * A gateway of its own for one trial: the compiled binary in an empty directory over its embedded PostgreSQL, the scripted
 * provider in front of which it stands, a client that calls, and an administrator who sets budgets.
 */
import {
  chmodSync,
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { urlOf } from "../../src/db/connection.ts";
import { openDataDir } from "../../src/platform/data-dir.ts";
import { type Provider, startProvider } from "../../src/testing/provider.ts";
import { binary } from "../build.ts";
import { openTables, type Sql } from "../database.ts";
import { type Gateway, type Surroundings, serve } from "../gateway.ts";
import { Caller, type Client, createClient } from "../smoke/caller.ts";
import { Postgres } from "./postgres.ts";

const admin = { email: "ada@example.com", password: "a password of some length" };

/** Two providers of OpenAI's kind, one of Anthropic's, and one that refuses every connection. */
const usualYaml = `
providers:
  openai: { kind: openai, base_url: "ORIGIN/v1" }
  spare: { kind: openai, base_url: "ORIGIN/spare/v1" }
  claude: { kind: anthropic, base_url: "ORIGIN/claude" }
  gone: { kind: openai, base_url: "http://127.0.0.1:9/v1" }
models:
  fast:
    targets: [{ provider: openai, model: fast-a, weight: 3 }, { provider: spare, model: fast-b }]
    fallbacks: [{ provider: openai, model: fast-c }, { provider: claude, model: fast-d }]
    retries: 2
  orphan:
    targets: [{ provider: gone, model: nobody }]
    fallbacks: [{ provider: openai, model: orphan }, { provider: claude, model: orphan }]
    retries: 1
MODELS
prices:
  "openai/dear": { input: 0, output: 100 }
  "openai/*": { input: 1, cached_read: 0.1, cache_write: 1.25, output: 2 }
  "spare/*": { input: 1, cached_read: 0.1, cache_write: 1.25, output: 2 }
  "claude/*": { input: 1, cached_read: 0.1, cache_write: 1.25, output: 2 }
  "gone/*": { input: 1, cached_read: 0.1, cache_write: 1.25, output: 2 }
limits:
  llm: { requests_per_minute: 100000000, streams_per_token: 100000, streams_max: 2000 }
  control: { requests_per_minute: 100000000 }
`;

export class World {
  readonly provider: Provider = startProvider();
  readonly dir = mkdtempSync(join(tmpdir(), "specgate-chaos-"));
  readonly dataDir = join(this.dir, "specgate-data");
  readonly surroundings: Surroundings & { env: Record<string, string> };
  /** Where the gateway's is not its own. */
  postgres: Postgres | null = null;
  gateway!: Gateway;
  client!: Client;
  #cookie: string | null = null;
  readonly #others: Gateway[] = [];

  private constructor(models: string) {
    // PostgreSQL runs under another uid when this is root, and has to pass through.
    chmodSync(this.dir, 0o755);
    const origin = this.provider.url.replace("/v1", "");
    writeFileSync(
      join(this.dir, "specgate.yaml"),
      usualYaml.replaceAll("ORIGIN", origin).replace("MODELS", models),
    );
    writeFileSync(join(this.dir, "password"), admin.password, { mode: 0o600 });
    const env = {
      SPECGATE_ADMIN_EMAIL: admin.email,
      SPECGATE_ADMIN_PASSWORD_FILE: join(this.dir, "password"),
      SPECGATE_LOG_LEVEL: "warn",
    };
    // A build in the meantime must not change what is started again.
    const program = join(this.dir, "specgate");
    copyFileSync(binary, program, constants.COPYFILE_FICLONE);
    this.surroundings = { cwd: this.dir, env, program };
  }

  /** `models`: further ones, as lines of specgate.yaml. */
  static open(models = ""): Promise<World> {
    return new World(models).#begin();
  }

  /** Over a PostgreSQL that the gateway does not start. */
  static async elsewhere(): Promise<World> {
    const world = new World("");
    world.postgres = await Postgres.open(world.dir);
    Object.assign(world.surroundings.env, world.postgres.env);
    return world.#begin();
  }

  async #begin(): Promise<World> {
    this.gateway = await serve([], this.surroundings);
    this.client = await createClient(this.dataDir, this.surroundings);
    return this;
  }

  caller(gateway = this.gateway): Promise<Caller> {
    return Caller.open(gateway, this.client);
  }

  /** A whole client's credential of its own. */
  newClient(): Promise<Client> {
    return createClient(this.dataDir, this.surroundings);
  }

  async kill(): Promise<void> {
    await this.gateway.stop("SIGKILL");
  }

  async start(): Promise<void> {
    this.gateway = await serve([], this.surroundings, { port: this.gateway.port });
  }

  /** Another process over the same PostgreSQL, behind the same public URL. */
  async beside(): Promise<Gateway> {
    // Loaded here, because it embeds the packed PostgreSQL, which the build makes.
    const { embeddedEndpoints } = await import("../../src/db/embedded.ts");
    const endpoints = embeddedEndpoints(openDataDir(this.dataDir, { create: false }));
    if (endpoints === null) throw new Error(`no PostgreSQL runs in ${this.dataDir}`);
    const cwd = join(this.dir, `second-${this.#others.length}`);
    mkdirSync(cwd);
    writeFileSync(join(cwd, "specgate.yaml"), readFileSync(join(this.dir, "specgate.yaml")));
    const env = {
      SPECGATE_LOG_LEVEL: "warn",
      DATABASE_URL: urlOf(endpoints.gateway).reveal(),
      DATABASE_MIGRATE_URL: urlOf(endpoints.owner).reveal(),
      SPECGATE_JWT_SECRET: readFileSync(join(this.dataDir, "jwt-secret")).toString("base64url"),
      SPECGATE_PUBLIC_URL: this.gateway.url,
    };
    const second = await serve([], { ...this.surroundings, cwd, env });
    this.#others.push(second);
    return second;
  }

  /** The tables behind all routes, as their owner. */
  tables(): Promise<Sql> {
    return openTables(this.postgres?.dir.path ?? this.dataDir);
  }

  /** As the administrator; the body of a 2xx. */
  async ask<Body = Record<string, unknown>>(method: string, path: string, body?: object): Promise<Body> {
    this.#cookie ??= await this.#signIn();
    const response = await fetch(`${this.gateway.url}/api/v1${path}`, {
      method,
      headers: {
        "content-type": "application/json",
        cookie: this.#cookie,
        "sec-fetch-site": "same-origin",
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
    return (text === "" ? {} : JSON.parse(text)) as Body;
  }

  async close(): Promise<void> {
    for (const other of this.#others) await other.stop("SIGKILL");
    await this.gateway?.stop("SIGTERM");
    await this.postgres?.stop();
    this.provider.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** The configuration makes the administrator a moment after the gateway is ready. */
  async #signIn(): Promise<string> {
    for (const deadline = performance.now() + 20_000; ; await Bun.sleep(100)) {
      const response = await fetch(`${this.gateway.url}/api/v1/auth/login`, {
        method: "POST",
        headers: { "content-type": "application/json", "sec-fetch-site": "same-origin" },
        body: JSON.stringify(admin),
      });
      const cookie = response.headers.getSetCookie()[0]?.split(";", 1)[0];
      if (cookie !== undefined) return cookie;
      if (performance.now() > deadline)
        throw new Error(`nobody can sign in: ${response.status} ${await response.text()}`);
    }
  }
}
