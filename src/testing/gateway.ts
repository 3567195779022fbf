/**
 * The gateway as a test meets it: the real parts, wired as in `serve`, on a port of its own, over a database of its own,
 * in front of a scripted provider. Actors are credentials with names.
 */
import { eq } from "drizzle-orm";
import { listen } from "../cli/serve.ts";
import type { Endpoint } from "../db/connection.ts";
import type { Database } from "../db/database.ts";
import { claimEpoch } from "../db/instance.ts";
import { requests } from "../db/schema.ts";
import type { OpenLink } from "../features/upstreams/upstreams.ts";
import { systemClock } from "../platform/clock.ts";
import type { Config } from "../platform/config.ts";
import { loadConfig } from "../platform/config-load.ts";
import { bootId, type DataDir } from "../platform/data-dir.ts";
import { type Log, silentLog } from "../platform/log.ts";
import type { McpExtras } from "../platform/mcp-sources.ts";
import type { ProjectRole } from "../platform/scopes.ts";
import { type Parts, wire } from "../wiring.ts";
import type { Identity } from "../wiring-identity.ts";
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

export type Runner = Actor & { readonly projectId: string };
export type Person = Actor & { readonly email: string; readonly cookie: string };
export type People = Awaited<ReturnType<typeof peopleOf>>;

export type TestGateway = Identity & {
  readonly url: string;
  readonly parts: Parts;
  readonly provider: Provider;
  readonly database: Database;
  /** The schema's owner, for what the gateway's role may not do. */
  readonly owner: Endpoint;
  readonly dir: DataDir;
  /** A runner of the first project, and one of another. */
  readonly robo: Runner;
  readonly mallory: Runner;
  /** An administrator, the first project's owner, editor and viewer, and one who has no part in it. */
  people(): Promise<People>;
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
  /** Further environment variables, such as those of another store. */
  env?: Record<string, string>;
  log?: Log;
  /** What MCP clients are offered beside the gateway's own. */
  mcpExtras?: McpExtras;
  /** The ways to upstream MCP servers, where they are scripted. */
  openLink?: OpenLink;
  /** As an earlier run left it. */
  dir?: DataDir;
  /** Another instance over the same database; both need the same SPECGATE_JWT_SECRET. Close it first. */
  beside?: Pick<TestGateway, "database" | "owner">;
};

const usualYaml = `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-provider-secret" }
prices:
  "openai/*": { input: 1, cached_read: 0.1, output: 2 }
`;

export async function startGateway(options: GatewayOptions = {}): Promise<TestGateway> {
  const provider = startProvider();
  const dir = options.dir ?? testDir();
  const { database, owner } = options.beside ?? (await testDatabase());
  const config = await configOf(
    dir,
    (options.yaml ?? usualYaml).replaceAll("PROVIDER", provider.url),
    options.journal,
    options.env,
  );
  const log = options.log ?? silentLog;
  let url = "http://127.0.0.1:1";
  const boot = { ...dir.nextEpoch(), instance: dir.instance, bootId: bootId(host.platform) };
  // As the gateway does when it opens its database.
  await claimEpoch(database.sql, boot);
  const parts = await wire({
    config,
    gateway: () => config.gateway,
    dir,
    database,
    boot,
    addresses: () => ({ publicUrl: url, aliases: [] }),
    clock: systemClock(),
    log,
    version: "0.0.0-test",
    residentBytes: () => 0,
    fetchesMax: 256,
    warnings: () => [],
    mcpExtras: options.mcpExtras ?? {},
    ...(options.openLink === undefined ? {} : { openLink: options.openLink }),
  });
  const server = listen(parts, log);
  url = `http://127.0.0.1:${server.port}`;
  const { identity } = parts;
  const as = (bearer: string, id = ""): Actor => actorOf(url, bearer, id);
  const robo = await runnerOf(identity, as, "robo");
  return {
    url,
    parts,
    provider,
    database,
    owner,
    dir,
    ...identity,
    robo,
    mallory: await runnerOf(identity, as, "mallory"),
    people: () => peopleOf(identity, database, url, robo.projectId),
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
      if (options.beside === undefined) await database.close();
      provider.close();
    },
  };
}

async function configOf(
  dir: DataDir,
  yaml: string,
  journal = "disk",
  more: Record<string, string> = {},
): Promise<Config> {
  const file = dir.file("specgate.yaml");
  await Bun.write(file, yaml);
  const env = { SPECGATE_DATA_DIR: dir.path, SPECGATE_PORT: "0", SPECGATE_JOURNAL: journal, ...more };
  const loaded = loadConfig({ env, cwd: dir.path, flags: { config: file }, terminal: false });
  if (!loaded.ok) throw new Error(loaded.mistakes.join("\n"));
  return loaded.config;
}

type Desk = Pick<Identity, "projects" | "clients" | "keys">;

async function runnerOf(desk: Desk, as: TestGateway["as"], name: string): Promise<Runner> {
  const project = await desk.projects.create(localActor, { name: `${name}'s project` });
  const scope =
    "llm:chat mcp:read mcp:write control:read control:write artifacts:read artifacts:write approvals:request approvals:consume usage:read";
  const client = await desk.clients.create(localActor, {
    name,
    kind: "runner",
    projectId: project.id,
    redirectUris: [],
    scope,
  });
  const { key } = await desk.keys.create(localActor, { owner: { clientId: client.client_id }, scope });
  return { ...as(key, client.client_id), projectId: project.id };
}

/** People in robo's project, each in a browser of their own: no password is asked, because that takes a core's time. */
async function peopleOf(
  { users, projects, signIns }: Identity,
  database: Database,
  url: string,
  projectId: string,
) {
  const person = async (name: string, role: "admin" | "user", part: ProjectRole | null): Promise<Person> => {
    const email = `${name}@example.com`;
    const { id } = await users.create(localActor, { email, role });
    if (part !== null) await projects.setMember(localActor, { projectId, userId: id, role: part }, null);
    const origin = { ip: null, userAgent: null, requestId: null };
    const { cookie } = await database.transaction((tx) =>
      signIns.openBrowser(tx, { userId: id, method: "password", origin }),
    );
    return { ...browserOf(url, cookie, id), email, cookie };
  };
  return {
    ada: await person("ada", "admin", null),
    olga: await person("olga", "user", "owner"),
    ed: await person("ed", "user", "editor"),
    vera: await person("vera", "user", "viewer"),
    stranger: await person("stranger", "user", null),
  };
}

/** Sends the cookie, and what a browser on the gateway's own pages sends with it. */
function browserOf(url: string, cookie: string, id: string): Actor {
  return actorOf(url, "", id, (headers) => {
    headers.set("cookie", `specgate=${cookie}`);
    if (!headers.has("sec-fetch-site")) headers.set("sec-fetch-site", "same-origin");
  });
}

function actorOf(
  url: string,
  bearer: string,
  id: string,
  dress: (headers: Headers) => void = () => {},
): Actor {
  const send = (path: string, init: RequestInit = {}): Promise<Response> => {
    const headers = new Headers(init.headers);
    if (bearer !== "" && !headers.has("authorization")) headers.set("authorization", `Bearer ${bearer}`);
    dress(headers);
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
