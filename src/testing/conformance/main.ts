/**
 * The gateway with the suite's fixtures mounted: the program whose binary is conformance-tested. Everything else is as in
 * the product's own, and nothing of this is in that one.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { homedir, userInfo } from "node:os";
import { run } from "../../cli/cli.ts";
import { comingAndGoing, fixtures } from "./fixtures.ts";

/** By a reload, as an operator would: the configuration denies the tool, or no longer does. */
function changeTools(): void {
  const file = "specgate.yaml";
  const deny = `\nmcp: { deny: [ ${comingAndGoing} ] }\n`;
  const now = readFileSync(file, "utf8");
  writeFileSync(file, now.includes(deny) ? now.replace(deny, "") : now + deny);
  process.kill(process.pid, "SIGHUP");
}

process.exitCode = await run(process.argv.slice(2), {
  env: process.env,
  cwd: process.cwd(),
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  stdin: () => Bun.stdin.text(),
  stdinBytes: () => Bun.stdin.stream(),
  isTerminal: false,
  osUser: userInfo().username,
  homeDir: homedir(),
  host: { pid: process.pid, uid: process.getuid?.() ?? 0, platform: process.platform, arch: process.arch },
  version: "0.0.0-conformance",
  fetchesMax: 256,
  residentBytes: () => process.memoryUsage.rss(),
  openBrowser: () => false,
  sleep: (ms) => Bun.sleep(ms),
  onSignal(listener) {
    const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
    for (const signal of signals) process.on(signal, listener);
    return () => {
      for (const signal of signals) process.off(signal, listener);
    };
  },
  mcpExtras: fixtures(changeTools),
});
process.exit();
