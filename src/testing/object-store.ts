/**
 * A real server that speaks S3 and checks every signature: Ceph's RADOS Gateway over a cluster of one, all of it in memory.
 * One serves a whole test run, from the first moment somebody asks for it.
 *
 * Nothing outlives whoever started it, not even one that was killed: a guard ends the server and removes its files as soon
 * as the pipe from here closes. By itself (`bun src/testing/object-store.ts`) it serves until it is stopped.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { env } from "node:process";
import { CreateBucketCommand, PutBucketCorsCommand, S3Client } from "@aws-sdk/client-s3";
import { ceph, findProgram, howToGet } from "../../scripts/packages.ts";

export type TestObjectStore = {
  /** An origin; buckets are the first segment of the path. */
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Makes a bucket, of a name nobody used unless one is given. */
  bucket(name?: string): Promise<string>;
  /** Lets pages of these origins put and get, with the headers that signed URLs ask for. */
  cors(bucket: string, origins: readonly string[]): Promise<void>;
  /** SIGSTOP and SIGCONT: a server that is reached and never answers. */
  freeze(): void;
  thaw(): void;
  /** Ends it for everybody in this process; nobody has to. */
  close(): Promise<void>;
};

const missing = ceph.filter((program) => findProgram(program) === null);

/** Where Ceph is missing its tests are skipped; in CI they fail instead, and say what is missing. */
export const isMissing: boolean = missing.length > 0 && !env.CI;

export function startObjectStore(): Promise<TestObjectStore> {
  shared ??= start();
  return shared;
}

let shared: Promise<TestObjectStore> | null = null;

async function start(): Promise<TestObjectStore> {
  if (missing.length > 0) throw new Error(missing.map(howToGet).join("\n"));
  const keys = { accessKeyId: `GW${randomHex(9)}`.toUpperCase(), secretAccessKey: randomHex(20) };
  const cluster = await startCluster(keys);
  const client = new S3Client({
    endpoint: cluster.endpoint,
    region,
    credentials: keys,
    forcePathStyle: true,
  });
  return {
    endpoint: cluster.endpoint,
    region,
    ...keys,
    async bucket(name = `test-${randomHex(8)}`) {
      await client.send(new CreateBucketCommand({ Bucket: name }));
      return name;
    },
    async cors(bucket, origins) {
      const headers = ["content-type", "if-none-match", "x-amz-checksum-sha256"];
      const rule = { AllowedOrigins: [...origins], AllowedMethods: ["PUT", "GET"], AllowedHeaders: headers };
      const CORSConfiguration = { CORSRules: [{ ...rule, ExposeHeaders: ["ETag"], MaxAgeSeconds: 600 }] };
      await client.send(new PutBucketCorsCommand({ Bucket: bucket, CORSConfiguration }));
    },
    freeze: () => cluster.signal("SIGSTOP"),
    thaw: () => cluster.signal("SIGCONT"),
    async close() {
      shared = null;
      client.destroy();
      await cluster.stop();
    },
  };
}

const region = "us-east-1";
const randomHex = (bytes: number): string =>
  Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString("hex");

type Cluster = { endpoint: string; signal(name: NodeJS.Signals): void; stop(): Promise<void> };
type Keys = { accessKeyId: string; secretAccessKey: string };

/** Monitor, store, gateway, user, each as soon as the one before answers: a second in all. */
async function startCluster(keys: Keys): Promise<Cluster> {
  const dir = mkdtempSync(`${tmpdir()}/specgate-s3-`);
  const guard = startGuard(dir);
  try {
    const port = await freePorts();
    const conf = await writeCluster(dir, port);
    const daemon = (program: string, ...args: string[]) =>
      startDaemon(dir, guard, program, [...conf, ...args]);
    await run(dir, "ceph-mon", ...conf, "--mkfs", "-i", "a", "--monmap", "monmap", "--osdmap", "osdmap");
    const mon = daemon("ceph-mon", "-i", "a", "-f");
    await orEnded(run(dir, "ceph-osd", ...conf, "-i", "0", "--mkfs"), mon);
    const osd = daemon("ceph-osd", "-i", "0", "-f");
    const rgw = daemon("radosgw", "-n", "client.rgw.a", "-f");
    const endpoint = `http://127.0.0.1:${port + ports.gateway}`;
    await orEnded(answers(endpoint), mon, osd, rgw);
    const { accessKeyId, secretAccessKey } = keys;
    const user = ["--uid=gw", "--display-name=gw", `--access-key=${accessKeyId}`];
    await run(dir, "radosgw-admin", ...conf, "user", "create", ...user, `--secret-key=${secretAccessKey}`);
    return { endpoint, signal: (name) => rgw.process.kill(name), stop: guard.end };
  } catch (error) {
    await guard.end();
    throw error;
  }
}

type Guard = { watch(pid: number): void; end(): Promise<void> };

