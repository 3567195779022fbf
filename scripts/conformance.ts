/**
 * The official conformance suite against a compiled gateway that has the suite's fixtures mounted, behind its guard, its
 * allowlist and its audit: `bun run conformance`. What each scenario comes to has to be what `expected.ts` says, checks
 * counted; `--show` prints it all.
 */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Shim, startShim } from "../src/testing/conformance/bearer-shim.ts";
import { expected, pushed } from "../src/testing/conformance/expected.ts";
import { complaints, passes, type Revision, runSuite, tally } from "../src/testing/conformance/suite.ts";
import { binary, compile } from "./build.ts";
import { freePort, type Gateway, run, serve, tokenOf } from "./gateway.ts";
import { packPostgres } from "./pack.ts";
import { type Check, type Counts, expect, expectEqual, startChecks } from "./smoke/checks.ts";

const isShown = process.argv.includes("--show");

export async function conformance(): Promise<Counts> {
  const { check, counts } = startChecks();
  const dir = mkdtempSync(join(tmpdir(), "specgate-conformance-"));
  // PostgreSQL runs under another uid when this is root, and has to pass through.
  chmodSync(dir, 0o755);
  try {
    await conformIn(check, dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return counts;
}

async function conformIn(check: Check, dir: string): Promise<void> {
  const program = join(dir, "specgate");
  await check("the gateway with the suite's fixtures compiles as the product does", async () => {
    await packPostgres({ fast: true });
    await compile("src/testing/conformance/main.ts", program, { bytecode: false });
  });
  const ports = { own: await freePort(), gateway: await freePort() };
  let bearer = "";
  const shim = await startShim(ports, () => bearer);
  let gateway: Gateway | undefined;
  try {
    const home = join(dir, "home");
    mkdirSync(home);
    // Each scenario connects anew; nobody is meant to be slowed down here.
    writeFileSync(join(home, "specgate.yaml"), "limits: { mcp: { requests_per_minute: 100000 } }\n");
    const env = { SPECGATE_PUBLIC_URL: shim.url, SPECGATE_ALLOWED_HOSTS: `127.0.0.1:${ports.gateway}` };
    const surroundings = { cwd: home, env, program };
    await check("it is ready, and a runner of a project has a token", async () => {
      gateway = await serve([], surroundings, { port: ports.gateway });
      const local = async (...args: string[]) => {
        const { code, stdout, stderr } = await run([...args, "--json"], surroundings);
        expect(code === 0, `specgate ${args.join(" ")} exited with ${code}: ${stdout}${stderr}`);
        return JSON.parse(stdout);
      };
      const project = await local("project", "create", "Conformance");
      const kind = ["--kind", "runner", "--project", project.id, "--scope", "mcp:read mcp:write"];
      bearer = await tokenOf(gateway, await local("client", "create", "--name", "suite", ...kind));
    });
    if (bearer === "") return;
    await strangers(check, ports.gateway);
    for (const revision of ["2026-07-28", "2025-11-25"] as const)
      await revisionOf(check, shim, revision, join(dir, revision));
    await written(check, shim, join(home, "specgate-data"));
  } finally {
    shim.close();
    await gateway?.stop();
    if (isShown) console.log(gateway?.words().slice(-4_000));
  }
}

async function strangers(check: Check, port: number): Promise<void> {
  await check("without the shim nobody gets in", async () => {
    const response = await fetch(`http://127.0.0.1:${port}/mcp`, { method: "POST", body: "{}" });
    expectEqual(response.status, 401, "the status");
  });
}

async function revisionOf(check: Check, shim: Shim, revision: Revision, dir: string): Promise<void> {
  mkdirSync(dir);
  const { checks, required, said } = await runSuite(`${shim.url}/mcp`, revision, dir);
  if (isShown) console.log(said);
  const wanted = expected[revision];
  for (const [scenario, found] of [...checks].sort())
    await check(`${revision} ${scenario}`, () => {
      const came = tally(found);
      if (came === wanted[scenario]) return came;
      throw new Error([`${came}, not ${wanted[scenario] ?? "known"}`, ...complaints(found)].join("\n"));
    });
  await check(`${revision} ran every scenario that is known`, () => {
    expectEqual([...checks.keys()].sort(), Object.keys(wanted).sort(), "the scenarios");
  });
  await check(`${revision} is conformed to`, () => {
    const missed = required.filter((scenario) => !passes(checks.get(scenario) ?? []));
    const known = revision === "2025-11-25" ? pushed : [];
    expectEqual(missed.sort(), [...known].sort(), "what is required and fails");
    const sum = [...checks.values()].flat().filter(({ status }) => status === "SUCCESS").length;
    return `${required.length - missed.length} of ${required.length} required scenarios, ${sum} checks`;
  });
}

/** The suite went through the audit like everybody else, and its fixtures are in this binary alone. */
async function written(check: Check, shim: Shim, dataDir: string): Promise<void> {
  await check("every call of the suite is in the audit's own file", () => {
    const files = readdirSync(join(dataDir, "audit")).filter((name) => /^mcp-\d{8}\.jsonl$/.test(name));
    const lines = files.flatMap((name) => readFileSync(join(dataDir, "audit", name), "utf8").split("\n"));
    const calls = lines.filter((line) => line.includes('"tools/call"')).length;
    if (isShown) console.log(lines.join("\n"));
    expectEqual(calls, shim.calls(), "the calls written down, against those made");
    return `${lines.length - files.length} lines, ${calls} of them calls`;
  });
  const isBuilt = await Bun.file(binary).exists();
  if (!isBuilt) return check.skip("the product has no fixture in it", "build it first");
  await check("the product has no fixture in it", () => {
    expect(readFileSync(binary).indexOf("test_input_required_result") < 0, "it has");
  });
}

if (import.meta.main) {
  const { passed, failed } = await conformance();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}
