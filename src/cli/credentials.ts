/**
 * A person's sign-ins, one for each gateway, in one file that they alone can read.
 *
 * The file is whole or as it was: written beside, synced, renamed. Whoever changes it holds the lock, which is the
 * kernel's (as the data dir's) and ends with the process, so that two commands never spend one refresh token. What
 * cannot be understood here is never overwritten: it may be the sign-ins of another version.
 */
import { Database } from "bun:sqlite";
import { closeSync, fchmodSync, fstatSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { z } from "zod";
import { writeWhole } from "../platform/data-dir.ts";
import { Failure } from "../platform/failure.ts";
import { isSameGateway } from "./sign-in-gateway.ts";
import type { World } from "./world.ts";

const credentialForm = z.looseObject({
  access_token: z.string(),
  /** RFC 3339, by this machine's clock. */
  expires_at: z.iso.datetime(),
  refresh_token: z.string().nullable(),
  scope: z.string(),
  client_id: z.string(),
  signed_in_at: z.iso.datetime(),
});
const fileForm = z.looseObject({ version: z.literal(1), gateways: z.record(z.string(), credentialForm) });

export type Credential = z.infer<typeof credentialForm>;
type File = z.infer<typeof fileForm>;

export type Kept = {
  /** The issuer under which it is kept. */
  readonly issuer: string;
  readonly credential: Credential;
};

export type Change = {
  find(url: string): Kept | undefined;
  /** On disk when this returns. */
  keep(issuer: string, credential: Credential): void;
  remove(issuer: string): void;
};

export type Credentials = {
  readonly path: string;
  /** The issuers that somebody is signed in to. */
  list(): string[];
  find(url: string): Kept | undefined;
  /** Alone, over all processes of this person. Waits 30 s for another to end. */
  change<T>(work: (change: Change) => Promise<T>): Promise<T>;
};

export function openCredentials(world: World): Credentials {
  const dir = join(configHome(world), "specgate");
  const path = join(dir, "credentials.json");
  const read = (): File => readCredentials(path, world);
  return {
    path,
    list: () => Object.keys(read().gateways),
    find: (url) => findIn(read(), url),
    async change(work) {
      makeDir(dir, world);
      const lock = await takeLock(join(dir, "credentials.lock"), path);
      try {
        return await work(changeOf(path, read));
      } finally {
        lock.close();
      }
    },
  };
}

function configHome({ env, homeDir }: World): string {
  // The XDG base directory specification: a relative path is to be ignored.
  const { XDG_CONFIG_HOME: xdg } = env;
  return xdg !== undefined && isAbsolute(xdg) ? xdg : join(homeDir, ".config");
}

function changeOf(path: string, read: () => File): Change {
  const write = (file: File) =>
    onDisk(path, "written", () => writeWhole(path, `${JSON.stringify(file, null, 2)}\n`));
  return {
    find: (url) => findIn(read(), url),
    keep(issuer, credential) {
      const file = read();
      write({ ...file, gateways: { ...file.gateways, [issuer]: credential } });
    },
    remove(issuer) {
      const file = read();
      const { [issuer]: _, ...gateways } = file.gateways;
      write({ ...file, gateways });
    },
  };
}

function findIn({ gateways }: File, url: string): Kept | undefined {
  const all = Object.entries(gateways);
  const found = all.find(([issuer]) => issuer === url) ?? all.find(([issuer]) => isSameGateway(issuer, url));
  return found === undefined ? undefined : { issuer: found[0], credential: found[1] };
}

function readCredentials(path: string, world: World): File {
  const fd = onDisk(path, "read", () => openIfThere(path));
  if (fd === undefined) return { version: 1, gateways: {} };
  try {
    return parseFile(
      path,
      onDisk(path, "read", () => readGuarded(fd, path, world)),
    );
  } finally {
    closeSync(fd);
  }
}

/** Checks and reads through one descriptor: a path could name another file in between. */
function readGuarded(fd: number, path: string, world: World): string {
  guard(fd, path, 0o600, world);
  return readFileSync(fd, "utf8");
}

function guard(fd: number, path: string, mode: number, world: World): void {
  // Windows keeps others out by its own lists, which no mode shows.
  if (world.host.platform === "win32") return;
  const found = fstatSync(fd);
  if (found.uid !== world.host.uid)
    throw refused(`${path} belongs to another user (uid ${found.uid}); it is left as it is`);
  if ((found.mode & 0o077) === 0) return;
  fchmodSync(fd, mode);
  world.stderr(`warning: ${path} was open to other users; it is now yours alone\n`);
}

function parseFile(path: string, text: string): File {
  try {
    return fileForm.parse(JSON.parse(text));
  } catch {
    // The cause would repeat what the file holds.
    throw refused(
      `${path} is damaged or of another version; it is left as it is. Move it away and run specgate login`,
    );
  }
}

function makeDir(dir: string, world: World): void {
  onDisk(dir, "made", () => {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    if (world.host.platform === "win32") return;
    const fd = openSync(dir, "r");
    try {
      guard(fd, dir, 0o700, world);
    } finally {
      closeSync(fd);
    }
  });
}

const lockWaitMs = 30_000;

async function takeLock(lockPath: string, path: string): Promise<Database> {
  const deadline = performance.now() + lockWaitMs;
  while (performance.now() < deadline) {
    const held = onDisk(lockPath, "locked", () => tryLock(lockPath));
    if (held !== undefined) return held;
    await Bun.sleep(25);
  }
  throw refused(`${path} is in use by another specgate command; try again`);
}

function tryLock(path: string): Database | undefined {
  // Made here, because SQLite would let everybody read it, and to read is enough to take part in the locking.
  closeSync(openSync(path, "a", 0o600));
  const database = new Database(path, { readwrite: true });
  try {
    database.run("PRAGMA busy_timeout = 0");
    database.run("BEGIN EXCLUSIVE");
    return database;
  } catch (error) {
    database.close();
    if (codeOf(error).startsWith("SQLITE_BUSY")) return undefined;
    throw error;
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function onDisk<T>(path: string, verb: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    throw refused(
      `${path} cannot be ${verb}: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    );
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : "";

const refused = (message: string, cause?: unknown): Failure =>
  new Failure("forbidden", "credentials_refused", message, { cause });
