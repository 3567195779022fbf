import { closeSync, existsSync, fdatasyncSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import type { Config } from "../platform/config.ts";
import { fleetingDisk } from "../platform/disk.ts";
import type { Finding } from "./doctor.ts";

const freeBytesMin = 256 * 1024 * 1024;
const syncMsMax = 50;
const rounds = 16;

/** How long a sync takes, how much room is left, and whether the disk outlives the process. */
export function checkJournal(config: Config): Finding[] {
  const name = "journal";
  if (config.journal === "database")
    return [{ name, status: "ok", message: "kept in the database (SPECGATE_JOURNAL)" }];
  if (!existsSync(config.dataDir))
    return [{ name, status: "failure", message: `there is no data dir at ${config.dataDir}` }];
  try {
    const { bavail, bsize } = statfsSync(config.dataDir);
    const free = bavail * bsize;
    const took = timeSyncs(config.dataDir);
    const slow = took > syncMsMax;
    const findings: Finding[] = [
      {
        name,
        status: free < freeBytesMin ? "failure" : slow ? "warning" : "ok",
        message: `sync in ${took.toFixed(1)} ms${slow ? ", which each call waits for" : ""}; ${gib(free)} GiB free`,
      },
    ];
    const kind = fleetingDisk(config.dataDir);
    if (kind === null) return findings;
    const message = `${config.dataDir} is on ${kind}: mount a volume, or set SPECGATE_JOURNAL=database`;
    return [...findings, { name, status: "warning", message }];
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return [{ name, status: "failure", message: `${config.dataDir} cannot be written to: ${why}` }];
  }
}

const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(1);

/** The median, in milliseconds, as the journal syncs: a small write to a file that has its room already. */
function timeSyncs(dir: string): number {
  const path = `${dir}/doctor-${crypto.randomUUID()}`;
  const fd = openSync(path, "wx", 0o600);
  try {
    const block = new Uint8Array(4_096);
    writeSync(fd, block, 0, block.length, 0);
    fdatasyncSync(fd);
    const times = Array.from({ length: rounds }, () => {
      const begun = performance.now();
      writeSync(fd, block, 0, block.length, 0);
      fdatasyncSync(fd);
      return performance.now() - begun;
    });
    return times.sort((a, b) => a - b)[rounds / 2] ?? 0;
  } finally {
    closeSync(fd);
    rmSync(path, { force: true });
  }
}
