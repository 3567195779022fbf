/**
 * The whole test run: gets the programs that tests need, packs PostgreSQL, builds the binary when its sources changed, runs
 * every test in src, the smoke test of the compiled binary and the conformance suite. The last line adds all of it up; the exit code is 1 when
 * anything failed or, in CI, was skipped.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildIfChanged } from "./build.ts";
import { conformance } from "./conformance.ts";
import { packPostgres } from "./pack.ts";
import { installPackages } from "./packages.ts";
import { smoke } from "./smoke.ts";

export type Sum = { passed: number; failed: number; skipped: number };

/** Everything in src. A file that cannot even be loaded counts as one failure. */
export async function testSources(): Promise<Sum> {
  await packPostgres({ fast: true });
  const root = join(import.meta.dir, "..");
  const report = join(root, `dist/tests-${process.pid}.xml`);
  const child = Bun.spawn(
    [process.execPath, "test", "--timeout=20000", "--reporter=junit", `--reporter-outfile=${report}`],
    { cwd: root, stdin: "ignore", stdout: "inherit", stderr: "inherit" },
  );
  const code = await child.exited;
  const sum = sumOf(report);
  rmSync(report, { force: true });
  if (code !== 0 && sum.failed === 0) sum.failed = 1;
  return sum;
}

function sumOf(report: string): Sum {
  try {
    const text = readFileSync(report, "utf8");
    const root = /<testsuites\b[^>]*>/.exec(text)?.[0] ?? "";
    const number = (name: string): number => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(root)?.[1] ?? 0);
    const failed = number("failures") + number("errors");
    const skipped = number("skipped");
    return { passed: number("tests") - failed - skipped, failed, skipped };
  } catch {
    console.error("bun test left no report");
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

async function testBinary(): Promise<Sum> {
  try {
    console.log((await buildIfChanged()) ? "\ndist/specgate is built" : "\ndist/specgate is up to date");
  } catch (error) {
    console.error("the build failed:", error);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  return smoke({ crash: true, outageSeconds: 15 });
}

if (import.meta.main) {
  const missing = await installPackages();
  const sums = [await testSources(), await testBinary(), await conformance()];
  const total = (name: keyof Sum): number => sums.reduce((sum, part) => sum + part[name], 0);
  const skipped = total("skipped") > 0 ? `, ${total("skipped")} skipped` : "";
  for (const sentence of missing) console.log(sentence);
  console.log(`${total("passed")} passed, ${total("failed")} failed${skipped}`);
  process.exit(total("failed") === 0 && (total("skipped") === 0 || !process.env.CI) ? 0 : 1);
}
