/** `specgate client`: machine identities. A secret is printed once, by the command that made it. */
import { type Command, Option } from "commander";
import { type ClientKind, clientKinds } from "../platform/scopes.ts";
import { type LocalFlags, withLocal } from "./local.ts";
import { printList, printOne } from "./print.ts";
import { Misuse, type World } from "./world.ts";

type Flags = LocalFlags & { json?: boolean };
type CreateFlags = Flags & {
  name?: string;
  kind: ClientKind;
  project?: string;
  redirectUri: string[];
  scope: string;
};

export function addClientCommands(program: Command, world: World): void {
  const client = program
    .command("client")
    .description("machine identities, which get tokens with a secret of their own");
  const command = (name: string, description: string) =>
    client
      .command(name)
      .description(description)
      .option("--data-dir <dir>", "the gateway's data dir")
      .option("--json", "print JSON");

  command("create", "add a client; its secret is printed once")
    .option("--name <name>", "what people call it; the kind when left out")
    .addOption(new Option("--kind <kind>", "what it is").choices([...clientKinds]).makeOptionMandatory())
    .option("--project <id>", "the project it belongs to and acts in")
    .option("--redirect-uri <uri>", "for desktop clients; may be repeated", collect, [])
    .requiredOption("--scope <scopes>", "what it may do, separated by spaces")
    .addHelpText(
      "after",
      `
A runner without a project may hold llm:chat, usage:read and mcp:read. A desktop client is public and has no secret.

Examples:
  $ specgate client create --kind runner --scope "llm:chat usage:read"
  $ specgate client create --name nightly --kind runner --project prj_… --scope "llm:chat control:write" --json
`,
    )
    .action(async (flags: CreateFlags) => {
      const { kind, scope } = flags;
      const asked = {
        name: flags.name ?? kind,
        kind,
        scope,
        projectId: flags.project ?? null,
        redirectUris: flags.redirectUri,
      };
      const made = await withLocal(world, flags, ({ clients, actor }) => clients.create(actor, asked));
      printOne(world, flags.json === true, made);
      if (made.client_secret !== undefined)
        world.stderr("The secret is shown this once; the gateway keeps only its hash.\n");
    });
  command("list", "all clients").action(async (flags: Flags) => {
    const rows = await withLocal(world, flags, ({ clients }) => clients.list());
    printList(world, flags.json === true, rows, [
      "client_id",
      "name",
      "kind",
      "project_id",
      "scope",
      "created_at",
      "revoked_at",
    ]);
  });
  command("rotate", "give a client a new secret; the old one stops at once")
    .argument("[client]", "its id, cli_…")
    .option("--client <id>", "the same as an option")
    .action(async (argument: string | undefined, flags: Flags & { client?: string }) => {
      const id = idOf(argument ?? flags.client, "rotate");
      const made = await withLocal(world, flags, ({ clients, actor }) => clients.rotate(actor, id));
      printOne(world, flags.json === true, made);
      world.stderr("The secret is shown this once; the gateway keeps only its hash.\n");
    });
  command("revoke", "stop a client, its tokens and its keys, at once")
    .argument("[client]", "its id, cli_…")
    .option("--client <id>", "the same as an option")
    .action(async (argument: string | undefined, flags: Flags & { client?: string }) => {
      const id = idOf(argument ?? flags.client, "revoke");
      printOne(
        world,
        flags.json === true,
        await withLocal(world, flags, ({ clients, actor }) => clients.revoke(actor, id)),
      );
    });
}

const collect = (value: string, before: string[]): string[] => [...before, value];

function idOf(id: string | undefined, verb: string): string {
  if (id === undefined) throw new Misuse([`the client is missing; would be: specgate client ${verb} cli_…`]);
  return id;
}
