/**
 * The data dir: everything the gateway keeps on disk, one per instance.
 *
 * One process at a time holds it (data-dir-lock.ts). Files written here are whole or absent: written beside, synced,
 * renamed. Secrets are made once and readable by their owner alone. It is only ever made when the caller says so, so
 * that a mistyped path is an error and not an empty gateway.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { Failure } from "./failure.ts";
import { Secret } from "./secret.ts";

export type Epoch = {
  /** 1 at the first boot. */
  readonly epoch: number;
  /** Random at each boot, so that two copies of one data dir cannot pass for each other. */
  readonly nonce: string;
};

export type DataDir = {
  /** Absolute. */
  readonly path: string;
  /** The uuid of this instance, made with the dir. */
  readonly instance: string;
  /** A path inside. */
  file(name: string): string;
  /** One more than ever before, on disk when this returns. For `serve` alone, with the lock held. */
  nextEpoch(): Epoch;
  /** Random bytes made at the first call, the same ever after; 0600. */
  secretFile(name: string, bytes: number): Uint8Array;
};

export function openDataDir(path: string, options: { create: boolean }): DataDir {
  const absolute = resolve(path);
  if (!existsSync(absolute)) {
    if (!options.create) throw missing(absolute);
    makeDir(absolute);
  }
  const file = (name: string): string => `${absolute}/${name}`;
  return {
    path: absolute,
    instance: instanceOf(file("instance"), options.create, absolute),
    file,
    nextEpoch: () => raiseEpoch(file("epoch")),
    secretFile: (name, bytes) => secretAt(file(name), bytes),
  };
}

/** A text made at the first call, the same ever after; 0600. For secrets that are not plain random bytes. */
export function secretText(dir: DataDir, name: string, make: () => string): Secret {
  const path = dir.file(name);
  if (!existsSync(path)) writeWhole(path, make());
  return new Secret(readFileSync(path, "utf8"));
}

/** Names this run of the kernel: after a crash of the process alone it is the same, after a power cut another. */
export function bootId(platform: string): string {
  if (platform === "linux") return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return Bun.spawnSync({ cmd: ["sysctl", "-n", "kern.boottime"] })
    .stdout.toString()
    .trim();
}

/** Whole or not at all, also across a power cut. */
export function writeWhole(path: string, content: string | Uint8Array, mode = 0o600): void {
  const scratch = `${path}.${Bun.randomUUIDv7()}.new`;
  const fd = openSync(scratch, "wx", mode);
  try {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(scratch, path);
  syncDir(dirname(path));
}

/** A new name is on disk only when its directory is. */
export function syncDir(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function makeDir(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new Failure(
      "invalid",
      "data_dir_refused",
      `The data dir ${path} cannot be made: ${reason(cause)}.`,
      {
        cause,
      },
    );
  }
}

function instanceOf(path: string, create: boolean, dir: string): string {
  const found = readIfThere(path)?.trim();
  if (found !== undefined) {
    if (!/^[0-9a-f-]{36}$/.test(found)) throw damaged(path, "a uuid");
    return found;
  }
  if (!create) throw missing(dir);
  const made = crypto.randomUUID();
  writeWhole(path, `${made}\n`);
  return made;
}

function raiseEpoch(path: string): Epoch {
  const found = readIfThere(path);
  const last = found === undefined ? 0 : Number(found.split(" ")[0]);
  if (!Number.isSafeInteger(last) || last < 0) throw damaged(path, "a number and a nonce");
  const next = { epoch: last + 1, nonce: crypto.randomUUID() };
  writeWhole(path, `${next.epoch} ${next.nonce}\n`);
  return next;
}

function secretAt(path: string, bytes: number): Uint8Array {
  if (!existsSync(path)) writeWhole(path, crypto.getRandomValues(new Uint8Array(bytes)));
  const secret = new Uint8Array(readFileSync(path));
  if (secret.length !== bytes) throw damaged(path, `${bytes} bytes`);
  return secret;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw new Failure(
      "forbidden",
      "data_dir_refused",
      `${path} cannot be read: ${reason(cause)}. Run this as the user the gateway runs as.`,
      { cause },
    );
  }
}

const reason = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

const missing = (path: string): Failure =>
  new Failure(
    "missing",
    "data_dir_missing",
    `There is no SpecGate data dir at ${path}. Name the right one with --data-dir, or make it with \`specgate serve\` or \`specgate migrate\`.`,
  );

const damaged = (path: string, expected: string): Failure =>
  new Failure("invalid", "data_dir_damaged", `${path} is damaged: it should hold ${expected}.`);
