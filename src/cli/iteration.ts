/** `specgate iteration`: the tries at a session. */
import type { Command } from "commander";
import type { IterationView } from "../features/sessions/contract.ts";
import { type IterationState, iterationStates, type Step, steps } from "../features/sessions/states.ts";
import { openControl } from "./control-api.ts";
import { throughGates } from "./gate-words.ts";
import {
  type ControlFlags,
  choice,
  overGateway,
  parseIteration,
  parseSession,
  requireSome,
} from "./gateway-options.ts";
import { printList } from "./print.ts";
import { printView } from "./print-view.ts";
import type { World } from "./world.ts";

type StartFlags = ControlFlags & { session: string; step?: Step; commit?: string };
type ListFlags = ControlFlags & { session: string; status?: IterationState };
type UpdateFlags = ControlFlags & { step?: Step; commit?: string; notes?: string };

export function addIterationCommands(program: Command, world: World): void {
  const iteration = program.command("iteration").description("the tries at a session, over HTTP");
  addStart(iteration, world);
  addList(iteration, world);
  addShow(iteration, world);
  addUpdate(iteration, world);
  for (const ending of endings) addEnding(iteration, world, ending);
}

const stepOption = (meaning: string) => choice("--step <step>", meaning, steps);
const commitMeaning = "the commit it is at: 7 to 64 hexadecimal digits";

function addStart(iteration: Command, world: World): void {
  const command = iteration
    .command("start")
    .description("begin the next iteration of a session; prints it")
    .requiredOption("--session <id>", "the session, ses_…", parseSession)
    .addOption(stepOption("where it begins; SPEC when left out"))
    .option("--commit <sha>", commitMeaning);
  overGateway(command, {
    examples: [
      'specgate iteration start --session ses_… --step IMPLEMENT --commit "$(git rev-parse HEAD)"',
      "specgate iteration start --session ses_… --json | jq -r .id",
    ],
  }).action(async ({ session, step, commit, ...flags }: StartFlags) => {
    const control = await openControl(world, flags);
    const asked = { step, commit_sha: commit };
    const path = `/sessions/${session}/iterations` as const;
    printView(world, flags.json, await control.post<IterationView>(path, asked));
  });
}

function addList(iteration: Command, world: World): void {
  const command = iteration
    .command("list")
    .description("the iterations of a session, the last one first")
    .requiredOption("--session <id>", "the session, ses_…", parseSession)
    .addOption(choice("--status <status>", "only those in this state", iterationStates));
  overGateway(command, { examples: ["specgate iteration list --session ses_…"] }).action(
    async ({ session, status, ...flags }: ListFlags) => {
      const control = await openControl(world, flags);
      const rows = await control.all<IterationView>(`/sessions/${session}/iterations`, { status });
      const columns = ["id", "number", "step", "status", "commit_sha", "created_at"] as const;
      printList(world, flags.json === true, rows, [...columns]);
    },
  );
}

const onOne = (iteration: Command, name: string, description: string): Command =>
  iteration.command(name).description(description).argument("<iteration>", "its id, itr_…", parseIteration);

function addShow(iteration: Command, world: World): void {
  const command = onOne(iteration, "show", "one iteration");
  overGateway(command, { examples: ["specgate iteration show itr_…"] }).action(
    async (id: string, flags: ControlFlags) => {
      const control = await openControl(world, flags);
      printView(world, flags.json, await control.get<IterationView>(`/iterations/${id}`));
    },
  );
}

function addUpdate(iteration: Command, world: World): void {
  const command = onOne(iteration, "update", "say where a running iteration is")
    .addOption(stepOption("the step it is at"))
    .option("--commit <sha>", commitMeaning)
    .option("--notes <text>", "whatever else there is to say");
  overGateway(command, {
    examples: ['specgate iteration update itr_… --step TEST_SUITE --commit "$(git rev-parse HEAD)"'],
  }).action(async (id: string, { step, commit, notes, ...flags }: UpdateFlags) => {
    const asked = { step, commit_sha: commit, notes };
    requireSome(asked, "--step, --commit, --notes");
    const control = await openControl(world, flags);
    printView(world, flags.json, await control.patch<IterationView>(`/iterations/${id}`, asked));
  });
}

type Ending = { name: string; status: IterationState; description: string; notes?: string };

const endings: Ending[] = [
  {
    name: "pass",
    status: "passed",
    description: "end an iteration as passed, if the project's gates say so",
    notes: "When a gate stands in the way, each that does is named with its code, and the exit code is 1.",
  },
  { name: "fail", status: "failed", description: "end an iteration as failed" },
  { name: "abandon", status: "abandoned", description: "end an iteration that nobody goes on with" },
];

function addEnding(iteration: Command, world: World, { name, status, description, notes }: Ending): void {
  overGateway(onOne(iteration, name, description), {
    ...(notes === undefined ? {} : { notes }),
    examples: [`specgate iteration ${name} itr_…`],
  }).action(async (id: string, flags: ControlFlags) => {
    const control = await openControl(world, flags);
    const asked = () => control.patch<IterationView>(`/iterations/${id}`, { status });
    printView(world, flags.json, await throughGates(world, asked));
  });
}
