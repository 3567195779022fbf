/**
 * Real PostgreSQL for tests. Loaded before every test file: one cluster per run, started when first asked for, with a
 * migrated template from which each test file clones a database of its own.
 *
 * Nothing outlives the run: the cluster stops after the last test, at the latest when the process exits, and what a
 * killed run left behind is swept by the next one.
 */
import { afterAll, setDefaultTimeout } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { arch, getuid, kill, on, pid, platform } from "node:process";
import { migrations } from "../../drizzle/migrations.ts";
import { packPostgres } from "../../scripts/pack.ts";
import type { Endpoint } from "../db/connection.ts";
import type { Database, Sql } from "../db/database.ts";
import type { Embedded } from "../db/embedded.ts";
import type { DataDir } from "../platform/data-dir.ts";
import type { Host } from "../platform/host.ts";
import { type Log, silentLog } from "../platform/log.ts";

// The modules below import the packed server, which must exist before they are loaded.
await packPostgres({ fast: true });
const { findPostmaster, stopPostmaster } = await import("../db/embedded-process.ts");
const { serverVersion } = await import("../db/embedded-files.ts");
const { startEmbedded } = await import("../db/embedded.ts");
const { connect, urlOf } = await import("../db/connection.ts");
const { openDatabase } = await import("../db/open.ts");
const { migrate } = await import("../db/migrate.ts");
const { openDataDir } = await import("../platform/data-dir.ts");

export type TestDatabase = {
  /** As the gateway's role: reads and writes rows. */
  readonly database: Database;
  /** For further connections: `connect(gateway, …)`, `openDatabase({ endpoint: gateway, … })`. */
  readonly gateway: Endpoint;
  /** The schema's owner, for what the gateway's role may not do. */
  readonly owner: Endpoint;
  /** Of `gateway` and `owner`, as DATABASE_URL and DATABASE_MIGRATE_URL take them. */
  readonly url: string;
  readonly ownerUrl: string;
  drop(): Promise<void>;
};

/** A migrated, empty database that nobody else uses. `drop` is for those who want it gone early. */
export async function testDatabase(): Promise<TestDatabase> {
  shared ??= startShared();
  const { cluster, admin } = await shared;
  const name = `test_${Bun.randomUUIDv7().replaceAll("-", "")}`;
  await admin.unsafe(`create database ${name} template specgate owner specgate_owner`);
  const gateway = withDatabase(cluster.embedded.gateway, name);
  const owner = withDatabase(cluster.embedded.owner, name);
  const database = await openDatabase({
    endpoint: gateway,
    direct: null,
    prepare: true,
    applicationName: `specgate/${name}`,
  });
  return {
    database,
    gateway,
    owner,
    url: urlOf(gateway).reveal(),
    ownerUrl: urlOf(owner).reveal(),
    async drop() {
      await database.close();
      await admin.unsafe(`drop database if exists ${name} with (force)`);
    },
  };
}

export type OwnCluster = {
  readonly dir: DataDir;
  readonly embedded: Embedded;
  /** `kill -9` of the whole server. */
  kill(): void;
  /** SIGSTOP and SIGCONT for every process of the server. */
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
};

/**
 * A migrated cluster to be mistreated. Stop it, or the run will. A `dir` that is given is taken as it is: an empty one
 * is where a first start can be watched, without the schema.
 */
export async function ownCluster(
  options: { log?: Log; settings?: Record<string, string>; dir?: DataDir } = {},
): Promise<OwnCluster> {
  const dir = options.dir ?? (await migratedDir());
  const embedded = await startEmbedded({
    dir,
    host,
    postgresUid: null,
    log: options.log ?? silentLog,
    serverParent,
    ...(options.settings ? { settings: options.settings } : {}),
  });
  clusters.add(embedded);
  const each = (signal: NodeJS.Signals) => {
    for (const process of [...childrenOf(embedded.pid()), embedded.pid()]) signalTo(process, signal);
  };
  return {
    dir,
    embedded,
    kill: () => each("SIGKILL"),
    freeze: () => each("SIGSTOP"),
    thaw: () => each("SIGCONT"),
    async stop() {
      each("SIGCONT");
      clusters.delete(embedded);
      await embedded.stop();
    },
  };
}

/** An empty data dir that is removed after the run. */
export const testDir = (): DataDir => openDataDir(scratchDir(), { create: true });

/** An empty directory that is removed after the run; other users may pass through it, as the embedded server must. */
export function scratchDir(): string {
  const path = mkdtempSync(`${runDir}/`);
  chmodSync(path, 0o711);
  return path;
}

