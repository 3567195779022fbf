/** Everything that has to hold before a change is done, as a list: `bun run check`, or `--quick` for what takes seconds. */
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const tool = (name: string, ...args: string[]): string[] => [join(root, "node_modules/.bin", name), ...args];
const script = (name: string, ...args: string[]): string[] => [
  process.execPath,
  join("scripts", name),
  ...args,
];

const quick: [string, string[]][] = [
  ["format", tool("biome", "format")],
  ["lint", tool("biome", "lint", "--error-on-warnings")],
  ["types", tool("tsc", "--noEmit")],
  ["migrations", script("migrations.ts", "--check")],
  ["dead code", tool("knip")],
];
const slow: [string, string[]][] = [
  ["packages", script("packages.ts")],
  ["tests", script("test-sources.ts")],
  ["build", script("build.ts")],
  ["smoke", script("smoke.ts", "--crash", "--outage")],
  ["conformance", script("conformance.ts")],
];

let failed = 0;
for (const [name, command] of process.argv.includes("--quick") ? quick : [...quick, ...slow]) {
  const started = performance.now();
  const child = Bun.spawn(command, { cwd: root, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const ok = (await child.exited) === 0;
  console.log(`${ok ? "✓" : "✗"} ${name.padEnd(11)} ${((performance.now() - started) / 1_000).toFixed(1)} s`);
  if (ok) continue;
  failed++;
  console.log(`${out}${err}`.trimEnd().replace(/^/gm, "    "));
}
process.exit(failed === 0 ? 0 : 1);
