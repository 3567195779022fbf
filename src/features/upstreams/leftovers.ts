/**
 * Commands that outlive their gateway: when it is killed, nobody is left to end one that does not mind its input's end.
 *
 * Each running command is noted in the data dir, and carries a mark in its environment that only it and its descendants
 * have. The next boot ends those whose mark or whose start is the noted one, and never a process that has merely come by
 * the same number. Where there is no /proc nothing is noted, and the input's end has to do.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { kill } from "node:process";
import { writeWhole } from "../../platform/data-dir.ts";

/** The variable that holds the mark. */
export const markName = "MCP_UPSTREAM_MARK";

type Started = { readonly pid: number /** Clock ticks after the machine's start. */; readonly at: string };
type Note = {
  readonly mark: string;
  readonly boot: string;
  readonly child: Started;
  readonly gateway: Started;
};

const bootFile = "/proc/sys/kernel/random/boot_id";

/** Notes a command that was just started; returns how to forget it. Without a place, or without /proc, it does nothing. */
export function note(dir: string | null, mark: string, pid: number): () => void {
  const child = startOf(String(pid));
  const gateway = startOf("self");
  if (dir === null || child === null || gateway === null) return () => {};
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const path = `${dir}/${mark}.json`;
  const content: Note = { mark, boot: readFileSync(bootFile, "utf8").trim(), child, gateway };
  writeWhole(path, JSON.stringify(content));
  return () => rmSync(path, { force: true });
}

/** Ends what earlier gateways have left; returns how many processes that were. */
export function endLeftovers(dir: string): number {
  if (!existsSync(dir) || !existsSync(bootFile)) return 0;
  let ended = 0;
  for (const name of readdirSync(dir)) {
    const path = `${dir}/${name}`;
    const found = readNote(path);
    if (found !== null && isAlive(found.gateway)) continue;
    if (found !== null && found.boot === readFileSync(bootFile, "utf8").trim()) ended += endMarked(found);
    rmSync(path, { force: true });
  }
  return ended;
}

function endMarked({ mark, child }: Note): number {
  const isOurs = (pid: string) =>
    (pid === String(child.pid) && isAlive(child)) || variablesOf(pid).includes(`${markName}=${mark}`);
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && isOurs(name));
  for (const pid of pids) signal(Number(pid), "SIGKILL");
  return pids.length;
}

const isAlive = ({ pid, at }: Started): boolean => startOf(String(pid))?.at === at;

function startOf(process: string): Started | null {
  const stat = readIfThere(`/proc/${process}/stat`);
  if (stat === null) return null;
  // The name in parentheses may hold anything, parentheses too (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  // Dead, and not fetched yet.
  if (fields[0] === "Z") return null;
  return { pid: Number.parseInt(stat, 10), at: fields[19] ?? "" };
}

const variablesOf = (pid: string): string[] => readIfThere(`/proc/${pid}/environ`)?.split("\0") ?? [];

function readNote(path: string): Note | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Note;
  } catch {
    return null;
  }
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

/** False when there is nobody to send it to. A negative number is a process group. */
export function signal(pid: number, name: "SIGTERM" | "SIGKILL" | 0): boolean {
  try {
    kill(pid, name);
    return true;
  } catch {
    return false;
  }
}
