/**
 * Where a local command finds the database: DATABASE_URL's, the one of a gateway running on this data dir, or, with
 * nobody there, the embedded one, started for this command under the data dir's lock and stopped after it.
 *
 * Only `migrate` makes a data dir, or a cluster in it; every other command says which path it looked at.
 */
import { connect, type Endpoint } from "../db/connection.ts";
import type { Database } from "../db/database.ts";
import { embeddedEndpoints } from "../db/embedded.ts";
import { type Located, locateDatabase } from "../db/locate.ts";
import { openDatabase } from "../db/open.ts";
import type { Config } from "../platform/config.ts";
import { type DataDir, openDataDir } from "../platform/data-dir.ts";
import { findHolder, lockDataDir } from "../platform/data-dir-lock.ts";
import { Failure } from "../platform/failure.ts";
import { silentLog } from "../platform/log.ts";
import type { World } from "./world.ts";

export type Place = Located & {
  readonly dir: DataDir;
  /** A gateway runs on this data dir. */
  readonly shared: boolean;
};

export type LocalDatabase = { readonly database: Database; readonly place: Place; close(): Promise<void> };

const application = "specgate local";

export async function openLocalDatabase(
  world: World,
  config: Config,
  command: string,
): Promise<LocalDatabase> {
  const place = await findPlace(world, config, { command, create: false });
  try {
    const { gateway, direct, prepare } = place;
    const options = { endpoint: gateway, direct, prepare, applicationName: application, connectionsMax: 4 };
    const database = await openDatabase(options);
    const close = async (): Promise<void> => {
      await database.close();
      await place.stop();
    };
    return { database, place, close };
  } catch (error) {
    await place.stop();
    throw error;
  }
}

/** For a command that needs no more than to know where the database is. */
export async function findPlace(
  world: World,
  config: Config,
  options: { command: string; create: boolean },
): Promise<Place> {
  const dir = openDataDir(config.dataDir, { create: options.create });
  if (config.database.url !== null) {
    const located = await locateDatabase(config, dir, world.host, silentLog);
    return { ...located, dir, shared: findHolder(dir) !== null };
  }
  if (!options.create && embeddedEndpoints(dir) === null) throw noCluster(dir);
  const deadline = performance.now() + waitMsMax;
  for (;;) {
    const found = (await besideGateway(dir)) ?? (await alone(world, config, dir, options.command));
    if (found !== null) return found;
    if (performance.now() > deadline) throw stillStarting(dir);
    await Bun.sleep(50);
  }
}

/** As long as `serve` waits for a local command. */
const waitMsMax = 10_000;

/** Null when no gateway holds the data dir, or its database does not answer yet. */
async function besideGateway(dir: DataDir): Promise<Place | null> {
  const endpoints = embeddedEndpoints(dir);
  if (endpoints === null || findHolder(dir)?.command !== "serve") return null;
  if (!(await answers(endpoints.gateway))) return null;
  const known = { direct: null, gatewayRole: "specgate", prepare: true, stop: async () => undefined };
  return { ...endpoints, ...known, dir, shared: true };
}

async function answers(endpoint: Endpoint): Promise<boolean> {
  const options = { prepare: false, connectionsMax: 1, statementTimeoutMs: 2_000 };
  const sql = connect(endpoint, { ...options, applicationName: application });
  try {
    await sql`select 1`;
    return true;
  } catch {
    return false;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** Null when somebody else holds the data dir. */
async function alone(world: World, config: Config, dir: DataDir, command: string): Promise<Place | null> {
  const lock = await lockDataDir(dir, { pid: world.host.pid, command, waitMs: 0 }).catch((error: unknown) => {
    if (error instanceof Failure && error.code === "data_dir_in_use") return null;
    throw error;
  });
  if (lock === null) return null;
  try {
    const located = await locateDatabase(config, dir, world.host, silentLog);
    const stop = async (): Promise<void> => {
      await located.stop();
      lock.release();
    };
    return { ...located, stop, dir, shared: false };
  } catch (error) {
    lock.release();
    throw error;
  }
}

const noCluster = (dir: DataDir): Failure =>
  new Failure(
    "missing",
    "no_database",
    `There is no database in ${dir.path}: give DATABASE_URL as the gateway has it, or run \`specgate migrate\`.`,
  );

const stillStarting = (dir: DataDir): Failure =>
  new Failure(
    "unavailable",
    "unavailable",
    `The data dir ${dir.path} is in use, and its database does not answer. Try again.`,
  );
