/** `specgate gate`: whether a piece of work is done, by what its project means by that. */
import type { Command } from "commander";
import type { EvaluationView, PolicyView, WaiverView } from "../features/gates/contract.ts";
import { openControl } from "./control-api.ts";
import { gateColumns, gateRows } from "./gate-words.ts";
import {
  type ControlFlags,
  overGateway,
  parseIteration,
  parseNumber,
  parseProject,
  projectOf,
} from "./gateway-options.ts";
import { readJsonText } from "./input-file.ts";
import { printJson, table } from "./print.ts";
import { printView } from "./print-view.ts";
import { Ended, Misuse, type World } from "./world.ts";

type EvaluateFlags = ControlFlags & { iteration: string };
type PolicyFlags = ControlFlags & { project?: string; set?: string };
type WaiveFlags = ControlFlags & { iteration: string; gate: string; reason: string; expiresHours: number };

export function addGateCommands(program: Command, world: World): void {
  const gate = program.command("gate").description("the gates before what counts as done, over HTTP");
  addEvaluate(gate, world);
  addPolicy(gate, world);
  addWaive(gate, world);
}

function addEvaluate(gate: Command, world: World): void {
  const command = gate
    .command("evaluate")
    .description("judge an iteration by its project's gates; exit 1 when one fails")
    .requiredOption("--iteration <id>", "the iteration, itr_…", parseIteration);
  overGateway(command, {
    notes: "The verdict is kept. It ends nothing: that does specgate iteration pass, which judges anew.",
    examples: ["specgate gate evaluate --iteration itr_…"],
  }).action(async ({ iteration, ...flags }: EvaluateFlags) => {
    const control = await openControl(world, flags);
    const verdict = await control.post<EvaluationView>(`/iterations/${iteration}/gate-evaluations`);
    if (flags.json) printJson(world, verdict);
    else world.stdout(table(gateRows(verdict), [...gateColumns]));
    if (!verdict.ok) throw new Ended(1);
  });
}

function addPolicy(gate: Command, world: World): void {
  const command = gate
    .command("policy")
    .description("print what a project's gates ask for, or set it")
    .option("--project <id>", "the project, prj_…; that of the credential when left out", parseProject)
    .option("--set <file>", "set the policy in this JSON file, or of standard input with -");
  overGateway(command, {
    notes:
      "What is printed is what --set takes; what a policy leaves out is as usual. Only an owner sets it.",
    examples: [
      "specgate gate policy --project prj_… > policy.json",
      "specgate gate policy --project prj_… --set policy.json",
      `echo '{"coverage": {"required": true, "percent_min": 90}}' | specgate gate policy --set -`,
    ],
  }).action(async (flags: PolicyFlags) => {
    const policy = flags.set === undefined ? null : await readPolicy(world, flags.set);
    const control = await openControl(world, flags);
    const path = `/projects/${await projectOf(control, flags.project)}/gate-policy` as const;
    const view =
      policy === null ? await control.get<PolicyView>(path) : await control.put<PolicyView>(path, policy);
    if (flags.json) printJson(world, view);
    else world.stdout(`${JSON.stringify(view.policy, null, 2)}\n`);
  });
}

async function readPolicy(world: World, file: string): Promise<object> {
  const policy = await readJsonText(world, file);
  if (typeof policy === "object" && policy !== null && !Array.isArray(policy)) return policy;
  throw new Misuse([`${file}: no policy; would be such as {"coverage": {"required": true}}`]);
}

const hourMs = 3_600_000;

function addWaive(gate: Command, world: World): void {
  const command = gate
    .command("waive")
    .description("let an iteration pass one gate for a while")
    .requiredOption("--iteration <id>", "the iteration, itr_…", parseIteration)
    .requiredOption("--gate <name>", "the gate: tasks, tests, coverage, security or one of the project's own")
    .requiredOption("--reason <text>", "why; it is kept with the waiver")
    .requiredOption("--expires-hours <number>", "for how long, in hours from now", parseNumber);
  overGateway(command, {
    notes: "Only a person who owns the project waives a gate.",
    examples: [
      'specgate gate waive --iteration itr_… --gate coverage --reason "the generated client has no tests" --expires-hours 24',
    ],
  }).action(async ({ iteration, gate: name, reason, expiresHours, ...flags }: WaiveFlags) => {
    const control = await openControl(world, flags);
    const expires_at = new Date(Date.now() + expiresHours * hourMs).toISOString();
    const asked = { gate: name, reason, expires_at };
    const path = `/iterations/${iteration}/waivers` as const;
    printView(world, flags.json, await control.post<WaiverView>(path, asked));
  });
}
