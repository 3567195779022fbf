/**
 * The embedded PostgreSQL: made at the first start, started with the gateway, brought back when it dies, stopped on close.
 *
 * It listens on a Unix socket in a directory of its own user and nowhere else; every role has a random password, kept in
 * `postgres.json` in the data dir. The gateway's role owns nothing and cannot change the schema. A server left running by
 * a killed gateway is taken over when it is this very cluster with this build's settings, and stopped otherwise.
 */
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { type DataDir, writeWhole } from "../platform/data-dir.ts";
import type { Host } from "../platform/host.ts";
import type { Log } from "../platform/log.ts";
import { Secret } from "../platform/secret.ts";
import { connect, type Endpoint, socketPath } from "./connection.ts";
import type { Sql } from "./database.ts";
import { ensureCluster, makeRoles, type Passwords } from "./embedded-cluster.ts";
import { serverVersion, unpackServer } from "./embedded-files.ts";
import { findHome, type Home, makePrivateDir, type Owner } from "./embedded-home.ts";
import {
  findPostmaster,
  type Place,
  type Postmaster,
  startPostmaster,
  stopPostmaster,
} from "./embedded-process.ts";

export type Embedded = {
  /** For the gateway: reads and writes rows. */
  readonly gateway: Endpoint;
  /** For migrations: owns the schema. */
  readonly owner: Endpoint;
  /** For whoever makes databases: tests, restore. */
  readonly superuser: Endpoint;
  /** The postmaster of the moment; another one after a restart. */
  pid(): number;
  stop(): Promise<void>;
};

export type EmbeddedNeeds = {
  /** Locked by the caller. */
  dir: DataDir;
  host: Host;
  postgresUid: number | null;
  log: Log;
  /** Where the server's files are unpacked; null: beside the cluster. */
  serverParent?: string | null;
  settings?: Record<string, string>;
};

export async function startEmbedded(needs: EmbeddedNeeds): Promise<Embedded> {
  const state = readState(needs.dir) ?? newState();
  const home = findHome(needs.dir, needs.host, {
    postgresUid: needs.postgresUid,
    remembered: state.owner,
  });
  if (!home.path.startsWith(needs.dir.path)) {
    needs.log.info("the embedded database lives outside the data dir, whose parents are closed to its user", {
      path: home.path,
    });
  }
  const server = await unpackServer(needs.serverParent ?? home.path);
  const place = prepare(needs, state, home, server);
  const endpoints = endpointsOf(state);
  let postmaster = await start(place, endpoints.superuser, needs.log);
  if (!state.rolesMade) {
    await makeRoles(endpoints.superuser, state.passwords);
    state.rolesMade = true;
    saveState(needs.dir, state);
  }
  let stopping = false;
  const kept = keepRunning();
  return {
    ...endpoints,
    pid: () => postmaster.pid,
    async stop() {
      stopping = true;
      await stopPostmaster(postmaster.pid, place.cluster);
      await kept;
    },
  };

  async function keepRunning(): Promise<void> {
    let pauseMs = 100;
    for (;;) {
      const since = performance.now();
      await postmaster.exited;
      if (stopping) return;
      needs.log.warn("the embedded database ended; it is started again");
      pauseMs = performance.now() - since > 10_000 ? 100 : Math.min(pauseMs * 2, 5_000);
      for (;;) {
        await Bun.sleep(pauseMs);
        if (stopping) return;
        try {
          postmaster = await start(place, endpoints.superuser, needs.log);
          break;
        } catch (error) {
          needs.log.error("the embedded database did not start", { error });
          pauseMs = Math.min(pauseMs * 2, 5_000);
        }
      }
      if (stopping) await stopPostmaster(postmaster.pid, place.cluster);
    }
  }
}

/** For a command beside a running gateway: where its database is. Starts nothing; null when there is none yet. */
export function embeddedEndpoints(dir: DataDir): { gateway: Endpoint; owner: Endpoint } | null {
  const state = readState(dir);
  return state === null ? null : endpointsOf(state);
}

type State = {
  owner: Owner | null;
  socketDir: string;
  passwords: Passwords;
  rolesMade: boolean;
};

const newState = (): State => ({
  owner: null,
  socketDir: "",
  passwords: { postgres: newPassword(), specgate_owner: newPassword(), specgate: newPassword() },
  rolesMade: false,
});

const newPassword = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");

function readState(dir: DataDir): State | null {
  const path = dir.file("postgres.json");
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as State) : null;
}

const saveState = (dir: DataDir, state: State): void =>
  writeWhole(dir.file("postgres.json"), `${JSON.stringify(state, null, 2)}\n`);

