/**
 * One process at a time in a data dir.
 *
 * The lock is SQLite's, which is the kernel's: it ends with the process, however that ends, and no stale file can keep
 * anybody out. `gateway.json` beside it says who holds it, for people and for commands that join a running gateway; it
 * is a note, never the proof.
 */
import { Database } from "bun:sqlite";
import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { type DataDir, writeWhole } from "./data-dir.ts";
import { Failure } from "./failure.ts";

export type Holder = {
  readonly pid: number;
  /** `serve`, or the local command that works alone here. */
  readonly command: string;
  /** RFC 3339. */
  readonly started_at: string;
};

export type Lock = { release(): void };

/** Waits up to `waitMs` for another holder to leave; then a `data_dir_in_use` that names it. */
export async function lockDataDir(
  dir: DataDir,
  self: { pid: number; command: string; waitMs: number },
): Promise<Lock> {
  const deadline = performance.now() + self.waitMs;
  let held = tryLock(dir);
  while (held === null && performance.now() < deadline) {
    await Bun.sleep(50);
    held = tryLock(dir);
  }
  if (held === null) throw inUse(dir);
  const note: Holder = { pid: self.pid, command: self.command, started_at: new Date().toISOString() };
  writeWhole(dir.file("gateway.json"), `${JSON.stringify(note)}\n`);
  const database = held;
  return {
    release() {
      rmSync(dir.file("gateway.json"), { force: true });
      database.close();
    },
  };
}

/** Who holds the data dir now, or null. Takes no lock of its own. */
export function findHolder(dir: DataDir): Holder | null {
  const database = openLockFile(dir);
  try {
    database.run("PRAGMA busy_timeout = 0");
    database.query("SELECT count(*) FROM sqlite_master").get();
    return null;
  } catch (error) {
    if (!isBusy(error)) throw error;
    return readNote(dir) ?? { pid: 0, command: "unknown", started_at: "" };
  } finally {
    database.close();
  }
}

function tryLock(dir: DataDir): Database | null {
  const database = openLockFile(dir);
  try {
    // Short, so that a `findHolder` passing by does not look like a holder.
    database.run("PRAGMA busy_timeout = 25");
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("BEGIN EXCLUSIVE");
    return database;
  } catch (error) {
    database.close();
    if (isBusy(error)) return null;
    throw error;
  }
}

function openLockFile(dir: DataDir): Database {
  // Made here, because SQLite would let everybody read it, and to read is enough to take part in the locking.
  closeSync(openSync(dir.file("lock"), "a", 0o600));
  return new Database(dir.file("lock"), { readwrite: true });
}

const isBusy = (error: unknown): boolean =>
  error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_BUSY");

function readNote(dir: DataDir): Holder | null {
  try {
    return JSON.parse(readFileSync(dir.file("gateway.json"), "utf8")) as Holder;
  } catch {
    return null;
  }
}

function inUse(dir: DataDir): Failure {
  const holder = readNote(dir);
  const who =
    holder === null
      ? "another process"
      : `\`specgate ${holder.command}\` (process ${holder.pid}, since ${holder.started_at})`;
  return new Failure("conflict", "data_dir_in_use", `The data dir ${dir.path} is in use by ${who}.`);
}
