/**
 * Drives the compiled binary as its users do, from an empty directory: `bun run smoke [--crash] [--outage | --minute]`.
 * Each check prints a line and counts as a test; the last line adds them up.
 */
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startProvider } from "../src/testing/provider.ts";
import { builtInScripts } from "../src/testing/provider-models.ts";
import { binary, buildIfChanged } from "./build.ts";
import { runnerLoop } from "./demo-runner.ts";
import { type Gateway, type Surroundings, serve } from "./gateway.ts";
import { artifacts } from "./smoke/artifacts.ts";
import { Caller, createClient } from "./smoke/caller.ts";
import { type Check, type Counts, expect, startChecks } from "./smoke/checks.ts";
import { crash } from "./smoke/crash.ts";
import { crowd } from "./smoke/crowd.ts";
import { firstStart, layHostileDirectory, priceList, provided, words } from "./smoke/first-run.ts";
import { identity } from "./smoke/identity.ts";
import { llm } from "./smoke/llm.ts";
import { mcp } from "./smoke/mcp.ts";
import { outage } from "./smoke/outage.ts";
import { brokenConfig, drains, secondOne, strangers } from "./smoke/refusals.ts";

export type Parts = { crash: boolean; outageSeconds: number | null };

export async function smoke(parts: Parts): Promise<Counts> {
  const { check, counts } = startChecks();
  const dir = mkdtempSync(join(tmpdir(), "specgate-smoke-"));
  // PostgreSQL runs under another uid when this is root, and has to pass through.
  chmodSync(dir, 0o755);
  try {
    await asRunner(check, join(dir, "home"), parts);
    if (process.getuid?.() === 0) await asOrdinaryUser(check, dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return counts;
}

async function asRunner(check: Check, dir: string, parts: Parts): Promise<void> {
  layHostileDirectory(dir);
  const bare: Surroundings = { cwd: dir };
  await words(check, bare);
  await brokenConfig(check, bare);
  const client = await firstStart(check, bare);
  if (client === undefined) return;

  const provider = startProvider();
  for (const [model, scripted] of Object.entries(builtInScripts)) provider.script(model, scripted);
  writeFileSync(join(dir, "specgate.yaml"), priceList);
  const surroundings = { cwd: dir, env: { OPENAI_API_KEY: "sk-smoke", OPENAI_BASE_URL: provider.url } };
  let gateway: Gateway | undefined;
  try {
    await check("the second start is ready", async () => {
      gateway = await serve([], surroundings);
      return `${Math.round(gateway.readyMs)} ms`;
    });
    if (gateway === undefined) return;
    await provided(check, await Caller.open(gateway, client), provider, surroundings);
    await Promise.all([
      strangers(check, gateway, client, surroundings),
      secondOne(check, { ...surroundings, env: { ...surroundings.env, SPECGATE_LOG_LEVEL: "error" } }),
    ]);
    await crowd(check, gateway, client, provider);
    if (parts.crash) gateway = await crash(check, gateway, client, provider, surroundings);
    if (parts.outageSeconds !== null)
      await outage(check, gateway, client, join(dir, "specgate-data"), parts.outageSeconds);
    await drains(check, await Caller.open(gateway, client));
    await llm(check, parts.crash ? 6 : 0);
    await identity(check, join(dir, "people"), provider);
    await mcp(check, join(dir, "mcp"), provider);
    await artifacts(check, join(dir, "artifacts"), {
      kills: parts.crash ? 3 : 0,
      seed: Date.now() % 1_000_000,
    });
    await check("a runner gets from an iteration and 1,000 tasks to a completed session", async () => {
      const home = join(dir, "runner");
      mkdirSync(home);
      let steps = 0;
      await runnerLoop(home, 1_000, () => {
        steps += 1;
      });
      return `${steps} steps`;
    });
  } finally {
    await gateway?.stop("SIGKILL");
    provider.close();
  }
}

/** Root hands PostgreSQL to another user; everyone else runs it as oneself. Both have to work. */
async function asOrdinaryUser(check: Check, dir: string): Promise<void> {
  const uid = ordinaryUid();
  const home = join(dir, "ordinary");
  const program = join(dir, "specgate");
  layHostileDirectory(home);
  copyFileSync(binary, program);
  chmodSync(program, 0o755);
  chownSync(home, uid, uid);
  const surroundings = { cwd: home, uid, program };
  let gateway: Gateway | undefined;
  await check("an ordinary user's gateway streams the demo and ends with exit code 0", async () => {
    gateway = await serve([], surroundings);
    const client = await createClient(join(home, "specgate-data"), surroundings);
    const caller = await Caller.open(gateway, client);
    const { status, body } = await caller.chat("demo/echo");
    expect(status === 200 && new TextDecoder().decode(body).includes("[DONE]"), `status ${status}`);
    expect((await gateway.stop()) === 0, "it did not exit with 0");
  });
  await gateway?.stop("SIGKILL");
}

/** An account with a name, which initdb asks for. */
function ordinaryUid(): number {
  const accounts = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => Number(line.split(":")[2]));
  return accounts.find((uid) => uid > 0 && uid < 65_534) ?? 65_534;
}

if (import.meta.main) {
  const args = process.argv.slice(2);
  await buildIfChanged();
  const outageSeconds = args.includes("--minute") ? 60 : args.includes("--outage") ? 15 : null;
  const { passed, failed } = await smoke({ crash: args.includes("--crash"), outageSeconds });
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}
