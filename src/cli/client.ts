/** `specgate client`: machine identities. A secret is printed once, by the command that made it. */
import { type Command, Option } from "commander";
import type { CreatedClient } from "../features/tokens/contract.ts";
import { type ClientKind, clientKinds } from "../platform/scopes.ts";
import { type LocalFlags, withLocal } from "./local.ts";
import { printList, printOne } from "./print.ts";
import { Misuse, type World } from "./world.ts";

type Flags = LocalFlags & { json?: boolean };
type OneFlags = Flags & { client?: string };
type CreateFlags = Flags & {
  name?: string;
  kind: ClientKind;
  project?: string;
  redirectUri?: string[];
  scope: string;
};

export function addClientCommands(program: Command, world: World): void {
  const client = program
    .command("client")
    .description("machine identities, which get tokens with a secret of their own");
  const command = (name: string, description: string): Command =>
    client
      .command(name)
      .description(description)
      .option("--data-dir <dir>", "the gateway's data dir")
      .option("--json", "print JSON");
  const onOne = (name: string, description: string): Command =>
    command(name, description)
      .argument("[client]", "its id, cli_…")
      .option("--client <id>", "the same as an option");

  create(command("create", "add a client; its secret is printed once"), world);
  command("list", "all clients").action(async (flags: Flags) => {
    const rows = await withLocal(world, flags, ({ clients }) => clients.list());
    const columns = ["client_id", "name", "kind", "project_id", "scope", "created_at", "revoked_at"] as const;
    printList(world, flags.json === true, rows, [...columns]);
  });
  onOne("rotate", "give a client a new secret; the old one stops at once").action(
    async (argument: string | undefined, flags: OneFlags) => {
      const id = idOf(argument ?? flags.client, "rotate");
      const made = await withLocal(world, flags, ({ clients, actor }) => clients.rotate(actor, id));
      printMade(world, flags, made);
    },
  );
  onOne("revoke", "stop a client, its tokens and its keys, at once").action(
    async (argument: string | undefined, flags: OneFlags) => {
      const id = idOf(argument ?? flags.client, "revoke");
      const row = await withLocal(world, flags, ({ clients, actor }) => clients.revoke(actor, id));
      printOne(world, flags.json === true, row);
    },
  );
}

function create(command: Command, world: World): void {
  command
    .option("--name <name>", "what people call it; the kind when left out")
    .addOption(new Option("--kind <kind>", "what it is").choices([...clientKinds]).makeOptionMandatory())
    .option("--project <id>", "the project it belongs to and acts in")
    .addOption(new Option("--redirect-uri <uri>", "for desktop clients; may be repeated").argParser(collect))
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
      const { kind, scope, name = kind, project = null, redirectUri = [] } = flags;
      const asked = { name, kind, scope, projectId: project, redirectUris: redirectUri };
      const made = await withLocal(world, flags, ({ clients, actor }) => clients.create(actor, asked));
      printMade(world, flags, made);
    });
}

function printMade(world: World, flags: Flags, made: CreatedClient): void {
  printOne(world, flags.json === true, made);
  if (made.client_secret === undefined) return;
  world.stderr("The secret is shown this once; the gateway keeps only its hash.\n");
}

const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

function idOf(id: string | undefined, verb: string): string {
  if (id === undefined) throw new Misuse([`the client is missing; would be: specgate client ${verb} cli_…`]);
  return id;
}
