/**
 * `specgate doctor`: whether this machine, this configuration and this database and this storage can carry
 * the gateway.
 *
 * One line for each check, on stdout; exit 1 when one fails. What it writes to try things it takes away again; it
 * makes no data dir and spends no token.
 */
import { join } from "node:path";
import type { Command } from "commander";
import type { Config } from "../platform/config.ts";
import { loadConfig } from "../platform/config-load.ts";
import { asFailure, Failure } from "../platform/failure.ts";
import { checkClock, checkDatabase } from "./doctor-database.ts";
import { checkJournal } from "./doctor-disk.ts";
import { checkUpstreams } from "./doctor-mcp.ts";
import { checkProviders } from "./doctor-providers.ts";
import { checkRedis } from "./doctor-redis.ts";
import { checkElsewhere, checkStorage } from "./doctor-storage.ts";
import { checkUsage } from "./doctor-usage.ts";
import { checkWorkspaces } from "./doctor-workspaces.ts";
import { openLocalDatabase } from "./local-database.ts";
import { printable, printJson } from "./print.ts";
import { publicUrlOf } from "./public-url.ts";
import { Ended, type World } from "./world.ts";

export type Finding = { name: string; status: "ok" | "warning" | "failure"; message: string };

type Flags = { config?: string; dataDir?: string; json?: boolean };

export function addDoctorCommand(program: Command, world: World): void {
  program
    .command("doctor")
    .description(
      "check configuration, database, journal's disk, storage, providers, workspaces, MCP servers and clock; exit 1 on a failure",
    )
    .option("--config <file>", "the YAML file")
    .option("--data-dir <dir>", "the gateway's data dir")
    .option("--json", "print JSON")
    .action(async (flags: Flags) => {
      const findings = await examine(
        world,
        flags,
        flags.json ? () => undefined : (finding) => world.stdout(lineOf(finding)),
      );
      if (flags.json) printJson(world, { checks: findings });
      if (findings.some(({ status }) => status === "failure")) throw new Ended(1);
    });
}

async function examine(world: World, flags: Flags, tell: (finding: Finding) => void): Promise<Finding[]> {
  const findings: Finding[] = [];
  const add = (...more: Finding[]) => {
    findings.push(...more);
    for (const finding of more) tell(finding);
  };
  const { env, cwd } = world;
  const loaded = loadConfig({ env, cwd, flags, terminal: world.isTerminal });
  if (!loaded.ok) {
    add(
      ...loaded.mistakes.map((message) => ({ name: "configuration", status: "failure" as const, message })),
    );
  } else {
    add({ name: "configuration", status: "ok", message: loaded.config.file ?? "environment and defaults" });
    add(
      ...loaded.warnings.map((message) => ({ name: "configuration", status: "warning" as const, message })),
    );
  }
  // Without its file a gateway still has a database and a disk, though perhaps not these providers.
  const config = loaded.ok ? loaded.config : loaded.withoutFile;
  if (config !== null) {
    await checkBooks(world, config, add);
    const noted = { file: (name: string) => join(config.dataDir, name) };
    add(...(await checkStorage(config, publicUrlOf(config, noted))));
    add(...(await checkRedis(config.redisUrl)));
  }
  if (loaded.ok) {
    const { providers, mcp } = loaded.config.gateway;
    add(...(await checkProviders(providers)));
    add(...checkWorkspaces(loaded.config));
    add(...(await checkUpstreams(mcp.upstreams, world.version)));
  }
  return findings;
}

/** Database and clock need the database; the journal needs its directory alone. */
async function checkBooks(
  world: World,
  config: Config,
  add: (...findings: Finding[]) => void,
): Promise<void> {
  try {
    const local = await openLocalDatabase(world, config, "doctor");
    try {
      const database = await checkDatabase(local.database);
      add(database);
      add(await checkClock(local.database));
      if (database.status !== "failure") add(await checkUsage(local.database));
      add(...(await checkElsewhere(config, local.place.dir, local.database)));
    } finally {
      await local.close();
    }
  } catch (error) {
    const failure = error instanceof Failure ? error.message : asFailure(error).message;
    add({ name: "database", status: "failure", message: failure });
  }
  add(...checkJournal(config));
}

const marks = { ok: "ok", warning: "WARN", failure: "FAIL" };

const lineOf = ({ name, status, message }: Finding): string =>
  `${marks[status].padEnd(4)}  ${name.padEnd(13)}  ${printable(message)}\n`;
