/**
 * Every test in src, in as many processes as there are cores (two at most): most of a test's time is waiting. Each process
 * has its own PostgreSQL. Files that hold durations against each other run afterwards, with the machine to themselves.
 *
 * A file in which something failed runs once more by itself: what passes then is counted, and told of with what happened
 * before, because a machine that stood still for a moment and a rare mistake look the same.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Counts } from "./smoke/checks.ts";

const root = join(import.meta.dir, "..");

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

/** What one file came to; `isOver` once the process went on to the next or ended by itself. */
type Outcome = { passed: number; failed: number; skipped: number; failures: string[]; isOver: boolean };
type Outcomes = Map<string, Outcome>;

export async function testSources(): Promise<Counts> {
  const files = [...new Bun.Glob("src/**/*.test.ts").scanSync({ cwd: root })].sort();
  const together = files.filter((file) => !alone.includes(file));
  const shares = shareOut(together, Math.min(2, availableParallelism()));
  const outcomes: Outcomes = new Map();
  await Promise.all(shares.map((share) => run(share, outcomes)));
  await run(alone, outcomes);

  const again = files.filter((file) => !isFine(outcomes.get(file)));
  const before = again.flatMap((file) => outcomes.get(file)?.failures ?? []);
  for (const file of again) {
    outcomes.delete(file);
    await run([file], outcomes);
  }
  const counts: Counts = { passed: 0, failed: 0, skipped: 0, failures: [] };
  for (const file of files) {
    const { passed, failed, skipped, failures, isOver } = outcomes.get(file) ?? nothing();
    counts.passed += passed;
    counts.skipped += skipped;
    counts.failed += failed === 0 && !isOver ? 1 : failed;
    counts.failures.push(...failures);
    if (!isOver) counts.failures.push(`${file} did not run to its end`);
  }
  if (before.length > 0)
    console.log(`\nWhat failed at first, before its file ran again:\n\n${before.join("\n\n")}\n`);
  return counts;
}

const nothing = (): Outcome => ({ passed: 0, failed: 0, skipped: 0, failures: [], isOver: false });

const isFine = (outcome: Outcome | undefined): boolean => outcome?.isOver === true && outcome.failed === 0;

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
async function run(files: readonly string[], outcomes: Outcomes): Promise<void> {
  const child = Bun.spawn(
    [process.execPath, "test", "--timeout=20000", ...files.map((file) => `./${file}`)],
    { cwd: root, stdin: "ignore", stdout: "ignore", stderr: "pipe" },
  );
  const report = new Report(outcomes);
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of child.stderr) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) report.take(line);
  }
  report.take(rest);
  report.end();
  // What a process that fell over had left to do is seen from what is missing.
  if ((await child.exited) !== 0 && files.every((file) => isFine(outcomes.get(file))))
    for (const file of files.slice(-1)) Object.assign(outcomes.get(file) ?? {}, { isOver: false });
}

/** Reads what bun test says. */
class Report {
  readonly #outcomes: Outcomes;
  #current: Outcome | null = null;
  #file = "";
  #block: string[] = [];
  /** Since the last test's own line: what led to a failure. */
  #since: string[] = [];
  #rulers = 0;
  #isOver = false;

  constructor(outcomes: Outcomes) {
    this.#outcomes = outcomes;
  }

  take(line: string): void {
    const file = /^(src\/\S+\.test\.ts):$/.exec(line)?.[1];
    if (file !== undefined && !this.#isOver) this.#begin(file);
    // Behind the last test everything is said once more.
    if (/^ *\d+ (pass|tests? (failed|skipped))\b/.test(line)) this.#close();
    this.#block.push(line);
    if (file === undefined) this.#since.push(line);
    if (this.#current === null || this.#isOver) return;
    const verdict = /^\((pass|fail|skip|todo)\)/.exec(line) ?? this.#endOfError(line);
    if (verdict === null) return;
    if (verdict[1] === "pass") this.#current.passed += 1;
    else if (verdict[1] === "skip" || verdict[1] === "todo") this.#current.skipped += 1;
    else this.#fail(this.#current);
    this.#since = [];
  }

  end(): void {
    console.log(this.#block.join("\n"));
  }

  /** An error outside of all tests stands between two rulers. */
  #endOfError(line: string): RegExpExecArray | null {
    if (line.startsWith("# Unhandled error")) this.#rulers = 2;
    else if (this.#rulers > 0 && line.startsWith("-----") && --this.#rulers === 0) return /-/.exec(line);
    return null;
  }

  #fail(current: Outcome): void {
    current.failed += 1;
    current.failures.push([`${this.#file}:`, ...this.#since.slice(-40)].join("\n"));
  }

  #begin(file: string): void {
    this.#closeFile();
    console.log(this.#block.join("\n"));
    this.#block = [];
    this.#since = [];
    this.#file = file;
    this.#current = this.#outcomes.get(file) ?? nothing();
    this.#outcomes.set(file, this.#current);
  }

  #closeFile(): void {
    if (this.#current !== null) this.#current.isOver = true;
  }

  #close(): void {
    this.#closeFile();
    this.#isOver = true;
  }
}

if (import.meta.main) {
  const { passed, failed, failures } = await testSources();
  console.log(`${failures.join("\n\n")}\n${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}
