/**
 * Runs one of the project's scripts with Bun, on a machine that may have only Node and npm, or only Bun.
 *
 *   node scripts/bun.mjs scripts/start.ts [arguments…]
 *
 * The Bun that already runs this file (or that called `bun run`) is used as it is; under Node, npx fetches the version
 * named in package.json once and keeps it. Dependencies are installed when node_modules does not match bun.lock.
 * Signals and the exit code pass through, and nothing is printed when there is nothing to do.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const [script, ...rest] = process.argv.slice(2);
if (script === undefined) stop(2, "usage: node scripts/bun.mjs <script> [arguments…]");

const bun = runningBun() ?? callingBun() ?? npxBun();
installDependencies(bun);
pass(spawn(bun, [resolve(root, script), ...rest], { stdio: "inherit" }));

/** `node` can be a link to Bun that `bun run` puts on the PATH; called by that name Bun would act as Node. */
function runningBun() {
  return process.versions.bun === undefined ? undefined : realpathSync(process.execPath);
}

/** `bun run` on a machine that has Node too. */
function callingBun() {
  const caller = process.env.npm_execpath;
  if (caller === undefined || !existsSync(caller)) return undefined;
  return /^bun(\.exe)?$/.test(basename(caller)) ? caller : undefined;
}

/** Asks npx only for the path, and then starts Bun itself: npx and its shell would swallow signals. */
function npxBun() {
  const { packageManager } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const ask = ["--yes", "--loglevel=error", packageManager, "-e", "console.log(process.execPath)"];
  const { status, stdout, error } = spawnSync("npx", ask, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  const path = stdout?.trim().split("\n").at(-1);
  if (status === 0 && path && existsSync(path)) return path;
  return stop(1, `npx could not fetch ${packageManager}${error ? `: ${error.message}` : ""}`);
}

function installDependencies(bun) {
  const stamp = join(root, "node_modules", ".installed");
  const wanted = createHash("sha256")
    .update(`${process.platform}-${process.arch}\n`)
    .update(readFileSync(join(root, "bun.lock")))
    .update(readFileSync(join(root, "package.json")))
    .digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  const { status } = spawnSync(bun, ["install", "--frozen-lockfile"], {
    cwd: root,
    // Words belong on stderr: a script's own output may be read by a program.
    stdio: ["ignore", 2, 2],
  });
  if (status !== 0) stop(1, "bun install --frozen-lockfile failed");
  try {
    writeFileSync(stamp, wanted);
  } catch {
    // Someone else's checkout: all is installed, only the note of it cannot be kept.
  }
}

function pass(child) {
  for (const signal of ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2"]) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to the whole group: passed on as well, it would count twice.
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on("error", (error) => stop(1, `${bun}: ${error.message}`));
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

function stop(code, message) {
  console.error(message);
  process.exit(code);
}
