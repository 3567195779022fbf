/**
 * Directories and files below a root, reached one segment at a time from an open directory: what stands between two
 * segments can be swapped at any moment, and still nothing outside the root is opened.
 *
 * Linux has `/proc/self/fd/<n>/<segment>`, which is openat(2): the path begins in the open directory itself, wherever it
 * has been moved to. Elsewhere each way is compared with its real path after opening, which notices a link and loses to
 * somebody who swaps directories at the right moment. Links are never followed, inside the root neither; one file
 * system only; a file with a second name (a hard link) is refused, because its other name may lie outside.
 */
import { constants, type Dirent, existsSync, type Stats } from "node:fs";
import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  stat,
  unlink,
} from "node:fs/promises";
import { join } from "node:path";
import { Failure, notFound } from "../../platform/failure.ts";

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;
/** Without O_NONBLOCK, to open a pipe would wait for somebody at its other end. */
const reading = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;

/** Where open descriptors have names that lead on from them, or null. */
export const descriptorsHere = (): string | null => (existsSync("/proc/self/fd") ? "/proc/self/fd" : null);

/** What all directories of one gateway share. */
export type Ground = {
  /** Where open descriptors have names; null on a system without such. */
  readonly descriptors: string | null;
  /** The gateway's data directory and its configuration file: never opened, wherever they lie. */
  readonly own: readonly string[];
};

export class Directory implements AsyncDisposable {
  readonly #handle: FileHandle;
  /** A way to it that what lies in it can be appended to. */
  readonly #base: string;
  readonly #device: number;
  readonly #ground: Ground;

  private constructor(handle: FileHandle, base: string, device: number, ground: Ground) {
    this.#handle = handle;
    this.#base = ground.descriptors === null ? base : `${ground.descriptors}/${handle.fd}`;
    this.#device = device;
    this.#ground = ground;
  }

  /** The operator's own path; links on the way to it are the operator's too. */
  static async openRoot(root: string, ground: Ground): Promise<Directory> {
    try {
      const path = await realpath(root);
      for (const own of ground.own)
        if (`${path}/`.startsWith(`${await realpath(own).catch(() => own)}/`))
          throw new Error(`${path} is the gateway's own`);
      const handle = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      return new Directory(handle, path, (await handle.stat()).dev, ground);
    } catch (cause) {
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
      if (stats.dev !== this.#device) throw notOpenable("Another disk begins here");
      await this.#requireForeign(stats);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return new Directory(handle, path, this.#device, this.#ground);
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
      if (stats.nlink !== 1) throw notOpenable("This file has a second name (a hard link)");
      await this.#requireForeign(stats);
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

  /** Takes the place of whatever had the name. */
  async publish(partial: string, name: string): Promise<void> {
    await rename(join(this.#base, partial), join(this.#base, name));
    await this.#handle.sync();
  }

  async remove(name: string): Promise<void> {
    await absentAsNull(unlink(join(this.#base, name)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#handle.close();
  }

  /** Where descriptors have no names the whole way is walked anew each time, and has to be the same one still. */
  async #requireNoLink(path: string): Promise<void> {
    if (this.#ground.descriptors !== null) return;
    if ((await realpath(path)) !== path) throw notOpenable("A link stands in the way");
  }

  /** By what it is, however it is called: the gateway's own may lie below the root. */
  async #requireForeign({ dev, ino }: Stats): Promise<void> {
    for (const own of this.#ground.own) {
      const found = await absentAsNull(stat(own));
      if (found?.dev === dev && found.ino === ino) throw notOpenable("This is the gateway's own");
    }
  }
}

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
