/**
 * Where this gateway's database is: the one that DATABASE_URL names, or the embedded cluster of the data dir, started.
 */
import type { Config } from "../platform/config.ts";
import type { DataDir } from "../platform/data-dir.ts";
import type { Host } from "../platform/host.ts";
import type { Log } from "../platform/log.ts";
import { connect, type Endpoint, endpointOf } from "./connection.ts";
import type { Database } from "./database.ts";
import { startEmbedded } from "./embedded.ts";
import { applicationName, type Boot, claimEpoch, endOlderBackends } from "./instance.ts";
import { migrate } from "./migrate.ts";
import { openDatabase } from "./open.ts";
import { openPool } from "./pool.ts";
import { reach } from "./reach.ts";

export type Located = {
  /** For the gateway: reads and writes rows. */
  readonly gateway: Endpoint;
  /** For migrations: owns the schema. */
  readonly owner: Endpoint;
  /** For LISTEN; null: the same as `gateway`. */
  readonly direct: Endpoint | null;
  /** The role that migrations give the gateway's rights to; null: the owner itself. */
  readonly gatewayRole: string | null;
  readonly prepare: boolean;
  /** Stops what was started for it. */
  stop(): Promise<void>;
};

/** Starts the embedded cluster when no DATABASE_URL is given; the data dir must then be locked by the caller. */
export async function locateDatabase(config: Config, dir: DataDir, host: Host, log: Log): Promise<Located> {
  const { url, directUrl, migrateUrl, prepare, postgresUid } = config.database;
  if (url === null) {
    const embedded = await startEmbedded({ dir, host, postgresUid, log });
    const { gateway, owner } = embedded;
    return {
      gateway,
      owner,
      direct: null,
      gatewayRole: "specgate",
      prepare: true,
      stop: () => embedded.stop(),
    };
  }
  const gateway = endpointOf(url);
  return {
    gateway,
    owner: migrateUrl === null ? gateway : endpointOf(migrateUrl, "DATABASE_MIGRATE_URL"),
    direct: directUrl === null ? null : endpointOf(directUrl, "DATABASE_DIRECT_URL"),
    gatewayRole: migrateUrl === null ? null : roleOf(gateway),
    prepare,
    stop: async () => {},
  };
}

/** Brings the schema up to date. Returns the names of the steps it took. */
export async function migrateDatabase(located: Located): Promise<string[]> {
  const settings = {
    applicationName: "specgate/migrate",
    prepare: false,
    connectionsMax: 1,
    statementTimeoutMs: null,
  };
  await reach(located.owner, settings.applicationName);
  const pool = openPool((onclose) => connect(located.owner, { ...settings, onclose }), {
    connectionsMax: 1,
    answerTimeoutMs: null,
  });
  try {
    return await migrate(pool.sql, { gatewayRole: located.gatewayRole });
  } finally {
    await pool.close();
  }
}

/** Opens the database for one boot of the gateway: what earlier boots left running is ended, and the epoch is ours. */
export async function openForBoot(located: Located, boot: Boot): Promise<Database> {
  const { gateway, direct, prepare } = located;
  const database = await openDatabase({
    endpoint: gateway,
    direct,
    prepare,
    applicationName: applicationName(boot),
  });
  try {
    await endOlderBackends(database.sql, boot);
    await claimEpoch(database.sql, boot);
    return database;
  } catch (error) {
    await database.close();
    throw error;
  }
}

const roleOf = (endpoint: Endpoint): string | null =>
  endpoint.kind === "socket"
    ? endpoint.user
    : decodeURIComponent(URL.parse(endpoint.url.reveal())?.username ?? "") || null;
