/**
 * Every test in src, in as many processes as there are cores (two at most): most of a test's time is waiting. Each process
 * has its own PostgreSQL. Those in `alone` measure time itself and run afterwards, with the machine to themselves.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import type { Counts } from "./smoke/checks.ts";

const root = join(import.meta.dir, "..");

/** What compares durations with each other, or holds one to account. */
const alone = ["src/features/identity/login.test.ts"];

/** Rough seconds of the longest ones, so that the processes end together; all others count as two. */
const long: Record<string, number> = {
  "src/features/artifacts/browser.test.ts": 68,
  "src/features/upstreams/upstreams.test.ts": 49,
  "src/features/tokens/histories.test.ts": 42,
  "src/platform/cross-site.test.ts": 39,
  "src/features/artifacts/blob-faults.test.ts": 35,
  "src/features/usage/folds.test.ts": 27,
  "src/browser.test.ts": 23,
  "src/features/workspaces/slow-disk.test.ts": 20,
  "src/features/budgets/books.test.ts": 18,
  "src/features/llm/routing.test.ts": 17,
  "src/cli/artifact-transfer.test.ts": 16,
  "src/features/upstreams/stdio-line.test.ts": 16,
  "src/features/artifacts/s3.test.ts": 16,
  "src/features/budgets/holds-faults.test.ts": 15,
  "src/features/mcp/listen.test.ts": 14,
  "src/db/open.test.ts": 14,
};

export async function testSources(): Promise<Counts> {
  const files = [...new Bun.Glob("src/**/*.test.ts").scanSync({ cwd: root })].sort();
  const together = files.filter((file) => !alone.includes(file));
  const shares = shareOut(together, Math.min(2, availableParallelism()));
  const results = await Promise.all(shares.map((share, index) => run(`${index + 1}`, share)));
  results.push(await run("alone", alone));
  const sum: Counts = { passed: 0, failed: 0, skipped: 0, failures: [] };
  for (const result of results) {
    sum.passed += result.passed;
    sum.failed += result.failed;
    sum.skipped += result.skipped;
    sum.failures.push(...result.failures);
  }
  return sum;
}

/** The longest first, each to whoever has least. */
function shareOut(files: readonly string[], count: number): string[][] {
  const shares = Array.from({ length: count }, () => ({ seconds: 0, files: [] as string[] }));
  const seconds = (file: string): number => long[file] ?? 2;
  for (const file of [...files].sort((a, b) => seconds(b) - seconds(a))) {
    const least = shares.reduce((a, b) => (b.seconds < a.seconds ? b : a));
    least.files.push(file);
    least.seconds += seconds(file);
  }
  return shares.map((share) => share.files);
}

/** One process. Its lines come a file at a time, so that two processes can be read. */
async function run(name: string, files: readonly string[]): Promise<Counts> {
  const dir = mkdtempSync(join(tmpdir(), "specgate-tests-"));
  const report = join(dir, "report.xml");
  const child = Bun.spawn(
    [
      process.execPath,
      "test",
      "--timeout=20000",
      "--reporter=junit",
      `--reporter-outfile=${report}`,
      ...files.map((file) => `./${file}`),
    ],
    { cwd: root, stdin: "ignore", stdout: "ignore", stderr: "pipe" },
  );
  const failures = await follow(child.stderr);
  const code = await child.exited;
  const sum = sumOf(report, name);
  rmSync(dir, { recursive: true, force: true });
  if (code !== 0 && sum.failed === 0) sum.failed = 1;
  return { ...sum, failures };
}

/** Passes the lines on and gives back what led to each failure, after the name of its file. */
async function follow(stream: ReadableStream<Uint8Array>): Promise<string[]> {
  const failures: string[] = [];
  let file = "";
  let block: string[] = [];
  let since: string[] = [];
  const decoder = new TextDecoder();
  let rest = "";
  const line = (text: string): void => {
    if (/^\S+\.test\.ts:$/.test(text)) {
      console.log(block.join("\n"));
      block = [];
      since = [];
      file = text;
    }
    block.push(text);
    since.push(text);
    if (text.startsWith("(fail)")) failures.push([file, ...since.slice(-40)].join("\n"));
    if (/^\((pass|fail|skip|todo)\)/.test(text)) since = [];
  };
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const text of lines) line(text);
  }
  if (rest !== "") line(rest);
  console.log(block.join("\n"));
  return failures;
}

function sumOf(report: string, name: string): Omit<Counts, "failures"> {
  try {
    const text = readFileSync(report, "utf8");
    const suites = /<testsuites\b[^>]*>/.exec(text)?.[0] ?? "";
    const number = (attribute: string): number =>
      Number(new RegExp(`\\b${attribute}="(\\d+)"`).exec(suites)?.[1] ?? 0);
    const failed = number("failures") + number("errors");
    const skipped = number("skipped");
    return { passed: number("tests") - failed - skipped, failed, skipped };
  } catch {
    console.error(`bun test ${name} left no report`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

if (import.meta.main) process.exit((await testSources()).failed === 0 ? 0 : 1);
