/** `specgate check`: what was found out about one commit of an iteration. */
import type { Command } from "commander";
import {
  type CheckKind,
  type CheckStatus,
  type CheckView,
  checkKinds,
  checkStatuses,
} from "../features/gates/contract.ts";
import { openControl } from "./control-api.ts";
import { type ControlFlags, choice, overGateway, parseIteration, parseNumber } from "./gateway-options.ts";
import { printList } from "./print.ts";
import { printView } from "./print-view.ts";
import type { World } from "./world.ts";

type SubmitFlags = ControlFlags & {
  iteration: string;
  kind: CheckKind;
  status: CheckStatus;
  name?: string;
  percent?: number;
  commit?: string;
  summary?: string;
};
type ListFlags = ControlFlags & { iteration: string; kind?: CheckKind };

export function addCheckCommands(program: Command, world: World): void {
  const check = program.command("check").description("checks of an iteration, over HTTP");
  addSubmit(check, world);
  addList(check, world);
}

function addSubmit(check: Command, world: World): void {
  const command = check
    .command("submit")
    .description("say what was found; the latest check of its kind counts")
    .requiredOption("--iteration <id>", "the iteration, itr_…", parseIteration)
    .addOption(choice("--kind <kind>", "what was looked at", checkKinds).makeOptionMandatory())
    .addOption(choice("--status <status>", "how it came out", checkStatuses).makeOptionMandatory())
    .option("--name <name>", "of a custom check: the gate that it is for")
    .option("--percent <number>", "of a coverage check: how much is covered", parseNumber)
    .option("--commit <sha>", "the commit that was looked at; a gate wants that of the iteration")
    .option("--summary <text>", "what there is to say about it");
  overGateway(command, {
    examples: [
      'specgate check submit --iteration itr_… --kind test --status passed --commit "$(git rev-parse HEAD)"',
      "specgate check submit --iteration itr_… --kind coverage --status passed --percent 91.4 --commit 0123abc",
      "specgate check submit --iteration itr_… --kind custom --name migrations --status failed --commit 0123abc",
    ],
  }).action(async ({ iteration, kind, status, name, percent, commit, summary, ...flags }: SubmitFlags) => {
    const control = await openControl(world, flags);
    const asked = { kind, status, name, percent, commit_sha: commit, summary };
    const path = `/iterations/${iteration}/checks` as const;
    printView(world, flags.json, await control.post<CheckView>(path, asked));
  });
}

function addList(check: Command, world: World): void {
  const command = check
    .command("list")
    .description("the checks of an iteration, newest first")
    .requiredOption("--iteration <id>", "the iteration, itr_…", parseIteration)
    .addOption(choice("--kind <kind>", "only those of this kind", checkKinds));
  overGateway(command, { examples: ["specgate check list --iteration itr_… --kind test"] }).action(
    async ({ iteration, kind, ...flags }: ListFlags) => {
      const control = await openControl(world, flags);
      const rows = await control.all<CheckView>(`/iterations/${iteration}/checks`, { kind });
      const columns = [
        "id",
        "kind",
        "name",
        "status",
        "percent",
        "commit_sha",
        "created_at",
        "summary",
      ] as const;
      printList(world, flags.json === true, rows, [...columns]);
    },
  );
}
