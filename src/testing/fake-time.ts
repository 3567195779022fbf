/**
 * A migrated PostgreSQL whose clock can be set: libfaketime is loaded into that server and into nothing else.
 *
 * The clock runs on at its own pace, ahead of or behind the machine's by an offset that a file holds; the server looks
 * into the file at every reading. Where the library is missing the tests that need it are skipped by name.
 */
import { spawn } from "node:child_process";
import { chmodSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { env, kill, on } from "node:process";
import { faketime, findProgram } from "../../scripts/packages.ts";
import type { Endpoint } from "../db/connection.ts";
import { connect } from "../db/connection.ts";
import type { Database } from "../db/database.ts";
import { openDatabase } from "../db/open.ts";
import { ownCluster, scratchDir } from "./cluster.ts";

export const isMissing: boolean = findProgram(faketime) === null && !env.CI;

export type FakeTimeDatabase = {
  readonly database: Database;
  readonly gateway: Endpoint;
  /** Sets the server's clock, which goes on from there. */
  set(time: string): void;
  stop(): Promise<void>;
};

export async function startFakeTime(): Promise<FakeTimeDatabase> {
  const cluster = await ownCluster();
  const { gateway, superuser } = cluster.embedded;
  const settings = { applicationName: "tests", prepare: false, connectionsMax: 1, statementTimeoutMs: null };
  const sql = connect(superuser, settings);
  const [place] = await sql<{ data: string; sockets: string }[]>`
    select current_setting('data_directory') as data, current_setting('unix_socket_directories') as sockets`;
  if (place === undefined) throw new Error("the server does not say where it is");
  await sql.end({ timeout: 1 });
  const program = readlinkSync(`/proc/${cluster.embedded.pid()}/exe`);
  await cluster.stop();

  const offset = `${scratchDir()}/offset`;
  const set = (time: string): void => {
    const seconds = (new Date(time).getTime() - Date.now()) / 1_000;
    // In place: another process may be reading it.
    writeFileSync(offset, `${seconds < 0 ? "" : "+"}${seconds.toFixed(3)}\n`);
    chmodSync(offset, 0o644);
  };
  set(new Date().toISOString());
  const postmaster = startServer(program, place, offset);
  const database = await untilOpen(gateway);
  return {
    database,
    gateway,
    set,
    async stop() {
      await database.close();
      postmaster.kill("SIGINT");
      await postmaster.exited;
    },
  };
}

function startServer(program: string, { data, sockets }: { data: string; sockets: string }, offset: string) {
  const { uid, gid } = statSync(data);
  const quick = [
    "listen_addresses=",
    "timezone=UTC",
    "fsync=off",
    "shared_buffers=32MB",
    "max_connections=60",
  ];
  const child = spawn(program, ["-D", data, "-k", sockets, ...quick.flatMap((setting) => ["-c", setting])], {
    cwd: data,
    uid,
    gid,
    stdio: "ignore",
    env: {
      LC_ALL: "C",
      TZ: "UTC",
      LD_PRELOAD: libraryOf(),
      FAKETIME_TIMESTAMP_FILE: offset,
      FAKETIME_NO_CACHE: "1",
      // Time limits and sleeps go by the machine's own clock.
      DONT_FAKE_MONOTONIC: "1",
    },
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const end = (): void => {
    if (child.pid !== undefined && child.exitCode === null) kill(child.pid, "SIGQUIT");
  };
  on("exit", end);
  return { exited, kill: (signal: NodeJS.Signals) => child.kill(signal) };
}

/** As Debian's `faketime` would set it. */
function libraryOf(): string {
  const shown = Bun.spawnSync({ cmd: ["faketime", "-f", "+0", "printenv", "LD_PRELOAD"] });
  const [library] = shown.stdout
    .toString()
    .trim()
    .split(/[\s:]+/);
  if (library === undefined || library === "") throw new Error("faketime does not say where its library is");
  return library;
}

async function untilOpen(endpoint: Endpoint): Promise<Database> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    try {
      return await openDatabase({
        endpoint,
        direct: null,
        prepare: true,
        applicationName: "specgate/midnight",
      });
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await Bun.sleep(100);
    }
  }
}
