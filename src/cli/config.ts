/** `specgate config`: what is in force, and whether it would be taken. Secrets print as `[redacted]`. */
import type { Command } from "commander";
import type { Config } from "../platform/config.ts";
import { loadConfig } from "../platform/config-load.ts";
import { configValues, printConfig } from "../platform/config-print.ts";
import { printable, printJson } from "./print.ts";
import { Misuse, type World } from "./world.ts";

export type SettingFlags = { config?: string; dataDir?: string };

export function addConfigCommands(program: Command, world: World): void {
  const config = program.command("config").description("the configuration");
  config
    .command("check")
    .description(
      "say every mistake of the environment and the file, or that there is none; exit 2 on a mistake",
    )
    .argument("[file]", "a YAML file; the one that would be read when left out")
    .option("--config <file>", "the same as an option")
    .addHelpText(
      "after",
      "\nExample:\n  $ specgate config check ./specgate.yaml && kill -HUP $(pidof specgate)\n",
    )
    .action((file: string | undefined, flags: SettingFlags) => {
      const path = file ?? flags.config;
      const found = configOf(world, path === undefined ? {} : { config: path });
      world.stderr(`The configuration is right${found.file === null ? "" : `: ${found.file}`}.\n`);
    });
  config
    .command("print")
    .description("the configuration in force, as YAML")
    .option("--defaults", "every variable with its meaning and default instead")
    .option("--config <file>", "the YAML file")
    .option("--data-dir <dir>", "the gateway's data dir")
    .option("--json", "print JSON")
    .action((flags: SettingFlags & { defaults?: boolean; json?: boolean }) => {
      if (flags.defaults) world.stdout(printConfig(null, { defaults: true }));
      else if (flags.json) printJson(world, configValues(configOf(world, flags)));
      else world.stdout(printConfig(configOf(world, flags), { defaults: false }));
    });
}

/** Warnings go to stderr; mistakes are a misuse. */
export function configOf(world: World, flags: SettingFlags): Config {
  const { env, cwd } = world;
  const loaded = loadConfig({ env, cwd, flags, terminal: world.isTerminal });
  if (!loaded.ok) throw new Misuse(loaded.mistakes);
  for (const line of loaded.warnings) world.stderr(`specgate: warning: ${line}\n`);
  return loaded.config;
}

/** For commands that read nothing of the file: its mistakes are warnings there. */
export function configWithoutFile(world: World, flags: SettingFlags): Config {
  const { env, cwd } = world;
  const loaded = loadConfig({ env, cwd, flags, terminal: world.isTerminal });
  if (loaded.ok || loaded.withoutFile === null) return configOf(world, flags);
  for (const line of loaded.mistakes) world.stderr(`specgate: warning: ${printable(line)}\n`);
  return loaded.withoutFile;
}
