/**
 * A command that is run as an upstream server: in a process group of its own, with none of the gateway's environment.
 *
 * It is asked to leave, and after two seconds made to, with everything that it has started. A gateway that runs as root
 * does not lend it that: it runs as the owner of the folder that it is run in, or as a user who owns nothing.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { statSync } from "node:fs";
import { userInfo } from "node:os";
import type { Readable } from "node:stream";
import type { UpstreamLink } from "../../platform/config.ts";
import { markName, note, signal } from "./leftovers.ts";

export type Stdio = Extract<UpstreamLink, { kind: "stdio" }>;

export type CommandEvents = {
  readonly out: (chunk: Uint8Array) => void;
  readonly err: (chunk: Uint8Array) => void;
  /** Once, when the process is gone or was never there; the reason is public. */
  readonly ended: (reason: string) => void;
};

/** Searched for what a script's first line names. */
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const graceMs = 2_000;
const fetchMs = 300;
const pollMs = 20;
/** What the command has not read yet. */
const unreadBytesMax = 8 * 1024 * 1024;

export class Command {
  readonly #child: ChildProcess;
  readonly #forget: () => void;
  readonly #gone = Promise.withResolvers<void>();
  #unreadBytes = 0;
  #hasEnded = false;

  constructor(alias: string, config: Stdio, childrenDir: string | null, events: CommandEvents) {
    const mark = crypto.randomUUID();
    const [file = "", ...args] = config.command;
    const owner = ownerOf(alias, config.cwd);
    this.#child = spawn(file, args, {
      cwd: config.cwd ?? "/",
      env: environmentOf(config, mark),
      // A session of its own, and so a group of its own (setsid(2)).
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
      ...owner,
    });
    const { pid, stdin, stdout, stderr } = this.#child;
    this.#forget = pid === undefined ? () => {} : note(childrenDir, mark, pid);
    const end = (reason: string) => this.#end(reason, events);
    this.#child.once("error", (error) =>
      end(`cannot be run${owner === null ? "" : ` as user ${owner.uid}`} (${codeOf(error)})`),
    );
    this.#child.once("exit", (code, by) =>
      end(by === null ? `has exited with code ${code}` : `was ended by ${by}`),
    );
    stdout?.on("data", events.out);
    if (stderr !== null) readSlowly(stderr, events.err);
    // Each of them may break on its own when the process dies; its end is what counts.
    for (const stream of [stdin, stdout, stderr]) stream?.on("error", () => {});
    this.#child.unref();
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** False when the command does not read what it was sent, and nothing more is sent. */
  write(line: string): boolean {
    if (this.#unreadBytes > unreadBytesMax) return false;
    const bytes = Buffer.from(line);
    this.#unreadBytes += bytes.length;
    this.#child.stdin?.write(bytes, () => {
      this.#unreadBytes -= bytes.length;
    });
    return true;
  }

  /** Resolves when the whole group is gone. */
  async stop(graceful = true): Promise<void> {
    const { pid } = this.#child;
    if (pid === undefined) return;
    this.#child.stdin?.end();
    const isAsked = graceful && !this.#hasEnded && signal(-pid, "SIGTERM");
    if (isAsked) await this.#isGoneWithin(pid, graceMs);
    signal(-pid, "SIGKILL");
    if (!this.#hasEnded) await this.#gone.promise;
    // The dead of a group that nobody has fetched yet (in a container without an init) are waited for only so long.
    await this.#isGoneWithin(pid, fetchMs);
  }

  async #isGoneWithin(pid: number, ms: number): Promise<boolean> {
    const deadline = performance.now() + ms;
    while (!this.#hasEnded || signal(-pid, 0)) {
      if (performance.now() > deadline) return false;
      await Bun.sleep(pollMs);
    }
    return true;
  }

  #end(reason: string, events: CommandEvents): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    // What it had started may still be there, and is nobody's any more.
    if (this.#child.pid !== undefined) signal(-this.#child.pid, "SIGKILL");
    this.#forget();
    this.#gone.resolve();
    events.ended(reason);
  }
}

/** The pipe fills then, and the command waits: who writes for ever takes no more of the gateway's time than this. */
const errorBytes = 262_144;
const errorMs = 1_000;

function readSlowly(stream: Readable, take: (chunk: Uint8Array) => void): void {
  let since = performance.now();
  let bytes = 0;
  stream.on("data", (chunk: Uint8Array) => {
    const now = performance.now();
    if (now - since > errorMs) [since, bytes] = [now, 0];
    bytes += chunk.length;
    take(chunk);
    if (bytes < errorBytes) return;
    stream.pause();
    setTimeout(() => stream.resume(), errorMs).unref();
  });
}

function environmentOf({ env, cwd }: Stdio, mark: string): Record<string, string> {
  const own = Object.entries(env).map(([name, value]) => [name, value.reveal()] as const);
  return { PATH: path, HOME: cwd ?? "/", LANG: "C.UTF-8", ...Object.fromEntries(own), [markName]: mark };
}

/** User ids that no distribution hands out; one for each alias, so that one server cannot touch another. */
const uids = { first: 60_578, count: 128 };

function ownerOf(alias: string, cwd: string | null): { uid: number; gid: number } | null {
  if (userInfo().uid !== 0) return null;
  if (cwd !== null) {
    const found = statSync(cwd, { throwIfNoEntry: false });
    // Without it nothing can be run at all, and that is said then.
    if (found !== undefined) return { uid: found.uid, gid: found.gid };
  }
  const uid = uids.first + Number(BigInt(Bun.hash(alias)) % BigInt(uids.count));
  return { uid, gid: uid };
}

const codeOf = (error: unknown): string => String(Object(error).code ?? "unknown error");
