/**
 * The whole test run: gets the programs that tests need, packs PostgreSQL, builds the binary when its sources changed, runs
 * every test in src, the smoke test of the compiled binary and the conformance suite. What failed is said again at the end,
 * and the last line adds all of it up; the exit code is 1 when anything failed or, in CI, was skipped.
 */
import { buildIfChanged } from "./build.ts";
import { conformance } from "./conformance.ts";
import { packPostgres } from "./pack.ts";
import { installPackages } from "./packages.ts";
import type { Counts } from "./smoke/checks.ts";
import { smoke } from "./smoke.ts";
import { testSources } from "./test-sources.ts";

async function testBinary(): Promise<Counts> {
  try {
    console.log((await buildIfChanged()) ? "\ndist/specgate is built" : "\ndist/specgate is up to date");
  } catch (error) {
    console.error("the build failed:", error);
    return { passed: 0, failed: 1, skipped: 0, failures: ["the build failed"] };
  }
  return smoke({ crash: true, outageSeconds: 15 });
}

const missing = await installPackages();
await packPostgres({ fast: true });
const sums = [await testSources(), await testBinary(), await conformance()];
const total = (name: "passed" | "failed" | "skipped"): number =>
  sums.reduce((sum, part) => sum + part[name], 0);
const skipped = total("skipped") > 0 ? `, ${total("skipped")} skipped` : "";
for (const sentence of missing) console.log(sentence);
const failures = sums.flatMap((part) => part.failures);
if (failures.length > 0) console.log(`\nWhat failed:\n\n${failures.join("\n\n")}\n`);
console.log(`${total("passed")} passed, ${total("failed")} failed${skipped}`);
process.exit(total("failed") === 0 && (total("skipped") === 0 || !process.env.CI) ? 0 : 1);
