/**
 * The compiled binary as a program of its own, for the smoke test and the benchmarks: started with a bare environment,
 * asked over HTTP and by its commands, and stopped by signals.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { binary } from "./build.ts";

export type Surroundings = {
  cwd: string;
  env?: Record<string, string>;
  /** Runs it as this user and group. */
  uid?: number;
  /** Another copy of the binary. */
  program?: string;
};

export type Ran = { code: number | null; stdout: string; stderr: string };

export type Gateway = {
  url: string;
  port: number;
  pid: number;
  /** From the start of the process to its first `ready`. */
  readyMs: number;
  /** What it has said so far. */
  words(): string;
  /** The exit code, or null when a signal ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
};

/** One command, run to its end. */
export async function run(args: string[], surroundings: Surroundings): Promise<Ran> {
  const child = start(args, surroundings);
  const said = listen(child);
  const code = await ended(child, "close");
  return { code, ...said() };
}

/** `specgate serve` on a free port; resolves when it is ready, throws with its words when it ends or takes too long. */
export async function serve(
  args: string[],
  surroundings: Surroundings,
  options: { port?: number; readyWithinMs?: number } = {},
): Promise<Gateway> {
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  const startedAt = performance.now();
  const child = start(["serve", "--port", String(port), ...args], surroundings);
  const said = listen(child);
  // Not `close`: a PostgreSQL that outlives a killed gateway holds its output open.
  const end = ended(child, "exit");
  const words = (): string => `${said().stdout}${said().stderr}`;
  while (!(await isReady(url))) {
    const waited = performance.now() - startedAt;
    if (child.exitCode !== null || child.signalCode !== null || waited > (options.readyWithinMs ?? 30_000)) {
      child.kill("SIGKILL");
      throw new Error(`not ready after ${Math.round(waited)} ms, exit code ${child.exitCode}:\n${words()}`);
    }
    await Bun.sleep(2);
  }
  return {
    url,
    port,
    pid: child.pid as number,
    readyMs: performance.now() - startedAt,
    words,
    stop(signal = "SIGTERM") {
      child.kill(signal);
      return end;
    },
  };
}

/** A machine client's access token for every bearer plane. */
export async function tokenOf(
  gateway: { url: string },
  client: { client_id: string; client_secret: string },
  more: Record<string, string> = {},
): Promise<string> {
  const basic = btoa(`${encodeURIComponent(client.client_id)}:${encodeURIComponent(client.client_secret)}`);
  const response = await fetch(`${gateway.url}/oauth/token`, {
    method: "POST",
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: "client_credentials", ...more }),
  });
  if (!response.ok) throw new Error(`/oauth/token answered ${response.status}: ${await response.text()}`);
  return ((await response.json()) as { access_token: string }).access_token;
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

function start(args: string[], { cwd, env, uid, program }: Surroundings): ChildProcess {
  return spawn(program ?? binary, args, {
    cwd,
    env: { PATH: process.env.PATH ?? "", HOME: cwd, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
}

function listen(child: ChildProcess): () => { stdout: string; stderr: string } {
  const said = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    said.stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said.stderr += text;
  });
  return () => said;
}

const ended = (child: ChildProcess, event: "exit" | "close"): Promise<number | null> =>
  new Promise((resolve, reject) => child.on("error", reject).on(event, (code) => resolve(code)));

async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch {
    return false;
  }
}
