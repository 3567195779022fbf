/** `specgate project`: names for what credentials are bound to, here or at a gateway elsewhere. */
import { type Command, Option } from "commander";
import type { ProjectDetail, ProjectView } from "../features/projects/contract.ts";
import { openControl } from "./control-api.ts";
import { type ControlFlags, overGateway } from "./gateway-options.ts";
import { type LocalFlags, withLocal } from "./local.ts";
import { printList, printOne } from "./print.ts";
import { addRemoteProjectCommands } from "./project-remote.ts";
import { Misuse, type World } from "./world.ts";

type Flags = LocalFlags & ControlFlags;
type CreateFlags = Flags & { name?: string; owner?: string };

export function addProjectCommands(program: Command, world: World): void {
  const project = program.command("project").description("projects, which credentials can be bound to");
  addCreate(project, world);
  addList(project, world);
  addRemoteProjectCommands(project, world);
}

const notes = `Works on this machine's data dir, without asking a gateway, unless --url or --token is given or SPECGATE_URL or
SPECGATE_TOKEN is set: then it goes over HTTP, as whoever is signed in there. With --data-dir it is always local.`;

const dataDir = (): Option =>
  new Option("--data-dir <dir>", "the gateway's data dir").conflicts(["url", "token"]);

const isLocal = ({ env }: World, { dataDir, url, token }: Flags): boolean =>
  dataDir !== undefined ||
  [url, token, env.SPECGATE_URL, env.SPECGATE_TOKEN, env.SPECGATE_TOKEN_FILE].every(
    (given) => given === undefined,
  );

function addCreate(project: Command, world: World): void {
  const command = project
    .command("create")
    .description("name a project, and print it with its id; --json for scripts")
    .argument("[name]", "its name; need not be unique")
    .option("--name <name>", "the same as an option")
    .option("--owner <email>", "local: the person who owns it and adds the others; administrators may always")
    .addOption(dataDir());
  overGateway(command, {
    notes: `${notes}\nOver HTTP you become its owner.`,
    examples: [
      'specgate project create "Billing rewrite" --owner olga@example.com',
      'specgate project create "Billing rewrite" --url https://gate.example.com',
    ],
  }).action(async (argument: string | undefined, flags: CreateFlags) => {
    const name = argument ?? flags.name;
    if (name === undefined) throw new Misuse(["the name is missing; would be: specgate project create NAME"]);
    const made = isLocal(world, flags)
      ? await createHere(world, flags, name)
      : await createThere(world, flags, name);
    printOne(world, flags.json === true, made);
  });
}

const createHere = (world: World, flags: CreateFlags, name: string): Promise<ProjectView> =>
  withLocal(world, flags, async ({ projects, users, actor }) => {
    const ownerId = flags.owner === undefined ? null : await users.idOf(flags.owner);
    return projects.create(actor, { name }, ownerId);
  });

async function createThere(world: World, flags: CreateFlags, name: string): Promise<ProjectView> {
  if (flags.owner !== undefined)
    throw new Misuse([
      "--owner: over HTTP you become the owner; leave it out, or add --data-dir to be local",
    ]);
  const control = await openControl(world, flags);
  return control.post<ProjectView>("/projects", { name });
}

function addList(project: Command, world: World): void {
  const command = project
    .command("list")
    .description("all projects; over HTTP those that you have a part in")
    .addOption(dataDir());
  overGateway(command, {
    notes,
    examples: ["specgate project list", "specgate project list --url https://gate.example.com"],
  }).action(async (flags: Flags) => {
    const json = flags.json === true;
    if (isLocal(world, flags)) {
      const rows = await withLocal(world, flags, ({ projects }) => projects.list());
      printList(world, json, rows, ["id", "name", "archived"]);
      return;
    }
    const control = await openControl(world, flags);
    const rows = await control.all<ProjectDetail>("/projects");
    printList(world, json, rows, ["id", "name", "role", "archived"]);
  });
}
