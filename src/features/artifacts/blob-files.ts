/**
 * The local store's directory: where a key's file is, and how files come and go there without a trace of half of one.
 *
 * Every key is checked here once more, and so is the way to it: no key and no symbolic link leads out of the root, even
 * for somebody who could sign. A file has its name only when all of it is on disk, and keeps it once it has it.
 */
import { type BigIntStats, constants } from "node:fs";
import {
  access,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  rmdir,
  statfs,
  unlink,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { Failure } from "../../platform/failure.ts";
import type { BlobFile, OpenBlob } from "./blob-download.ts";
import type { ListedObject } from "./object-store.ts";

const segmentForm = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;

/** No segment starts with a dot, so neither `..` nor the store's own `.partial` can be named. */
export const isKey = (key: string): boolean =>
  key.length <= 1024 && key.split("/").every((segment) => segmentForm.test(segment));

export class BlobFiles {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** Null when there is nothing. Anything but a plain file is a fault of the store. */
  async find(key: string): Promise<BlobFile | null> {
    const path = await this.#locate(key);
    const found = path === null ? null : await absentAsNull(lstat(path, { bigint: true }));
    if (path === null || found === null) return null;
    if (!found.isFile()) throw unavailable(`${key} is no plain file`);
    return { path, sizeBytes: Number(found.size), etag: etagOf(found) };
  }

  /** The same, opened; the caller closes it. What is removed from now on can still be read. */
  async open(key: string): Promise<OpenBlob | null> {
    const found = await this.find(key);
    if (found === null) return null;
    const handle = await absentAsNull(open(found.path, constants.O_RDONLY | constants.O_NOFOLLOW));
    return handle === null ? null : { ...found, handle };
  }

  /** A path for bytes that are still coming, on the same file system. */
  newPartial(): string {
    return join(this.#partials, Bun.randomUUIDv7());
  }

  /**
   * Gives what is whole its name, on disk when this returns; its ETag. The caller has made sure that the name is free.
   */
  async publish(partial: string, key: string): Promise<string> {
    const etag = etagOf(await lstat(partial, { bigint: true }));
    // A removal may take an empty directory away between making it and using it.
    for (let attempt = 1; (await absentAsNull(this.#rename(partial, key))) === null; attempt++)
      if (attempt === 100) throw unavailable(`the directory of ${key} does not stay`);
    // Other uploads may have made directories here that they have not synced yet: so all of them, up to the root.
    for (let path = key; path !== "."; path = dirname(path))
      await absentAsNull(syncDirectory(join(this.#root, dirname(path))));
    return etag;
  }

  /** With the directories that are empty without it. */
  async remove(key: string): Promise<void> {
    const path = await this.#locate(key);
    if (path === null) return;
    await absentAsNull(unlink(path));
    let directory = dirname(path);
    const root = await realpath(this.#root);
    while (directory !== root && (await rmdirIfEmpty(directory))) directory = dirname(directory);
    await absentAsNull(syncDirectory(directory));
  }

  /** What begins with the prefix, as a text; links and files of others are passed over. */
  async *list(prefix: string): AsyncIterable<ListedObject> {
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    if (folder !== "" && !isKey(folder.slice(0, -1))) return;
    for await (const found of this.#walk(folder)) if (found.key.startsWith(prefix)) yield found;
  }

  /** Bytes that this process may still write. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#root);
    return bavail * bsize;
  }

  /** Makes the directories that uploads begin in. Rejects while nothing can be written there. */
  async checkWritable(): Promise<void> {
    await mkdirDurably(this.#partials);
    await access(this.#partials, constants.W_OK | constants.X_OK);
  }

  /** What a killed process left behind; returns how many. For whoever holds the data dir. */
  async sweepPartials(before: number): Promise<number> {
    let swept = 0;
    for (const name of (await absentAsNull(readdir(this.#partials))) ?? []) {
      const path = join(this.#partials, name);
      const found = await absentAsNull(lstat(path));
      if (found === null || found.mtimeMs > before) continue;
      await absentAsNull(unlink(path));
      swept++;
    }
    return swept;
  }

  get #partials(): string {
    return join(this.#root, ".partial");
  }

  async *#walk(folder: string): AsyncIterable<ListedObject> {
    const path = join(this.#root, folder);
    for (const entry of (await absentAsNull(readdir(path, { withFileTypes: true }))) ?? []) {
      if (!segmentForm.test(entry.name)) continue;
      const key = folder + entry.name;
      if (entry.isDirectory()) yield* this.#walk(`${key}/`);
      if (!entry.isFile()) continue;
      const found = await absentAsNull(lstat(join(path, entry.name)));
      if (found !== null) yield { key, sizeBytes: found.size, modifiedAt: found.mtime };
    }
  }

  /** The path of a key whose directory is there, else null. */
  async #locate(key: string): Promise<string | null> {
    if (!isKey(key)) throw unavailable(`${JSON.stringify(key)} is no key`);
    const root = await absentAsNull(realpath(this.#root));
    const parent = root === null ? null : await absentAsNull(realpath(dirname(join(root, key))));
    if (root === null || parent === null) return null;
    if (parent !== dirname(join(root, key))) throw unavailable(`a link stands in the way of ${key}`);
    return join(root, key);
  }

  /** Null when a directory was gone again. */
  async #rename(partial: string, key: string): Promise<true | null> {
    await mkdir(dirname(join(this.#root, key)), { recursive: true, mode: 0o700 });
    const path = await this.#locate(key);
    if (path === null) return null;
    await rename(partial, path);
    return true;
  }
}

/** What went wrong with the disk, as the caller may know it. */
export function asStorageFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  const { code } = error as { code?: unknown };
  return code === "ENOSPC" || code === "EDQUOT" ? noRoom(error) : unavailable(error);
}

export const noRoom = (cause?: unknown): Failure =>
  new Failure(
    "no_room",
    "no_room",
    "The gateway's disk has no room for this. An operator has to make some.",
    {
      cause,
    },
  );

export const closing = (): Failure =>
  new Failure("unavailable", "storage_unavailable", "The gateway is shutting down. Try again.", {
    retryAfterSeconds: 5,
  });

const unavailable = (cause: unknown): Failure =>
  new Failure(
    "unavailable",
    "storage_unavailable",
    "The gateway's storage cannot be used right now. Try again.",
    {
      cause,
    },
  );

/** Objects never change, so size and time tell one from another of the same name. */
const etagOf = ({ size, mtimeNs }: BigIntStats): string => `${size.toString(16)}-${mtimeNs.toString(16)}`;

async function absentAsNull<Found>(found: Promise<Found>): Promise<Found | null> {
  try {
    return await found;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw error;
  }
}

/** False when something is in it. */
async function rmdirIfEmpty(path: string): Promise<boolean> {
  try {
    await absentAsNull(rmdir(path));
    return true;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ENOTEMPTY" || code === "EEXIST") return false;
    throw error;
  }
}

/** A new name is on disk only when its directory is. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function mkdirDurably(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = path; made !== dirname(first); made = dirname(made)) await syncDirectory(dirname(made));
}
