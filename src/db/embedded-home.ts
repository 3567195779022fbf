/**
 * Where the embedded cluster lives and under which user it runs.
 *
 * PostgreSQL refuses to run as root. A gateway that is root gives the cluster to an unprivileged user of its own; that
 * user must be able to walk to the cluster, so under a closed parent (such as /root) it lives in /var/lib/specgate.
 */
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { DataDir } from "../platform/data-dir.ts";
import { Failure } from "../platform/failure.ts";
import type { Host } from "../platform/host.ts";

export type Home = {
  /** Holds the unpacked server, `cluster`, `socket` and `postgres.log`. */
  readonly path: string;
  /** Null: the gateway's own user. */
  readonly owner: Owner | null;
};

export type Owner = { readonly uid: number; readonly gid: number };

export function findHome(
  dir: DataDir,
  host: Host,
  wanted: { postgresUid: number | null; remembered: Owner | null },
): Home {
  const inside = dir.file("postgres");
  if (host.uid !== 0) {
    mkdirSync(inside, { recursive: true, mode: 0o700 });
    return { path: inside, owner: null };
  }
  refuseForeign(inside, wanted.remembered);
  const owner = chooseOwner(dir.instance, wanted);
  // Others may then pass through, not look around; every file in the data dir is closed by itself.
  chmodSync(dir.path, statSync(dir.path).mode | 0o011);
  const outside = `/var/lib/specgate/${dir.instance}`;
  const walled = wallBefore(dir.path, owner);
  if (walled !== null && existsSync(`${inside}/cluster`)) throw walledIn(dir.path, walled, owner);
  const path = walled !== null || existsSync(`${outside}/cluster`) ? outside : inside;
  mkdirSync(path, { recursive: true, mode: 0o755 });
  return { path, owner };
}

/** One command of root's would take the files away from the ordinary user who runs the gateway. */
function refuseForeign(inside: string, remembered: Owner | null): void {
  const cluster = `${inside}/cluster`;
  const uid = remembered === null ? statSync(cluster, { throwIfNoEntry: false })?.uid : undefined;
  if (uid === undefined || uid === 0) return;
  throw new Failure(
    "conflict",
    "data_dir_foreign",
    `The data dir with ${cluster} belongs to user ${uid}. Run this as that user, such as with sudo -u '#${uid}'.`,
  );
}

/** A directory that belongs to the cluster's user and to nobody else. */
export function makePrivateDir(path: string, owner: Owner | null): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  chmodSync(path, 0o700);
  if (owner !== null) chownSync(path, owner.uid, owner.gid);
}

/**
 * Who runs `initdb`, which wants a user with a name: the owner if it has one, else any unprivileged account for that
 * second, after which the files are given to the owner.
 */
export function initOwner(owner: Owner | null): Owner | null {
  if (owner === null) return null;
  const accounts = readAccounts().filter(({ uid }) => uid > 0 && uid < 65_534);
  return accounts.find(({ uid }) => uid === owner.uid) ?? accounts[0] ?? owner;
}

/** The first directory on the way that this user cannot pass, or null. */
function wallBefore(path: string, owner: Owner): string | null {
  const parent = dirname(path);
  const before = parent === path ? null : wallBefore(parent, owner);
  if (before !== null) return before;
  const { mode, uid, gid } = statSync(path);
  const bit = uid === owner.uid ? 0o100 : gid === owner.gid ? 0o010 : 0o001;
  return (mode & bit) === 0 ? path : null;
}

function chooseOwner(
  instance: string,
  wanted: { postgresUid: number | null; remembered: Owner | null },
): Owner {
  const accounts = readAccounts();
  if (wanted.postgresUid !== null) {
    const account = accounts.find(({ uid }) => uid === wanted.postgresUid);
    return account ?? { uid: wanted.postgresUid, gid: wanted.postgresUid };
  }
  const named = accounts.find(({ name }) => name === "specgate");
  return wanted.remembered ?? named ?? freeOwner(instance, accounts);
}

/** A range that no distribution hands out; never 65534, which strangers share. Spread, so that instances differ. */
const uids = { first: 60_706, count: 478 };

function freeOwner(instance: string, accounts: readonly Owner[]): Owner {
  const taken = new Set([...accounts.map(({ uid }) => uid), ...uidsAtWork()]);
  const start = Number(BigInt(Bun.hash(instance)) % BigInt(uids.count));
  for (let step = 0; step < uids.count; step++) {
    const uid = uids.first + ((start + step) % uids.count);
    if (!taken.has(uid)) return { uid, gid: uid };
  }
  throw new Failure(
    "invalid",
    "no_free_uid",
    "No unused user id was found for the embedded PostgreSQL: set SPECGATE_POSTGRES_UID.",
  );
}

function readAccounts(): (Owner & { name: string })[] {
  if (!existsSync("/etc/passwd")) return [];
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  return lines
    .map((line) => line.split(":"))
    .filter((fields) => fields.length > 3)
    .map((fields) => ({ name: fields[0] ?? "", uid: Number(fields[2]), gid: Number(fields[3]) }));
}

function uidsAtWork(): number[] {
  if (!existsSync("/proc")) return [];
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid ?? []);
}

const walledIn = (path: string, wall: string, owner: Owner): Failure =>
  new Failure(
    "invalid",
    "cluster_unreachable",
    `The embedded PostgreSQL in ${path} runs as user ${owner.uid}, who may not pass through ${wall}. Allow it (chmod o+x ${wall}), or move the data dir.`,
  );
