/**
 * A real Redis for tests, in memory, on a port of its own. Where it is missing its tests are skipped by name; in CI they
 * fail instead, and say what is missing.
 */
import { createServer } from "node:net";
import { env, kill } from "node:process";
import { findProgram, howToGet, redisServer } from "../../scripts/packages.ts";

export type TestRedis = {
  readonly url: string;
  /** SIGKILL; what it knew is gone. */
  kill(): Promise<void>;
  /** On the same port again. */
  start(): Promise<void>;
  /** SIGSTOP and SIGCONT: a server that is reached and never answers. */
  freeze(): void;
  thaw(): void;
};

const program = findProgram(redisServer);
export const isRedisMissing: boolean = program === null && !env.CI;

/** `password`: asked for of everyone. */
export async function startRedis(password: string | null = null): Promise<TestRedis> {
  const port = await freePort();
  const flags = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  if (password !== null) flags.push("--requirepass", password);
  let server = await serve(flags);
  return {
    url: `redis://${password === null ? "" : `:${password}@`}127.0.0.1:${port}`,
    kill: () => server.end(),
    async start() {
      server = await serve(flags);
    },
    freeze: () => kill(server.pid, "SIGSTOP"),
    thaw: () => kill(server.pid, "SIGCONT"),
  };
}

/** Says its number, and ends Redis when the pipe from here closes, however that comes about. */
const guard = `"$0" "$@" & echo "pid $!"; cat > /dev/null; kill -KILL "$!"; wait`;

async function serve(flags: readonly string[]): Promise<{ pid: number; end(): Promise<void> }> {
  if (program === null) throw new Error(howToGet(redisServer));
  const child = Bun.spawn(["sh", "-c", guard, program, ...flags], {
    cwd: "/tmp",
    stdin: "pipe",
    stdout: "pipe",
    stderr: "ignore",
  });
  child.unref();
  const reader = child.stdout.getReader();
  const decoder = new TextDecoder();
  let said = "";
  while (!said.includes("Ready to accept connections")) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`redis-server did not start: ${said}`);
    said += decoder.decode(value);
  }
  const pid = Number(/^pid (\d+)$/m.exec(said)?.[1]);
  return {
    pid,
    async end() {
      await child.stdin.end();
      await child.exited;
    },
  };
}

/** Below 32768, where the kernel does not take ports for connections of its own. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 16_384 + Math.floor(Math.random() * 16_000);
    if (await isFree(port)) return port;
  }
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