function endpointsOf(state: State) {
  const at = (user: keyof Passwords, database: string): Endpoint => ({
    kind: "socket",
    directory: state.socketDir,
    database,
    user,
    password: new Secret(state.passwords[user]),
  });
  return {
    gateway: at("specgate", "specgate"),
    owner: at("specgate_owner", "specgate"),
    superuser: at("postgres", "postgres"),
  };
}

function prepare(needs: EmbeddedNeeds, state: State, home: Home, server: string): Place {
  const cluster = `${home.path}/cluster`;
  const settings = { ...modest, "specgate.build": serverVersion, ...needs.settings };
  const socketDir = chooseSocketDir(home, state, cluster);
  const moved = socketDir !== state.socketDir || JSON.stringify(home.owner) !== JSON.stringify(state.owner);
  state.socketDir = socketDir;
  state.owner = home.owner;
  if (moved || !existsSync(cluster)) saveState(needs.dir, state);
  ensureCluster(cluster, server, home, {
    password: state.passwords.postgres,
    platform: needs.host.platform,
  });
  return {
    server,
    cluster,
    socketDir,
    logPath: `${home.path}/postgres.log`,
    owner: home.owner,
    parentPid: needs.host.pid,
    settings,
  };
}

/** For one gateway on a machine that it shares; every write still reaches the disk before it is acknowledged. */
const modest: Record<string, string> = {
  listen_addresses: "",
  max_connections: "60",
  shared_buffers: "32MB",
  max_wal_size: "256MB",
  wal_level: "minimal",
  max_wal_senders: "0",
  io_method: "sync",
  jit: "off",
  huge_pages: "off",
  max_parallel_workers_per_gather: "0",
  client_connection_check_interval: "1s",
  idle_in_transaction_session_timeout: "10s",
  // What a statement did wrong is the gateway's to log, without the values that it held.
  log_min_messages: "log",
  log_min_error_statement: "panic",
  log_error_verbosity: "terse",
  log_checkpoints: "off",
  timezone: "UTC",
};

/** Linux ends a socket's path at 107 bytes, macOS at 103. */
const socketPathBytesMax = 103;

function chooseSocketDir(home: Home, state: State, cluster: string): string {
  const beside = `${home.path}/socket`;
  if (Buffer.byteLength(socketPath(beside)) <= socketPathBytesMax) {
    makePrivateDir(beside, home.owner);
    return beside;
  }
  if (state.socketDir.startsWith("/tmp/") && findPostmaster(cluster) !== null) return state.socketDir;
  const short = mkdtempSync("/tmp/specgate-");
  makePrivateDir(short, home.owner);
  return short;
}

async function start(place: Place, superuser: Endpoint, log: Log): Promise<Postmaster> {
  const running = findPostmaster(place.cluster);
  if (running !== null) {
    if (await answersAsOurs(place, superuser)) return running;
    log.warn("a PostgreSQL of an earlier run is in the way; it is stopped", { pid: running.pid });
    await stopPostmaster(running.pid, place.cluster);
  }
  return await startWhenFree(place, performance.now() + 10_000);
}

/** After `kill -9` of the postmaster alone, its last backends may still be on their way out. */
async function startWhenFree(place: Place, deadline: number): Promise<Postmaster> {
  try {
    return await startPostmaster(place);
  } catch (error) {
    const busy = error instanceof Error && error.message.includes("shared memory block");
    if (!busy || performance.now() > deadline) throw error;
    await Bun.sleep(200);
    return await startWhenFree(place, deadline);
  }
}

/** Our cluster, this build, these settings: otherwise it is not the server that this gateway was tested with. */
async function answersAsOurs(place: Place, superuser: Endpoint): Promise<boolean> {
  const sql = connectOnce(superuser);
  const limit = Bun.sleep(2_000).then(() => false);
  const asked = askSettings(sql, place).catch(() => false);
  try {
    return await Promise.race([asked, limit]);
  } finally {
    await sql.end({ timeout: 0 });
  }
}

async function askSettings(sql: Sql, place: Place): Promise<boolean> {
  const wanted = {
    ...place.settings,
    data_directory: place.cluster,
    unix_socket_directories: place.socketDir,
  };
  const names = Object.keys(wanted);
  const rows = await sql<{ name: string; value: string | null }[]>`
    select name, current_setting(name, true) as value from unnest(${names}::text[]) as name`;
  const found = Object.fromEntries(rows.map(({ name, value }) => [name, value]));
  return Object.entries(wanted).every(([name, value]) => found[name] === value);
}

const connectOnce = (endpoint: Endpoint): Sql =>
  connect(endpoint, {
    applicationName: "specgate",
    prepare: false,
    connectionsMax: 1,
    statementTimeoutMs: null,
  });