/** Is told each daemon's number, and ends them when it is told no more, however that came about. */
function startGuard(dir: string): Guard {
  // A number that has become somebody else's by now does not have our directory on its command line.
  const script = `trap "" INT TERM HUP
    while read -r pid; do pids="$pids $pid"; done
    for pid in $pids; do grep -qF "$1" "/proc/$pid/cmdline" 2>/dev/null && kill -KILL "$pid"; done
    rm -rf "$1"`;
  const child = Bun.spawn(["sh", "-c", script, "guard", dir], {
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
  });
  child.unref();
  return {
    watch(pid) {
      child.stdin.write(`${pid}\n`);
      void child.stdin.flush();
    },
    async end() {
      await child.stdin.end();
      await child.exited;
    },
  };
}

type Daemon = { process: Bun.Subprocess; ended: Promise<never> };

function startDaemon(dir: string, guard: Guard, program: string, args: readonly string[]): Daemon {
  const log = `${dir}/log/${program}.out`;
  const file = Bun.file(log);
  const child = Bun.spawn([program, ...args], { cwd: dir, stdin: "ignore", stdout: file, stderr: file });
  guard.watch(child.pid);
  child.unref();
  const ended = child.exited.then((code): never => {
    throw new Error(`${program} ended with ${code}: ${readFileSync(log, "utf8").slice(-2_000)}`);
  });
  ended.catch(() => {});
  return { process: child, ended };
}

const orEnded = <T>(done: Promise<T>, ...daemons: readonly Daemon[]): Promise<T> =>
  Promise.race([done, ...daemons.map(({ ended }) => ended)]);

async function answers(endpoint: string): Promise<void> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await Bun.sleep(20)) {
    const answer = await fetch(endpoint).catch(() => null);
    if (answer?.ok) return;
  }
  throw new Error(`the object store at ${endpoint} did not answer for a minute`);
}

async function run(dir: string, program: string, ...args: readonly string[]): Promise<void> {
  const child = Bun.spawn([program, ...args], { cwd: dir, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`${program} failed: ${(out + err).slice(-2_000)}`);
}

/** Offsets from the first of a row of free ports. */
const ports = { monitor: 0, gateway: 1, storeFirst: 2, storeLast: 15 };

/** Below 32768, where the kernel does not take ports for connections of its own. */
async function freePorts(): Promise<number> {
  for (let tries = 0; tries < 50; tries++) {
    const first = 16_384 + 16 * Math.floor(Math.random() * 1_000);
    const row = Array.from({ length: 16 }, (_, i) => first + i);
    if ((await Promise.all(row.map(isFree))).every(Boolean)) return first;
  }
  throw new Error("no sixteen free ports in a row below 32768");
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });

/** Keys and maps of a cluster that has its one disk already, so that nobody waits for it to be made known. */
async function writeCluster(dir: string, port: number): Promise<string[]> {
  for (const name of ["mon", "osd", "rgw", "run", "log"]) mkdirSync(`${dir}/${name}`);
  const id = crypto.randomUUID();
  const conf = ["-c", `${dir}/ceph.conf`];
  writeFileSync(`${dir}/ceph.conf`, configOf(dir, port, id));
  const caps = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"];
  await run(dir, "ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "mon.", ...caps);
  for (const name of ["client.admin", "osd.0", "client.rgw.a"]) {
    await run(dir, "ceph-authtool", "keyring", "--gen-key", "-n", name, ...caps);
  }
  // Both look there, whatever `keyring` says.
  copyFileSync(`${dir}/keyring`, `${dir}/osd/keyring`);
  copyFileSync(`${dir}/keyring`, `${dir}/rgw/keyring`);
  const address = `[v2:127.0.0.1:${port + ports.monitor}]`;
  await run(dir, "monmaptool", "--create", "--fsid", id, "--addv", "a", address, "monmap");
  await run(dir, "osdmaptool", ...conf, "--createsimple", "1", "osdmap");
  return conf;
}

/** What is not about places is about time: short rounds of the monitor, and one shard where there would be many. */
const configOf = (dir: string, port: number, id: string): string => `[global]
fsid = ${id}
mon host = v2:127.0.0.1:${port + ports.monitor}
public network = 127.0.0.0/8
ms bind ipv6 = false
ms bind msgr1 = false
ms bind port min = ${port + ports.storeFirst}
ms bind port max = ${port + ports.storeLast}
keyring = ${dir}/keyring
run dir = ${dir}/run
admin socket = ${dir}/run/$name.asok
log file = ${dir}/log/$name.log
crash dir = ${dir}/log
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
paxos propose interval = 0.01
paxos min wait = 0.01
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
rgw enable gc threads = false
rgw enable lc threads = false
rgw run sync thread = false
rgw dynamic resharding = false
rgw override bucket index max shards = 1
rgw gc max objs = 1
rgw lc max objs = 1
rgw usage max shards = 1
rgw data log num shards = 1
rgw md log max shards = 1
rgw objexp hints num shards = 1
rgw rados pool pg num min = 1
[mon]
mon data = ${dir}/mon
mon cluster log file = ${dir}/log/cluster.log
[osd]
osd data = ${dir}/osd
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:${port + ports.gateway}
rgw data = ${dir}/rgw
`;

if (import.meta.main) {
  const { endpoint, accessKeyId, secretAccessKey, bucket } = await startObjectStore();
  const line = { endpoint, region, accessKeyId, secretAccessKey, bucket: await bucket() };
  console.log(JSON.stringify(line, null, 2));
  await new Promise((resolve) => setInterval(resolve, 2 ** 31 - 1));
}
