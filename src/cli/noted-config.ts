/**
 * Which specgate.yaml the gateway of a data dir reads. `serve` notes it, so that a command that removes things for good,
 * run from anywhere, keeps them as long as the gateway would.
 */
import { existsSync, readFileSync } from "node:fs";
import { devNull } from "node:os";
import { resolve } from "node:path";
import type { Config } from "../platform/config.ts";
import { isGiven, readEnvironment } from "../platform/config-env.ts";
import { loadConfig } from "../platform/config-load.ts";
import { type DataDir, writeWhole } from "../platform/data-dir.ts";
import { configOf, type SettingFlags } from "./config.ts";
import { printable } from "./print.ts";
import type { World } from "./world.ts";

export function noteConfigFile(dir: DataDir, file: string | null): void {
  writeWhole(dir.file("config-file"), `${file ?? ""}\n`);
}

/**
 * With the file that is named, else with the one that the gateway noted (perhaps none), else with the one that is found
 * here. Throws Misuse for its mistakes.
 */
export function configAsServed(world: World, flags: SettingFlags): Config {
  const { env, cwd } = world;
  const here = loadConfig({ env, cwd, flags, terminal: world.isTerminal });
  const around = here.ok ? here.config : here.withoutFile;
  const isNamed = flags.config !== undefined || isGiven(readEnvironment(env, cwd), "SPECGATE_CONFIG");
  const noted = isNamed || around === null ? null : notedFile(around.dataDir);
  if (noted === null) return configOf(world, flags);
  const local = resolve(cwd, "specgate.yaml");
  if (local !== noted && existsSync(local))
    world.stderr(
      `specgate: reading ${noted === "" ? "no specgate.yaml" : printable(noted)}, as the gateway does, and not ${printable(local)}.\n`,
    );
  return configOf(world, { ...flags, config: noted === "" ? devNull : noted });
}

/** Empty: the gateway reads none. Null: no gateway has noted anything. */
function notedFile(dataDir: string): string | null {
  try {
    return readFileSync(`${dataDir}/config-file`, "utf8").trim();
  } catch {
    return null;
  }
}
