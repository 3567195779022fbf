/**
 * Directories and files below a root, reached one segment at a time from an open directory: what stands between two
 * segments can be swapped at any moment, and still nothing outside the root is opened.
 *
 * Linux has `/proc/self/fd/<n>/<segment>`, which is openat(2): the path begins in the open directory itself, wherever it
 * has been moved to. Elsewhere each way is compared with its real path after opening, which notices a link and loses to
 * somebody who swaps directories at the right moment. Links are never followed, inside the root neither; one file
 * system only; a file with a second name (a hard link) is refused, because its other name may lie outside.
 */
import { constants, type Dirent, type Stats } from "node:fs";
import {
  access,
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  unlink,
} from "node:fs/promises";
import { join } from "node:path";
import { Failure, notFound } from "../../platform/failure.ts";
import { type Ground, Own } from "./ground.ts";

const { W_OK, O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;
/** Without O_NONBLOCK, to open a pipe would wait for somebody at its other end. */
const reading = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;

/** What is laid beside a file before it takes the file's name; by its beginning it is told whose it is. */
export const partialStart = (name: string): string =>
  `.specgate-${new Bun.CryptoHasher("sha256").update(name).digest("hex").slice(0, 16)}`;

/** What a directory and those below it have in common. */
type Shared = { readonly device: number; readonly ground: Ground; readonly own: Own };

export class Directory implements AsyncDisposable {
  readonly #handle: FileHandle;
  /** A way to it that what lies in it can be appended to. */
  readonly #base: string;
  readonly #shared: Shared;

  private constructor(handle: FileHandle, base: string, shared: Shared) {
    const { descriptors } = shared.ground;
    this.#handle = handle;
    this.#base = descriptors === null ? base : `${descriptors}/${handle.fd}`;
    this.#shared = shared;
  }

  /** The operator's own path; links on the way to it are the operator's too. */
  static async openRoot(path: string, ground: Ground): Promise<Directory> {
    let handle: FileHandle | null = null;
    try {
      const root = await realpath(path);
      for (const own of ground.own)
        if (`${root}/`.startsWith(`${await realpath(own).catch(() => own)}/`)) throw isOwn(root);
      const own = await Own.find(ground.own);
      handle = await open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      const stats = await handle.stat();
      if (own.holds(stats)) throw isOwn(root);
      return new Directory(handle, root, { device: stats.dev, ground, own });
    } catch (cause) {
      await handle?.close();
      const message = "This workspace's directory cannot be opened. An operator has to look.";
      throw new Failure("unavailable", "workspace_unavailable", message, { cause });
    }
  }

  /** Null when nothing is there. */
  async enter(segment: string): Promise<Directory | null> {
    const path = join(this.#base, segment);
    const handle = await absentAsNull(open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (handle === null) return null;
    try {
      await this.#requireNoLink(path);
      const stats = await handle.stat();
      if (stats.dev !== this.#shared.device) throw notOpenable("Another disk begins here");
      this.#requireForeign(stats);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return new Directory(handle, path, this.#shared);
  }

  /** On disk when this returns; one that is there already will do. */
  async make(segment: string): Promise<void> {
    const made = await mkdir(join(this.#base, segment), 0o755).catch((error: unknown) => {
      if (codeOf(error) !== "EEXIST") throw error;
      return null;
    });
    if (made !== null) await this.#handle.sync();
  }

  /** A plain file with one name, open for reading; null when nothing is there. The caller closes it. */
  async openFile(name: string): Promise<{ handle: FileHandle; stats: Stats } | null> {
    const path = join(this.#base, name);
    const handle = await absentAsNull(open(path, reading));
    if (handle === null) return null;
    try {
      await this.#requireNoLink(path);
      const stats = await handle.stat();
      if (!stats.isFile()) throw notOpenable("This is no plain file");
      if (stats.nlink !== 1 && !(await this.#hasOneName(name, handle)))
        throw notOpenable("This file has a second name (a hard link)");
      this.#requireForeign(stats);
      return { handle, stats };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  entries(): Promise<Dirent[]> {
    return readdir(this.#base, { withFileTypes: true });
  }

  /** Of the name itself, not of what a link names; null when it has gone. */
  find(name: string): Promise<Stats | null> {
    return absentAsNull(lstat(join(this.#base, name)));
  }

  /** A file beside the others, whole and on disk under a name of its own; `like` lends it mode and owner. */
  async lay(partial: string, bytes: Uint8Array, like: Stats | null): Promise<void> {
    const path = join(this.#base, partial);
    await this.remove(partial);
    const handle = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, like === null ? 0o644 : 0o600);
    try {
      await handle.writeFile(bytes);
      if (like !== null) await dress(handle, like);
      await handle.sync();
    } catch (error) {
      await this.remove(partial);
      throw error;
    } finally {
      await handle.close();
    }
  }

  /** Throws 403 `not_permitted` for a file that its mode or its owner keeps from being written. */
  async requireWritable(name: string, { mode }: Stats): Promise<void> {
    // Root may write everything, and the rename asks nobody: what the operator took the right to write from stays.
    if ((mode & 0o222) === 0)
      throw notPermitted("The file is read-only; an operator has to let it be written.");
    await access(join(this.#base, name), W_OK);
  }

  /**
   * Gives what was laid its name: in place of `before`, which has to stand there still, or of nothing. False, and nothing
   * is done, when something else does. Not on disk before `sync`.
   */
  async publish(partial: string, name: string, before: Stats | null): Promise<boolean> {
    const [from, to] = [join(this.#base, partial), join(this.#base, name)];
    if (before === null) {
      const made = await this.#link(from, to);
      if (made !== null) return made;
    }
    const now = await absentAsNull(lstat(to));
    if (before === null ? now !== null : now === null || !isSame(before, now)) return false;
    await rename(from, to);
    return true;
  }

  sync(): Promise<void> {
    return this.#handle.sync();
  }

  async remove(name: string): Promise<void> {
    await absentAsNull(unlink(join(this.#base, name)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#handle.close();
  }

  /** Where descriptors have no names the whole way is walked anew each time, and has to be the same one still. */
  async #requireNoLink(path: string): Promise<void> {
    if (this.#shared.ground.descriptors !== null) return;
    if ((await realpath(path)) !== path) throw notOpenable("A link stands in the way");
  }

  /** By what it is, however it is called: the gateway's own may lie below the root. */
  #requireForeign(stats: Stats): void {
    if (this.#shared.own.holds(stats)) throw notOpenable("This is the gateway's own");
  }

  /** A second name that only the last step of a write had given it: it goes in a moment, or was left by a kill. */
  async #hasOneName(name: string, handle: FileHandle): Promise<boolean> {
    const { dev, ino, nlink } = await handle.stat();
    if (nlink !== 2) return nlink === 1;
    for (const partial of (await readdir(this.#base)).filter((other) =>
      other.startsWith(partialStart(name)),
    )) {
      const found = await this.find(partial);
      if (found?.ino === ino && found.dev === dev) return true;
    }
    return (await handle.stat()).nlink === 1;
  }

  /** The one way to a name that somebody else may take at the same moment. Null on disks that know no second names. */
  async #link(from: string, to: string): Promise<boolean | null> {
    try {
      await link(from, to);
    } catch (error) {
      const code = codeOf(error);
      if (code === "EEXIST") return false;
      if (linkless.has(code ?? "")) return null;
      throw error;
    }
    // Left behind it does no harm: the next write of this name takes it away.
    await unlink(from).catch(() => undefined);
    return true;
  }
}

const linkless = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

const isSame = (one: Stats, other: Stats): boolean =>
  one.ino === other.ino &&
  one.size === other.size &&
  one.mtimeMs === other.mtimeMs &&
  one.ctimeMs === other.ctimeMs;

const isOwn = (path: string): Error => new Error(`${path} is the gateway's own`);

/** The directory at the end of the way, with none of those before it still open; null when one of them is not there. */
export async function walk(
  root: Directory,
  segments: readonly string[],
  arrive: (directory: Directory, segment: string) => Promise<void> = async () => undefined,
): Promise<Directory | null> {
  let here = root;
  for (const segment of segments) {
    let next: Directory | null = null;
    try {
      await arrive(here, segment);
      next = await here.enter(segment);
    } finally {
      await here[Symbol.asyncDispose]();
    }
    if (next === null) return null;
    here = next;
  }
  return here;
}

/** All of it, or null when it is longer: a file may grow while it is read. */
export async function readAtMost(handle: FileHandle, bytesMax: number): Promise<Uint8Array | null> {
  const buffer = new Uint8Array(bytesMax + 1);
  let length = 0;
  while (length <= bytesMax) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length);
    if (bytesRead === 0) return buffer.subarray(0, length);
    length += bytesRead;
  }
  return null;
}

/** What the disk said, as the caller may know it. */
export function asWorkspaceFailure(error: unknown): unknown {
  const code = codeOf(error);
  if (error instanceof Failure || code === null) return error;
  const said = told[code];
  return said === undefined ? error : new Failure(said[0], said[1], said[2], { cause: error });
}

const told: Record<string, [ConstructorParameters<typeof Failure>[0], string, string]> = {
  ENOSPC: ["no_room", "no_room", "The workspace's disk has no room for this. An operator has to make some."],
  EDQUOT: ["no_room", "no_room", "The workspace's disk has no room for this. An operator has to make some."],
  EACCES: [
    "forbidden",
    "not_permitted",
    "The gateway's own user may not do this there; an operator has to let it.",
  ],
  EPERM: [
    "forbidden",
    "not_permitted",
    "The gateway's own user may not do this there; an operator has to let it.",
  ],
  EROFS: ["forbidden", "not_permitted", "The workspace's disk is read-only."],
  EISDIR: ["conflict", "is_directory", "A directory has this name."],
  ENXIO: ["forbidden", "not_openable", "This is no plain file; such are not opened here."],
  EEXIST: ["conflict", "busy", "Something else is writing this file. Read it again, then try again."],
  ENAMETOOLONG: ["invalid", "invalid_path", "The path is longer than the workspace's disk can hold."],
};

const codeOf = (error: unknown): string | null => {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : null;
  return typeof code === "string" ? code : null;
};

const notPermitted = (message: string): Failure => new Failure("forbidden", "not_permitted", message);

const notOpenable = (what: string): Failure =>
  new Failure("forbidden", "not_openable", `${what}; such are not opened here.`);

/** A link that is not followed is, to this kind of open, no directory or a loop. */
async function absentAsNull<Found>(found: Promise<Found>): Promise<Found | null> {
  try {
    return await found;
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT") return null;
    if (code === "ENOTDIR" || code === "ELOOP")
      throw notFound("The path leads through something that is no directory; links are never followed here.");
    throw error;
  }
}

/** A replaced file keeps who may read it. Only root may give a file away, and who is not root keeps its own. */
async function dress(handle: FileHandle, { mode, uid, gid }: Stats): Promise<void> {
  await handle.chown(uid, gid).catch(() => undefined);
  await handle.chmod(mode & 0o777);
}
