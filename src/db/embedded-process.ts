/**
 * The postmaster: starting it, finding one that already runs, and stopping it.
 *
 * A pid file proves nothing, because pids come around again: a process counts as ours only when its command line names
 * our cluster, and a server is reused only when the socket answers for our cluster in our build and settings.
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { kill } from "node:process";
import { Failure } from "../platform/failure.ts";
import { socketPath } from "./connection.ts";
import type { Owner } from "./embedded-home.ts";

export type Place = {
  /** Holds `bin/postgres`. */
  readonly server: string;
  readonly cluster: string;
  readonly socketDir: string;
  readonly logPath: string;
  readonly owner: Owner | null;
  /** Who starts it: this process. */
  readonly parentPid: number;
  readonly settings: Readonly<Record<string, string>>;
};

export type Postmaster = { readonly pid: number; readonly exited: Promise<void> };

/** Resolves when the server takes connections; a server that gives up is a failure with the end of its log. */
export async function startPostmaster(place: Place): Promise<Postmaster> {
  disownLocks(place);
  const settings = Object.entries(place.settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  writeFileSync(place.logPath, "", { mode: 0o600 });
  const log = openSync(place.logPath, "a");
  const child = spawn(
    `${place.server}/bin/postgres`,
    ["-D", place.cluster, "-k", place.socketDir, ...settings],
    {
      cwd: place.server,
      env: { LC_ALL: "C", TZ: "UTC" },
      // A session of its own: Ctrl-C in a terminal is for the gateway, which stops the server when it has drained.
      detached: true,
      stdio: ["ignore", log, log],
      ...(place.owner ?? {}),
    },
  );
  closeSync(log);
  const ended = Promise.withResolvers<void>();
  let over = false;
  child.once("error", (error) => ended.reject(error));
  child.once("exit", () => {
    over = true;
    ended.resolve();
  });
  child.unref();
  await Promise.race([
    ended.promise,
    until(60_000, () => over || readPidFile(place.cluster)?.ready === child.pid),
  ]);
  if (over || child.pid === undefined) throw didNotStart(place.logPath);
  return { pid: child.pid, exited: ended.promise };
}

/**
 * After a crash the lock files can name a pid that some other process has by now, and PostgreSQL would not start. A file
 * that names its parent it takes for stale; the rest of it must stay, because it also guards the shared memory.
 */
function disownLocks(place: Place): void {
  const path = `${place.cluster}/postmaster.pid`;
  if (existsSync(path)) {
    const lines = readFileSync(path, "utf8").split("\n");
    writeFileSync(path, [String(place.parentPid), ...lines.slice(1)].join("\n"));
  }
  rmSync(`${socketPath(place.socketDir)}.lock`, { force: true });
}

/** The postmaster of this cluster, if one runs, whoever started it. */
export function findPostmaster(cluster: string): Postmaster | null {
  const found = readPidFile(cluster);
  if (found === null || !isOurs(found.pid, cluster)) return null;
  const gone = async () => {
    while (isOurs(found.pid, cluster)) await Bun.sleep(250);
  };
  return { pid: found.pid, exited: gone() };
}

/** Fast first (clients are cut, a checkpoint is written), then immediate, then by force. */
export async function stopPostmaster(postmaster: number, cluster: string): Promise<void> {
  for (const [signal, patienceMs] of [
    ["SIGINT", 10_000],
    ["SIGQUIT", 5_000],
    ["SIGKILL", 2_000],
  ] as const) {
    if (!isOurs(postmaster, cluster)) return;
    signalTo(postmaster, signal);
    if (await until(patienceMs, () => !isOurs(postmaster, cluster))) return;
  }
}

async function until(milliseconds: number, done: () => boolean): Promise<boolean> {
  const deadline = performance.now() + milliseconds;
  while (!done()) {
    if (performance.now() > deadline) return false;
    await Bun.sleep(4);
  }
  return true;
}

/** Line 1 is the pid, line 8 the status; `ready` is the pid once connections are taken. */
function readPidFile(cluster: string): { pid: number; ready: number | null } | null {
  try {
    const lines = readFileSync(`${cluster}/postmaster.pid`, "utf8").split("\n");
    const found = Number(lines[0]);
    if (!Number.isInteger(found) || found <= 1) return null;
    return { pid: found, ready: lines[7]?.trim() === "ready" ? found : null };
  } catch {
    return null;
  }
}

function isOurs(process: number, cluster: string): boolean {
  try {
    kill(process, 0);
  } catch {
    return false;
  }
  const command = commandLine(process).replaceAll("\0", " ");
  // The whole path: a copy of the data dir under a shorter one must not stop the original's server.
  return command.includes("/bin/postgres") && command.includes(` -D ${cluster} `);
}

function commandLine(process: number): string {
  try {
    return readFileSync(`/proc/${process}/cmdline`, "utf8");
  } catch {
    // No /proc on this system, or the process is gone.
    return Bun.spawnSync({ cmd: ["ps", "-ww", "-o", "command=", "-p", String(process)] }).stdout.toString();
  }
}

function signalTo(process: number, signal: NodeJS.Signals): void {
  try {
    kill(process, signal);
  } catch {
    // It ended by itself in between.
  }
}

function didNotStart(logPath: string): Failure {
  const last = readFileSync(logPath, "utf8").trim().split("\n").slice(-3).join(" ");
  return new Failure(
    "unavailable",
    "unavailable",
    `The embedded PostgreSQL did not start (${logPath}): ${last}`,
  );
}
