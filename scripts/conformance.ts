/**
 * The official conformance suite against a compiled gateway that has the suite's fixtures mounted, behind its guard, its
 * allowlist and its audit: `bun run conformance`. What each scenario comes to has to be what `expected.ts` says, checks
 * counted; `--show` prints it all.
 */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Shim, startShim } from "../src/testing/conformance/bearer-shim.ts";
import { expected, reservations } from "../src/testing/conformance/expected.ts";
import {
  complaints,
  type Findings,
  findNode,
  type Revision,
  runSuite,
  tally,
  verdictOf,
} from "../src/testing/conformance/suite.ts";
import { compile } from "./build.ts";
import { freePort, type Gateway, run, serve, tokenOf } from "./gateway.ts";
import { packPostgres } from "./pack.ts";
import { type Check, type Counts, expect, expectEqual, startChecks } from "./smoke/checks.ts";

const isShown = process.argv.includes("--show");

export async function conformance(): Promise<Counts> {
  const { check, counts } = startChecks();
  const node = await findNode();
  if (node === null) {
    check.skip("the official MCP suite", "it needs Node 22 or newer: npm packs one for Linux on x64 alone");
    return counts;
  }
  const dir = mkdtempSync(join(tmpdir(), "specgate-conformance-"));
  // PostgreSQL runs under another uid when this is root, and has to pass through.
  chmodSync(dir, 0o755);
  try {
    await conformIn(check, dir, node);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return counts;
}

async function conformIn(check: Check, dir: string, node: string): Promise<void> {
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
    for (const revision of ["2026-07-28", "2025-11-25"] as const) {
      const place = { revision, dir: join(dir, revision) };
      mkdirSync(place.dir);
      let findings: Findings | undefined;
      await check(`${revision}: the suite runs`, async () => {
        findings = await runSuite(node, `${shim.url}/mcp`, place);
        if (isShown) console.log(findings.said);
      });
      if (findings !== undefined) await revisionOf(check, revision, findings);
    }
    await written(check, shim, join(home, "specgate-data"));
    await apart(check, dir, program);
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

async function revisionOf(check: Check, revision: Revision, findings: Findings): Promise<void> {
  const { checks, required } = findings;
  const wanted = expected[revision];
  const { failed, warned, fixtureAlone } = reservations[revision];
  for (const [scenario, found] of [...checks].sort())
    await check(
      `${revision} ${scenario}${fixtureAlone.includes(scenario) ? " (answered by the fixture alone)" : ""}`,
      () => {
        const came = tally(found);
        if (came === wanted[scenario]) return came;
        throw new Error([`${came}, not ${wanted[scenario] ?? "known"}`, ...complaints(found)].join("\n"));
      },
    );
  await check(`${revision} ran every scenario that is known`, () => {
    expectEqual([...checks.keys()].sort(), Object.keys(wanted).sort(), "the scenarios");
  });
  await check(`${revision}: what is required comes to what is known`, () => {
    const those = (verdict: string) =>
      required.filter((scenario) => verdictOf(checks.get(scenario) ?? []) === verdict).sort();
    expectEqual(those("failed"), [...failed].sort(), "what is required and fails");
    expectEqual(those("warned"), [...warned].sort(), "what is required and only warned about");
    const passed = those("passed");
    const own = passed.filter((scenario) => !fixtureAlone.includes(scenario));
    expectEqual(passed.length - own.length, fixtureAlone.length, "what the fixture alone answers");
    const apart = Object.entries({ "answered by the fixture alone": fixtureAlone, warned, failed })
      .filter(([, scenarios]) => scenarios.length > 0)
      .map(([what, scenarios]) => `; ${scenarios.length} ${what} (${scenarios.join(", ")})`);
    return `the gateway itself passes ${own.length} of ${required.length}${apart.join("")}`;
  });
}

/** The suite went through the audit like everybody else. */
async function written(check: Check, shim: Shim, dataDir: string): Promise<void> {
  await check("every call of the suite is in the audit's own file", () => {
    const files = readdirSync(join(dataDir, "audit")).filter((name) => /^mcp-\d{8}\.jsonl$/.test(name));
    const lines = files.flatMap((name) => readFileSync(join(dataDir, "audit", name), "utf8").split("\n"));
    const calls = lines.filter((line) => line.includes('"tools/call"')).length;
    if (isShown) console.log(lines.join("\n"));
    expectEqual(calls, shim.calls(), "the calls written down, against those made");
    return `${lines.length - files.length} lines, ${calls} of them calls`;
  });
}

/** Of the same sources, and not whatever was built last: the fixtures are in the one binary alone. */
async function apart(check: Check, dir: string, program: string): Promise<void> {
  const marker = "test_input_required_result";
  await check("the product has no fixture in it, and the binary that was tested has", async () => {
    expect(readFileSync(program).includes(marker), "the binary that was tested shows none either");
    const product = join(dir, "product");
    await compile("src/main.ts", product, { bytecode: false });
    expect(!readFileSync(product).includes(marker), "the product has one");
  });
}

if (import.meta.main) {
  const { passed, failed, skipped } = await conformance();
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  process.exit(failed === 0 && (skipped === 0 || !process.env.CI) ? 0 : 1);
}
