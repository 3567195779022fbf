/** `specgate key`: API keys. A key is printed once, by the command that made it. */
import type { Command } from "commander";
import { type LocalFlags, withLocal } from "./local.ts";
import { printList, printOne } from "./print.ts";
import { parseWhole } from "./values.ts";
import { Misuse, type World } from "./world.ts";

type Flags = LocalFlags & { json?: boolean };
type CreateFlags = Flags & {
  user?: string;
  client?: string;
  project?: string;
  scope: string;
  expiresDays?: number;
};

export function addKeyCommands(program: Command, world: World): void {
  const key = program.command("key").description("API keys, which act as their owner, narrowed");
  const command = (name: string, description: string) =>
    key
      .command(name)
      .description(description)
      .option("--data-dir <dir>", "the gateway's data dir")
      .option("--json", "print JSON");

  command("create", "make a key for a person or a client; it is printed once")
    .option("--user <email>", "the person who owns it")
    .option("--client <id>", "or the client that owns it")
    .option("--project <id>", "bind it to a project")
    .requiredOption("--scope <scopes>", "what it may do, separated by spaces; within its owner's")
    .option("--expires-days <days>", "1 to 365; 90 when left out", parseWhole)
    .addHelpText(
      "after",
      `\nExample:\n  $ specgate key create --user ada@example.com --scope llm:chat --expires-days 30\n`,
    )
    .action(async (flags: CreateFlags) => {
      const asked = {
        owner: ownerOf(flags),
        scope: flags.scope,
        projectId: flags.project ?? null,
        ...(flags.expiresDays === undefined ? {} : { expiresDays: flags.expiresDays }),
      };
      const made = await withLocal(world, flags, ({ keys, actor }) => keys.create(actor, asked));
      printOne(world, flags.json === true, made);
      world.stderr("The key is shown this once; the gateway keeps only its hash.\n");
    });
  command("list", "all keys, without the keys themselves").action(async (flags: Flags) => {
    const rows = await withLocal(world, flags, ({ keys }) => keys.list());
    const owned = rows.map((row) => ({ ...row, owner: row.user_id ?? row.client_id }));
    if (flags.json) printList(world, true, rows, []);
    else
      printList(world, false, owned, [
        "id",
        "hint",
        "owner",
        "project_id",
        "scope",
        "expires_at",
        "revoked_at",
      ]);
  });
  command("revoke", "stop a key at once")
    .argument("<key>", "its id, key_…")
    .action(async (id: string, flags: Flags) => {
      printOne(
        world,
        flags.json === true,
        await withLocal(world, flags, ({ keys, actor }) => keys.revoke(actor, id)),
      );
    });
}

function ownerOf(flags: CreateFlags): { userEmail: string } | { clientId: string } {
  if (flags.user !== undefined && flags.client === undefined) return { userEmail: flags.user };
  if (flags.client !== undefined && flags.user === undefined) return { clientId: flags.client };
  throw new Misuse(["a key has one owner; would be either --user EMAIL or --client ID"]);
}
