/**
 * The gateway as a test meets it: the real parts, wired as in `serve`, on a port of its own, over a database of its own,
 * in front of a scripted provider. Actors are credentials with names.
 */
import { eq } from "drizzle-orm";
import { listen } from "../cli/serve.ts";
import type { Database } from "../db/database.ts";
import { requests } from "../db/schema.ts";
import { createRecord } from "../features/audit/audit.ts";
import { createPasswords } from "../features/identity/passwords.ts";
import { Users } from "../features/identity/users.ts";
import { Projects } from "../features/projects/projects.ts";
import { Clients } from "../features/tokens/clients.ts";
import { Keys } from "../features/tokens/keys.ts";
import { createRevocations } from "../features/tokens/revocations.ts";
import { systemClock } from "../platform/clock.ts";
import type { Config } from "../platform/config.ts";
import { loadConfig } from "../platform/config-load.ts";
import { bootId, type DataDir } from "../platform/data-dir.ts";
import { type Log, silentLog } from "../platform/log.ts";
import { type Parts, wire } from "../wiring.ts";
import { host, testDatabase, testDir } from "./cluster.ts";
import { localActor } from "./desk.ts";
import { type Provider, startProvider } from "./provider.ts";

export type Actor = {
  readonly id: string;
  /** An API key, sent as a bearer. */
  readonly bearer: string;
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** A chat completion; what is given is added to a small body. */
  chat(body: Record<string, unknown>, init?: RequestInit): Promise<Response>;
};

export type TestGateway = {
  readonly url: string;
  readonly parts: Parts;
  readonly provider: Provider;
  readonly database: Database;
  readonly dir: DataDir;
  readonly keys: Keys;
  readonly clients: Clients;
  readonly users: Users;
  /** A runner of the first project, and one of another. */
  readonly robo: Actor;
  readonly mallory: Actor;
  readonly nobody: Actor;
  as(bearer: string, id?: string): Actor;
  /** The request's row, once everything durable now has been merged. */
  row(response: Response | string): Promise<typeof requests.$inferSelect | undefined>;
  close(): Promise<void>;
};

export type GatewayOptions = {
  /** YAML of specgate.yaml; `PROVIDER` stands for the scripted provider's URL. */
  yaml?: string;
  journal?: "disk" | "database";
  log?: Log;
};

const usualYaml = `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-provider-secret" }
prices:
  "openai/*": { input: 1, cached_read: 0.1, output: 2 }
`;

export async function startGateway(options: GatewayOptions = {}): Promise<TestGateway> {
  const provider = startProvider();
  const dir = testDir();
  const { database } = await testDatabase();
  const config = await configOf(
    dir,
    (options.yaml ?? usualYaml).replaceAll("PROVIDER", provider.url),
    options.journal,
  );
  const log = options.log ?? silentLog;
  let url = "http://127.0.0.1:1";
  const parts = await wire({
    config,
    gateway: () => config.gateway,
    dir,
    database,
    boot: { ...dir.nextEpoch(), instance: dir.instance, bootId: bootId(host.platform) },
    addresses: () => ({ publicUrl: url, aliases: [] }),
    clock: systemClock(),
    log,
    version: "0.0.0-test",
    residentBytes: () => 0,
    fetchesMax: 256,
    warnings: () => [],
  });
  const server = listen(parts, log);
  url = `http://127.0.0.1:${server.port}`;
  const desk = deskOf(database);
  const as = (bearer: string, id = ""): Actor => actorOf(url, bearer, id);
  return {
    url,
    parts,
    provider,
    database,
    dir,
    ...desk,
    robo: await runnerOf(desk, as, "robo"),
    mallory: await runnerOf(desk, as, "mallory"),
    nobody: as(""),
    as,
    async row(response) {
      const id = typeof response === "string" ? response : (response.headers.get("x-request-id") ?? "");
      await parts.ledger.settled();
      const [row] = await database.db.select().from(requests).where(eq(requests.id, id));
      return row;
    },
    async close() {
      await parts.completions.drain(0);
      await server.stop(true);
      await parts.close();
      await database.close();
      provider.close();
    },
  };
}

async function configOf(dir: DataDir, yaml: string, journal = "disk"): Promise<Config> {
  const file = dir.file("specgate.yaml");
  await Bun.write(file, yaml);
  const env = { SPECGATE_DATA_DIR: dir.path, SPECGATE_PORT: "0", SPECGATE_JOURNAL: journal };
  const loaded = loadConfig({ env, cwd: dir.path, flags: { config: file }, terminal: false });
  if (!loaded.ok) throw new Error(loaded.mistakes.join("\n"));
  return loaded.config;
}

type Desk = { users: Users; projects: Projects; clients: Clients; keys: Keys };

function deskOf(database: Database): Desk {
  const record = createRecord(1);
  const revocations = createRevocations(database);
  return {
    users: new Users({ database, record, revocations, passwords: createPasswords() }),
    projects: new Projects({ database, record }),
    clients: new Clients({ database, record, revocations }),
    keys: new Keys({ database, record, revocations, clock: systemClock() }),
  };
}

async function runnerOf(desk: Desk, as: TestGateway["as"], name: string): Promise<Actor> {
  const project = await desk.projects.create(localActor, { name: `${name}'s project` });
  const scope = "llm:chat usage:read";
  const client = await desk.clients.create(localActor, {
    name,
    kind: "runner",
    projectId: project.id,
    redirectUris: [],
    scope,
  });
  const { key } = await desk.keys.create(localActor, { owner: { clientId: client.client_id }, scope });
  return as(key, client.client_id);
}

function actorOf(url: string, bearer: string, id: string): Actor {
  const send = (path: string, init: RequestInit = {}): Promise<Response> => {
    const headers = new Headers(init.headers);
    if (bearer !== "" && !headers.has("authorization")) headers.set("authorization", `Bearer ${bearer}`);
    return fetch(url + path, { ...init, headers, redirect: "manual" });
  };
  return {
    id,
    bearer,
    fetch: send,
    chat(body, init = {}) {
      const usual = { model: "openai/m", messages: [{ role: "user", content: "hello" }] };
      const headers = new Headers(init.headers);
      headers.set("content-type", "application/json");
      return send("/v1/chat/completions", {
        ...init,
        method: "POST",
        headers,
        body: JSON.stringify({ ...usual, ...body }),
      });
    },
  };
}
