/**
 * Which specgate.yaml the gateway of a data dir reads. `serve` notes it, so that a command that removes things for good,
 * run from anywhere, keeps them as long as the gateway would.
 */
import { readFileSync } from "node:fs";
import type { Config } from "../platform/config.ts";
import { type DataDir, writeWhole } from "../platform/data-dir.ts";
import { configOf, type SettingFlags } from "./config.ts";
import type { World } from "./world.ts";

export function noteConfigFile(dir: DataDir, file: string | null): void {
  writeWhole(dir.file("config-file"), `${file ?? ""}\n`);
}

/** With the file that is named or found here, else with the gateway's own. Throws Misuse for mistakes in either. */
export function configAsServed(world: World, flags: SettingFlags): Config {
  const config = configOf(world, flags);
  const noted = config.file === null ? notedFile(config.dataDir) : null;
  return noted === null ? config : configOf(world, { ...flags, config: noted });
}

function notedFile(dataDir: string): string | null {
  try {
    return readFileSync(`${dataDir}/config-file`, "utf8").trim() || null;
  } catch {
    return null;
  }
}
