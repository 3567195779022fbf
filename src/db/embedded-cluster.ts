/**
 * Makes the embedded cluster: `initdb`, then the two roles and their database. Each step can be cut and repeated.
 */
import { spawnSync } from "node:child_process";
import {
  chownSync,
  existsSync,
  lchownSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { syncDir } from "../platform/data-dir.ts";
import { Failure } from "../platform/failure.ts";
import { connect, type Endpoint } from "./connection.ts";
import { type Home, initOwner, makePrivateDir, type Owner } from "./embedded-home.ts";

export type Passwords = { postgres: string; specgate_owner: string; specgate: string };

/** Made beside and renamed: a cluster under its right name is complete. */
export function ensureCluster(
  cluster: string,
  server: string,
  home: Home,
  made: { password: string; platform: string },
): void {
  if (!existsSync(cluster)) {
    const scratch = `${cluster}.new`;
    rmSync(scratch, { recursive: true, force: true });
    initialise(scratch, server, initOwner(home.owner), made);
    if (home.owner !== null) chownTree(`${scratch}/cluster`, home.owner);
    renameSync(`${scratch}/cluster`, cluster);
    syncDir(home.path);
    rmSync(scratch, { recursive: true, force: true });
  }
  // SPECGATE_POSTGRES_UID was changed since.
  if (home.owner !== null && statSync(cluster).uid !== home.owner.uid) chownTree(cluster, home.owner);
}

function initialise(
  scratch: string,
  server: string,
  owner: Owner | null,
  { password, platform }: { password: string; platform: string },
): void {
  makePrivateDir(scratch, owner);
  const passwordFile = `${scratch}/password`;
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (owner !== null) chownSync(passwordFile, owner.uid, owner.gid);
  const options = ["--username=postgres", "--auth=scram-sha-256", `--pwfile=${passwordFile}`];
  const locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"];
  // On disk before the first row is: one call for all files where the system has it, else file by file.
  const sync = platform === "linux" ? ["--sync-method=syncfs"] : [];
  const made = spawnSync(
    `${server}/bin/initdb`,
    ["-D", `${scratch}/cluster`, ...options, ...locale, "--no-instructions", ...sync],
    { cwd: server, env: { LC_ALL: "C", TZ: "UTC" }, encoding: "utf8", ...(owner ?? {}) },
  );
  if (made.status !== 0) throw notMade(made.error?.message ?? made.stderr);
}

function chownTree(folder: string, { uid, gid }: Owner): void {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true }))
    lchownSync(`${entry.parentPath}/${entry.name}`, uid, gid);
  lchownSync(folder, uid, gid);
}

export async function makeRoles(superuser: Endpoint, passwords: Passwords): Promise<void> {
  const sql = connect(superuser, {
    applicationName: "specgate",
    prepare: false,
    connectionsMax: 1,
    statementTimeoutMs: null,
  });
  try {
    for (const role of ["specgate_owner", "specgate"] as const) {
      const known = await sql`select from pg_roles where rolname = ${role}`;
      const verb = known.length > 0 ? "alter" : "create";
      await sql.unsafe(`${verb} role ${role} login password '${passwords[role]}'`);
    }
    const made = await sql`select from pg_database where datname = 'specgate'`;
    if (made.length === 0) await sql.unsafe("create database specgate owner specgate_owner");
    await sql.unsafe("revoke all on database postgres from public");
  } finally {
    await sql.end({ timeout: 1 });
  }
}

const notMade = (reason: string): Failure =>
  new Failure(
    "internal",
    "cluster_not_made",
    `The embedded PostgreSQL's cluster was not made: ${reason.trim()}. DATABASE_URL can name another server.`,
  );
