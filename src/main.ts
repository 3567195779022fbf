/**
 * argv and environment in, exit code out. The only reader of `process.*`.
 */
import { writeFileSync } from "node:fs";
import { homedir, userInfo } from "node:os";

/** Bun runs this many fetches at once and no more; it reads the number before any of our code runs. */
const fetchesMax = 8_192;
const fetchesVariable = "BUN_CONFIG_MAX_HTTP_REQUESTS";

declare const SPECGATE_VERSION: string | undefined;

const argv = process.argv.slice(2);
const isServe =
  argv[0] === undefined || argv[0] === "serve" || (argv[0].startsWith("--") && argv[0] !== "--help");
if (isServe && process.env[fetchesVariable] === undefined) restartWithFetches();

// The database's client asks for a list of types with nobody waiting for it; when that connection ends meanwhile, the
// runtime would end the process. Nothing of ours depends on a promise that nobody holds.
process.on("unhandledRejection", (error) =>
  print(
    2,
    `specgate: rejected with nobody waiting: ${error instanceof Error ? error.message : "no error"}\n`,
  ),
);

const { run } = await import("./cli/cli.ts");
const { openDesktopBrowser } = await import("./cli/sign-in-desktop.ts");
process.exitCode = await run(argv, {
  env: process.env,
  cwd: process.cwd(),
  stdout: (text) => print(1, text),
  stderr: (text) => print(2, text),
  stdin: () => Bun.stdin.text(),
  stdinBytes: () => Bun.stdin.stream(),
  isTerminal: process.stderr.isTTY === true,
  osUser: userInfo().username,
  homeDir: homedir(),
  host: { pid: process.pid, uid: process.getuid?.() ?? 0, platform: process.platform, arch: process.arch },
  version: typeof SPECGATE_VERSION === "string" ? SPECGATE_VERSION : "0.0.0-dev",
  fetchesMax: Number(process.env[fetchesVariable] ?? 256),
  residentBytes: () => process.memoryUsage.rss(),
  openBrowser: (url) => openDesktopBrowser(url, process.platform, process.env),
  sleep: (ms) => Bun.sleep(ms),
  onSignal(listener) {
    const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
    for (const signal of signals) process.on(signal, listener);
    return () => {
      for (const signal of signals) process.off(signal, listener);
    };
  },
});
// Workers and idle sockets must not keep a finished command alive.
process.exit();

/** Written before it returns: what waits in a stream when the process exits never reaches a pipe. */
function print(fd: 1 | 2, text: string | Uint8Array): void {
  try {
    writeFileSync(fd, text);
  } catch (error) {
    // The reader has left, as `| head` does.
    if ((error as { code?: unknown }).code !== "EPIPE") throw error;
  }
}

function restartWithFetches(): void {
  const compiled = Bun.main.startsWith("/$bunfs/") || Bun.main.startsWith("B:\\~BUN");
  const self = compiled ? [process.execPath] : [process.execPath, Bun.main];
  const env = { ...process.env, [fetchesVariable]: String(fetchesMax) } as Record<string, string>;
  // Absent on Windows, where the gateway runs with Bun's own number and says so on /readyz.
  process.execve?.(process.execPath, [...self, ...argv], env);
}
