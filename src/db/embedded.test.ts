import { afterAll, expect, test } from "bun:test";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { execPath, kill } from "node:process";
import { type DataDir, openDataDir } from "../platform/data-dir.ts";
import { silentLog } from "../platform/log.ts";
import { host, ownCluster, scratchDir, testDir } from "../testing/cluster.ts";
import { connect, type Endpoint } from "./connection.ts";
import { embeddedEndpoints } from "./embedded.ts";
import { findPostmaster } from "./embedded-process.ts";

const plain = { applicationName: "test", prepare: false, connectionsMax: 1, statementTimeoutMs: null };

async function ask(endpoint: Endpoint, question: string): Promise<Record<string, unknown> | undefined> {
  const sql = connect(endpoint, plain);
  try {
    const [row] = await sql.unsafe(question);
    return row;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

const outside: string[] = [];
afterAll(() => {
  for (const path of outside) rmSync(path, { recursive: true, force: true });
});

test("the embedded server listens on a socket alone, wants a password, and writes to disk before it answers", async () => {
  const cluster = await ownCluster();
  const { gateway, superuser } = cluster.embedded;
  for (const [name, value] of [
    ["listen_addresses", ""],
    ["fsync", "on"],
    ["synchronous_commit", "on"],
    ["client_connection_check_interval", "1s"],
    ["idle_in_transaction_session_timeout", "10s"],
    ["data_checksums", "on"],
  ])
    expect(await ask(superuser, `select current_setting('${name}') as value`)).toEqual({ value });
  expect(
    await ask(superuser, "select count(*) as open from pg_hba_file_rules where auth_method = 'trust'"),
  ).toEqual({
    open: 0,
  });
  if (gateway.kind !== "socket") throw new Error("not a socket");
  expect((statSync(gateway.directory).mode & 0o777).toString(8)).toBe("700");
  expect((statSync(cluster.dir.file("postgres.json")).mode & 0o777).toString(8)).toBe("600");
  expect(await ask(gateway, "select lower('É') as lower, 'a' < 'B' as icu")).toEqual({
    lower: "é",
    icu: false,
  });
  await cluster.stop();
});

test("a command beside the gateway finds the database without starting anything", async () => {
  const dir = testDir();
  expect(embeddedEndpoints(dir)).toBeNull();
  const cluster = await ownCluster({ dir });
  const found = embeddedEndpoints(openDataDir(dir.path, { create: false }));
  expect(await ask(found?.gateway as Endpoint, "select current_user as name")).toEqual({ name: "specgate" });
  await cluster.stop();
});

test("another cluster's server is not taken for one's own because the paths begin alike", async () => {
  const cluster = await ownCluster();
  const path = cluster.dir.file("postgres/cluster");
  const alike = cluster.dir.file("postgres/clu");
  mkdirSync(alike);
  copyFileSync(`${path}/postmaster.pid`, `${alike}/postmaster.pid`);
  expect(findPostmaster(alike)).toBeNull();
  expect(findPostmaster(path)?.pid).toBe(cluster.embedded.pid());
  await cluster.stop();
});

test("what was written is there after a stop and a start, which takes a quarter of a second", async () => {
  const first = await ownCluster();
  await ask(first.embedded.gateway, "insert into projects (id, name) values ('prj_1', 'kept')");
  await first.stop();
  const began = performance.now();
  const second = await ownCluster({ dir: first.dir });
  const took = performance.now() - began;
  expect(await ask(second.embedded.gateway, "select name from projects")).toEqual({ name: "kept" });
  expect(took).toBeLessThan(1_000);
  await second.stop();
});

/** Starts the server of a data dir in a process of its own, which is then killed as a gateway might be. */
async function leaveRunning(dir: DataDir): Promise<void> {
  const source = `
    import { startEmbedded } from "${import.meta.dir}/embedded.ts";
    import { type DataDir, openDataDir } from "${import.meta.dir}/../platform/data-dir.ts";
    import { silentLog as log } from "${import.meta.dir}/../platform/log.ts";
    const dir = openDataDir(${JSON.stringify(dir.path)}, { create: false });
    await startEmbedded({ dir, host: ${JSON.stringify(host)}, postgresUid: null, log });
    console.log("up");`;
  const gateway = Bun.spawn({ cmd: [execPath, "-e", source], stdout: "pipe" });
  await gateway.stdout.getReader().read();
  gateway.kill("SIGKILL");
  await gateway.exited;
}

test("a server that a killed gateway left running is taken over; with other settings it is stopped first", async () => {
  const dir = testDir();
  await leaveRunning(dir);
  const pid = findPostmaster(`${dir.file("postgres")}/cluster`)?.pid;
  expect(pid).toBeGreaterThan(0);
  const same = await ownCluster({ dir });
  expect(same.embedded.pid()).toBe(pid ?? 0);
  await same.stop();
  await leaveRunning(dir);
  const other = await ownCluster({ dir, settings: { work_mem: "5MB" } });
  expect(await ask(other.embedded.superuser, "show work_mem")).toEqual({ work_mem: "5MB" });
  await other.stop();
});

test("a postmaster killed alone is followed by a new one, once its backends are gone", async () => {
  const errors: string[] = [];
  const cluster = await ownCluster({ log: { ...silentLog, error: (event) => errors.push(event) } });
  const killed = cluster.embedded.pid();
  const busy = connect(cluster.embedded.gateway, plain);
  // Computes without ever waiting, so it does not see for a while that its postmaster is gone.
  const computing = busy`select count(*) from generate_series(1, 10000000)`.catch((error) => error);
  await Bun.sleep(200);
  kill(killed, "SIGKILL");
  while (cluster.embedded.pid() === killed) await Bun.sleep(20);
  expect(await ask(cluster.embedded.gateway, "select 1 as one")).toEqual({ one: 1 });
  expect(errors).toEqual([]);
  await computing;
  await busy.end({ timeout: 0 });
  await cluster.stop();
});

test("a pid file that names a stranger's process harms nobody", async () => {
  const cluster = await ownCluster();
  const home = cluster.dir.file("postgres");
  await cluster.stop();
  const stranger = Bun.spawn({ cmd: ["sleep", "60"] });
  await Bun.write(`${home}/cluster/postmaster.pid`, `${stranger.pid}\n${home}/cluster\n`);
  await Bun.write(`${home}/socket/.s.PGSQL.5432.lock`, `${stranger.pid}\n${home}/cluster\n`);
  const again = await ownCluster({ dir: cluster.dir });
  expect(await ask(again.embedded.gateway, "select 1 as one")).toEqual({ one: 1 });
  expect(stranger.killed).toBe(false);
  kill(stranger.pid, 0);
  stranger.kill();
  await again.stop();
});

test("a first start that was cut short begins anew", async () => {
  const dir = testDir();
  mkdirSync(`${dir.file("postgres")}/cluster.new/cluster`, { recursive: true });
  const cluster = await ownCluster({ dir });
  expect(await ask(cluster.embedded.gateway, "select 1 as one")).toEqual({ one: 1 });
  expect(existsSync(`${dir.file("postgres")}/cluster.new`)).toBe(false);
  await cluster.stop();
});

test("a long path gets its socket in a short one", async () => {
  const long = `${scratchDir()}/${"x".repeat(90)}`;
  const cluster = await ownCluster({ dir: openDataDir(long, { create: true }) });
  const { gateway } = cluster.embedded;
  if (gateway.kind !== "socket") throw new Error("not a socket");
  expect(gateway.directory).toMatch(/^\/tmp\/specgate-/);
  outside.push(gateway.directory);
  expect(await ask(gateway, "select 1 as one")).toEqual({ one: 1 });
  await cluster.stop();
});

test.if(host.uid === 0)("root's server runs as a user of its own, which is remembered", async () => {
  const cluster = await ownCluster();
  const uidOf = (pid: number) =>
    Number(/^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  const uid = uidOf(cluster.embedded.pid());
  expect(uid).toBeGreaterThan(0);
  expect(uid).not.toBe(65_534);
  const groups = /^Groups:\t(.*)$/m.exec(readFileSync(`/proc/${cluster.embedded.pid()}/status`, "utf8"))?.[1];
  expect(groups?.trim().split(/\s+/)).not.toContain("0");
  await cluster.stop();
  const again = await ownCluster({ dir: cluster.dir });
  expect(uidOf(again.embedded.pid())).toBe(uid);
  await again.stop();
});

test.if(host.uid === 0)(
  "under a parent that is closed to that user the cluster lives in /var/lib/specgate",
  async () => {
    const parent = scratchDir();
    chmodSync(parent, 0o700);
    const dir = openDataDir(`${parent}/data`, { create: true });
    outside.push(`/var/lib/specgate/${dir.instance}`);
    const cluster = await ownCluster({ dir });
    expect(existsSync(`/var/lib/specgate/${dir.instance}/cluster`)).toBe(true);
    expect(await ask(cluster.embedded.gateway, "select 1 as one")).toEqual({ one: 1 });
    await cluster.stop();
    const again = await ownCluster({ dir });
    expect(await ask(again.embedded.gateway, "select 1 as one")).toEqual({ one: 1 });
    await again.stop();
  },
);
