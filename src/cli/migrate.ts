/** `specgate migrate`: the schema, brought up to what this binary knows, or only looked at. */
import type { Command } from "commander";
import { connect } from "../db/connection.ts";
import type { Sql } from "../db/database.ts";
import { migrate, pendingMigrations } from "../db/migrate.ts";
import { reach } from "../db/reach.ts";
import { configOf, type SettingFlags } from "./config.ts";
import { findPlace, type Place } from "./local-database.ts";
import { Ended, type World } from "./world.ts";

export function addMigrateCommand(program: Command, world: World): void {
  program
    .command("migrate")
    .description("bring the database's schema up to date")
    .option("--check", "change nothing; exit 1 when it is not up to date")
    .option("--config <file>", "the YAML file")
    .option("--data-dir <dir>", "the gateway's data dir; made when it is not there")
    .action(async (flags: SettingFlags & { check?: boolean }) => {
      const place = await findPlace(world, configOf(world, flags), {
        command: "migrate",
        create: !flags.check,
      });
      const sql = ownerOf(place);
      try {
        await reach(place.owner, application);
        if (flags.check) await check(world, sql);
        else await bringUp(world, sql, place);
      } finally {
        await sql.end({ timeout: 5 });
        await place.stop();
      }
    });
}

const application = "specgate migrate";

/** A migration may take its time, so the server sets no limit. */
const ownerOf = (place: Place): Sql =>
  connect(place.owner, {
    applicationName: application,
    prepare: false,
    connectionsMax: 1,
    statementTimeoutMs: null,
  });

async function bringUp(world: World, sql: Sql, { gatewayRole }: Place): Promise<void> {
  const taken = await migrate(sql, { gatewayRole });
  for (const name of taken) world.stdout(`${name}\n`);
  world.stderr(taken.length === 0 ? "The schema was up to date.\n" : "The schema is up to date.\n");
}

async function check(world: World, sql: Sql): Promise<void> {
  const pending = await pendingMigrations(sql);
  for (const name of pending) world.stdout(`${name}\n`);
  if (pending.length === 0) {
    world.stderr("The schema is up to date.\n");
    return;
  }
  world.stderr("The schema is not up to date: specgate migrate takes the steps above.\n");
  throw new Ended(1);
}
