/** `specgate user`: people. Passwords come by standard input alone: arguments can be read by every process. */
import { type Command, Option } from "commander";
import { type LocalFlags, withLocal } from "./local.ts";
import { printList, printOne } from "./print.ts";
import { Misuse, type World } from "./world.ts";

type Flags = LocalFlags & { json?: boolean; email?: string; role: "admin" | "user"; passwordStdin?: boolean };

export function addUserCommands(program: Command, world: World): void {
  const user = program.command("user").description("people");
  const command = (name: string, description: string) =>
    user
      .command(name)
      .description(description)
      .option("--data-dir <dir>", "the gateway's data dir")
      .option("--json", "print JSON");
  const onOne = (name: string, description: string) =>
    command(name, description)
      .argument("[email]", "their e-mail address")
      .option("--email <email>", "the same as an option");

  onOne("create", "add a person; without a password they cannot sign in by one")
    .addOption(new Option("--role <role>", "what they may do").choices(["admin", "user"]).default("user"))
    .option("--password-stdin", "read their password from standard input")
    .addHelpText(
      "after",
      `\nExample:\n  $ specgate user create --email ada@example.com --role admin --password-stdin < password\n`,
    )
    .action(async (argument: string | undefined, flags: Flags) => {
      const email = emailOf(argument, flags);
      const password = flags.passwordStdin ? await readPassword(world) : null;
      const asked = { email, role: flags.role, ...(password === null ? {} : { password }) };
      printOne(
        world,
        flags.json === true,
        await withLocal(world, flags, ({ users, actor }) => users.create(actor, asked)),
      );
    });
  command("list", "all people").action(async (flags: Flags) => {
    const rows = await withLocal(world, flags, ({ users }) => users.list());
    printList(world, flags.json === true, rows, ["id", "email", "role", "created_at", "disabled_at"]);
  });
  onOne("disable", "stop a person and everything that acts for them, at once").action(
    async (argument: string | undefined, flags: Flags) => {
      const email = emailOf(argument, flags);
      printOne(
        world,
        flags.json === true,
        await withLocal(world, flags, ({ users, actor }) => users.disable(actor, email)),
      );
    },
  );
  onOne("password", "set a person's password")
    .requiredOption("--password-stdin", "read it from standard input")
    .action(async (argument: string | undefined, flags: Flags) => {
      const email = emailOf(argument, flags);
      const password = await readPassword(world);
      const work = ({ users, actor }: Parameters<Parameters<typeof withLocal>[2]>[0]) =>
        users.setPassword(actor, email, password);
      printOne(world, flags.json === true, await withLocal(world, flags, work));
    });
}

function emailOf(argument: string | undefined, flags: Flags): string {
  const email = argument ?? flags.email;
  if (email === undefined) throw new Misuse(["the person is missing; would be: --email ada@example.com"]);
  return email;
}

/** One line end is the shell's, not the password's. */
async function readPassword(world: World): Promise<string> {
  const text = (await world.stdin()).replace(/\r?\n$/, "");
  if (text === "") throw new Misuse(["standard input is empty; would hold the password"]);
  return text;
}
