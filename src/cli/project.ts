/** `specgate project`: names for what credentials are bound to. */
import type { Command } from "commander";
import { type LocalFlags, withLocal } from "./local.ts";
import { printList, printOne } from "./print.ts";
import { Misuse, type World } from "./world.ts";

type Flags = LocalFlags & { json?: boolean; name?: string; owner?: string };

export function addProjectCommands(program: Command, world: World): void {
  const project = program.command("project").description("projects, which credentials can be bound to");
  project
    .command("create")
    .description("name a project; prints its id")
    .argument("[name]", "its name; need not be unique")
    .option("--name <name>", "the same as an option")
    .option("--owner <email>", "the person who owns it and adds the others; administrators may always")
    .option("--data-dir <dir>", "the gateway's data dir")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      `\nExample:\n  $ specgate project create "Billing rewrite" --owner olga@example.com\n`,
    )
    .action(async (argument: string | undefined, flags: Flags) => {
      const name = argument ?? flags.name;
      if (name === undefined)
        throw new Misuse(["the name is missing; would be: specgate project create NAME"]);
      const made = await withLocal(world, flags, async ({ projects, users, actor }) => {
        const ownerId = flags.owner === undefined ? null : await users.idOf(flags.owner);
        return projects.create(actor, { name }, ownerId);
      });
      printOne(world, flags.json === true, made);
    });
  project
    .command("list")
    .description("all projects")
    .option("--data-dir <dir>", "the gateway's data dir")
    .option("--json", "print JSON")
    .action(async (flags: Flags) => {
      const rows = await withLocal(world, flags, ({ projects }) => projects.list());
      printList(world, flags.json === true, rows, ["id", "name", "archived"]);
    });
}
