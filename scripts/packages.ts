/**
 * The programs that the tests need besides Bun, and Debian's packages of them. Root gets them without being asked; anyone
 * else is told the command, and the tests that need them are skipped by name. In CI what is missing is a failure.
 */
import { existsSync } from "node:fs";

export type Program = {
  name: string;
  package: string;
  for: string;
  /** Where it is, when it is nothing that a shell would find. */
  path?: string;
};

export const chromium: Program = { name: "chromium", package: "chromium", for: "the browser tests" };

/** A server that speaks S3 and checks signatures: Ceph's gateway, and what it keeps its objects in. */
const s3 = "the tests of S3";
export const ceph: readonly Program[] = [
  { name: "radosgw", package: "radosgw", for: s3 },
  { name: "ceph-mon", package: "ceph-mon", for: s3 },
  { name: "ceph-osd", package: "ceph-osd", for: s3 },
  { name: "radosgw-admin", package: "ceph-common", for: s3 },
];

/** Signs S3's URLs independently of the SDK that the gateway signs with. */
export const botocore: Program = {
  name: "botocore",
  package: "python3-botocore",
  for: "the tests of signed URLs",
  path: "/usr/lib/python3/dist-packages/botocore/auth.py",
};

/** Shares limits between instances. */
export const redisServer: Program = {
  name: "redis-server",
  package: "redis-server",
  for: "the tests of shared limits",
};

/** Sets the clock of a database, which chooses the period of a budget. */
export const faketime: Program = { name: "faketime", package: "faketime", for: "the tests of midnights" };

const needed: readonly Program[] = [chromium, ...ceph, botocore, redisServer, faketime];

export function findProgram({ name, path }: Program): string | null {
  if (path === undefined) return Bun.which(name);
  return existsSync(path) ? path : null;
}

/** What to say about a program that is not there. */
export const howToGet = (program: Program): string =>
  `${program.for} need ${program.name}: sudo apt-get install ${program.package}`;

/** Installs what is missing, where it may. Returns a sentence for each program that is missing still. */
export async function installPackages(): Promise<string[]> {
  const missing = needed.filter((program) => findProgram(program) === null);
  if (missing.length > 0 && process.getuid?.() === 0 && Bun.which("apt-get") !== null) {
    const names = missing.map((program) => program.package);
    const uses = new Set(missing.map((program) => program.for));
    console.log(`installing ${names.join(", ")} for ${[...uses].join(", ")}`);
    // Without fresh lists a new machine finds nothing; with old ones it may still find what it needs.
    await apt("update");
    await apt("install", "-y", "--no-install-recommends", ...names);
  }
  return missing.filter((program) => findProgram(program) === null).map(howToGet);
}

async function apt(...args: string[]): Promise<void> {
  const child = Bun.spawn(["apt-get", "-qq", ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const words = await child.stderr.text();
  if ((await child.exited) !== 0) console.error(`apt-get ${args[0]} failed: ${words.trim()}`);
}

if (import.meta.main) {
  const missing = await installPackages();
  for (const sentence of missing) console.error(sentence);
  process.exit(missing.length === 0 ? 0 : 1);
}
