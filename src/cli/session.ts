/** `specgate session`: the pieces of work of a project. */
import type { Command } from "commander";
import type { SessionView } from "../features/sessions/contract.ts";
import { type SessionState, sessionStates } from "../features/sessions/states.ts";
import { openControl } from "./control-api.ts";
import { throughGates } from "./gate-words.ts";
import {
  type ControlFlags,
  choice,
  overGateway,
  parseProject,
  parseSession,
  projectOf,
} from "./gateway-options.ts";
import { printList } from "./print.ts";
import { printView } from "./print-view.ts";
import type { World } from "./world.ts";

type CreateFlags = ControlFlags & { project?: string; spec?: string };
type ListFlags = ControlFlags & { project?: string; status?: SessionState };

export function addSessionCommands(program: Command, world: World): void {
  const session = program.command("session").description("the pieces of work of a project, over HTTP");
  addCreate(session, world);
  addList(session, world);
  addShow(session, world);
  for (const ending of endings) addEnding(session, world, ending);
}

const projectMeaning = "its project, prj_…; that of the credential when left out";

function addCreate(session: Command, world: World): void {
  const command = session
    .command("create")
    .description("open a session; prints it")
    .argument("<title>", "what is to be done")
    .option("--project <id>", projectMeaning, parseProject)
    .option("--spec <spec>", "the specification that it works from: a path, a name or an address");
  overGateway(command, {
    examples: [
      'specgate session create "Invoices by e-mail" --project prj_… --spec specs/012-invoices/spec.md',
      'specgate session create "Invoices by e-mail" --json | jq -r .id',
    ],
  }).action(async (title: string, flags: CreateFlags) => {
    const control = await openControl(world, flags);
    const project = await projectOf(control, flags.project);
    const asked = { title, ...(flags.spec === undefined ? {} : { spec: flags.spec }) };
    printView(world, flags.json, await control.post<SessionView>(`/projects/${project}/sessions`, asked));
  });
}

function addList(session: Command, world: World): void {
  const command = session
    .command("list")
    .description("the sessions of a project, newest first")
    .option("--project <id>", projectMeaning, parseProject)
    .addOption(choice("--status <status>", "only those in this state", sessionStates));
  overGateway(command, {
    examples: ["specgate session list --project prj_…", "specgate session list --status open --json"],
  }).action(async (flags: ListFlags) => {
    const control = await openControl(world, flags);
    const project = await projectOf(control, flags.project);
    const { status } = flags;
    const rows = await control.all<SessionView>(`/projects/${project}/sessions`, { status });
    const columns = ["id", "status", "iterations", "created_at", "title"] as const;
    printList(world, flags.json === true, rows, [...columns]);
  });
}

function addShow(session: Command, world: World): void {
  const command = session
    .command("show")
    .description("one session")
    .argument("<session>", "its id, ses_…", parseSession);
  overGateway(command, { examples: ["specgate session show ses_…"] }).action(
    async (id: string, flags: ControlFlags) => {
      const control = await openControl(world, flags);
      printView(world, flags.json, await control.get<SessionView>(`/sessions/${id}`));
    },
  );
}

type Ending = { name: string; status: SessionState; description: string; notes?: string };

const endings: Ending[] = [
  {
    name: "complete",
    status: "completed",
    description: "end a session as done, if the project's gates say so",
    notes: "When a gate stands in the way, each that does is named with its code, and the exit code is 1.",
  },
  { name: "fail", status: "failed", description: "end a session as failed" },
  { name: "cancel", status: "cancelled", description: "end a session that is not wanted any more" },
  {
    name: "reopen",
    status: "open",
    description: "open a session again that is over",
    notes: "Only a person opens a session again; a machine's credential is refused.",
  },
];

function addEnding(session: Command, world: World, { name, status, description, notes }: Ending): void {
  const command = session
    .command(name)
    .description(description)
    .argument("<session>", "its id, ses_…", parseSession);
  overGateway(command, {
    ...(notes === undefined ? {} : { notes }),
    examples: [`specgate session ${name} ses_…`],
  }).action(async (id: string, flags: ControlFlags) => {
    const control = await openControl(world, flags);
    const asked = () => control.patch<SessionView>(`/sessions/${id}`, { status });
    printView(world, flags.json, await throughGates(world, asked));
  });
}