export const host: Host = { pid, uid: getuid?.() ?? 1, platform, arch };

type Shared = { cluster: OwnCluster; admin: Sql };
let shared: Promise<Shared> | null = null;
const clusters = new Set<Embedded>();
const runs = tmpdir();
const runDir = `${runs}/specgate-test-${pid}-${Date.now().toString(36)}`;
/** Shared by all runs of this user: the unpacked server and a migrated cluster, named after their versions. */
const serverParent = `${runs}/specgate-postgres-${host.uid}`;

// Two seconds on a quiet machine can be ten on one that builds and tests at once.
setDefaultTimeout(20_000);
await sweep();
mkdirSync(runDir, { mode: 0o711 });
mkdirSync(serverParent, { recursive: true });
chmodSync(serverParent, 0o755);

afterAll(async () => {
  const { admin } = (await shared?.catch(() => null)) ?? {};
  await admin?.end({ timeout: 0 });
  await Promise.all([...clusters].map((embedded) => embedded.stop()));
  clusters.clear();
  rmSync(runDir, { recursive: true, force: true });
});

on("exit", () => {
  for (const embedded of clusters) signalTo(embedded.pid(), "SIGQUIT");
  rmSync(runDir, { recursive: true, force: true });
});

async function startShared(): Promise<Shared> {
  // Durability is not what these tests are about, and those that are use a cluster of their own.
  const fast = { fsync: "off", synchronous_commit: "off", full_page_writes: "off", max_connections: "400" };
  const cluster = await ownCluster({ settings: fast });
  const admin = connect(cluster.embedded.superuser, {
    applicationName: "tests",
    prepare: false,
    connectionsMax: 1,
    statementTimeoutMs: null,
  });
  return { cluster, admin };
}

/** Copied from one that was made by an earlier run, which takes a tenth of the time. */
async function migratedDir(): Promise<DataDir> {
  const known = new Bun.CryptoHasher("sha256").update(JSON.stringify(migrations)).digest("hex").slice(0, 12);
  const template = `${serverParent}/${serverVersion}-migrated-${known}`;
  if (!existsSync(template)) await makeTemplate(template);
  const path = scratchDir();
  Bun.spawnSync({ cmd: ["cp", "-Rp", `${template}/.`, path] });
  return openDataDir(path, { create: true });
}

async function makeTemplate(template: string): Promise<void> {
  const cluster = await ownCluster({ dir: testDir() });
  const sql = connect(cluster.embedded.owner, {
    applicationName: "tests",
    prepare: false,
    connectionsMax: 1,
    statementTimeoutMs: null,
  });
  await migrate(sql, { gatewayRole: "specgate" });
  await sql.end({ timeout: 5 });
  await cluster.stop();
  // Each copy is an instance of its own.
  rmSync(cluster.dir.file("instance"));
  try {
    renameSync(cluster.dir.path, template);
  } catch (error) {
    // Another run was faster.
    if (!existsSync(template)) throw error;
  }
}

function withDatabase(endpoint: Endpoint, database: string): Endpoint {
  if (endpoint.kind === "url") throw new Error("the embedded cluster is reached by its socket");
  return { ...endpoint, database };
}

function childrenOf(parent: number): number[] {
  const listed = Bun.spawnSync({ cmd: ["ps", "-A", "-o", "pid=,ppid="] }).stdout.toString();
  const rows = listed.trim().split("\n");
  return rows
    .map((row) => row.trim().split(/\s+/).map(Number))
    .flatMap(([child, of]) => (of === parent && child !== undefined ? [child] : []));
}

function signalTo(process: number, signal: NodeJS.Signals): void {
  try {
    kill(process, signal);
  } catch {
    // Already gone.
  }
}

/** Ends what a run that was killed could not end. */
async function sweep(): Promise<void> {
  for (const name of readdirSync(runs)) {
    const owner = /^specgate-test-(\d+)-/.exec(name)?.[1];
    if (owner === undefined || isAlive(Number(owner))) continue;
    for (const dir of readableDirs(`${runs}/${name}`)) {
      const cluster = `${runs}/${name}/${dir}/postgres/cluster`;
      const left = findPostmaster(cluster);
      if (left !== null) await stopPostmaster(left.pid, cluster);
    }
    rmSync(`${runs}/${name}`, { recursive: true, force: true });
  }
}

function readableDirs(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function isAlive(process: number): boolean {
  try {
    kill(process, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
