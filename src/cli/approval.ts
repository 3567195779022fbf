/** `specgate approval`: a person's yes to one action on one thing, which can be used once. */
import type { Command } from "commander";
import type { ApprovalView, Decision } from "../features/approvals/contract.ts";
import { type ApprovalState, approvalStates } from "../features/approvals/states.ts";
import { addConsume, addRequest, addWait } from "./approval-request.ts";
import { openControl } from "./control-api.ts";
import { type ControlFlags, choice, overGateway, parseId, parseSession } from "./gateway-options.ts";
import { printList } from "./print.ts";
import { printView } from "./print-view.ts";
import { parseWhole } from "./values.ts";
import type { World } from "./world.ts";

type ListFlags = ControlFlags & { session: string; status?: ApprovalState };
type ShowFlags = ControlFlags & { wait?: number };
type DecideFlags = ControlFlags & { note?: string };

export function addApprovalCommands(program: Command, world: World): void {
  const approval = program
    .command("approval")
    .description("a person's yes to one action on one thing, over HTTP");
  addRequest(approval, world);
  addList(approval, world);
  addShow(approval, world);
  addWait(approval, world);
  addDecide(approval, world, "approve", "say yes, as a person of the project");
  addDecide(approval, world, "reject", "say no, as a person of the project");
  addConsume(approval, world);
  addEnd(approval, world, "withdraw", "withdrawal", "take a request back that nobody has decided yet");
  addEnd(approval, world, "revoke", "revocation", "take an approval back that nobody has used yet");
}

function addList(approval: Command, world: World): void {
  const command = approval
    .command("list")
    .description("the approvals of a session, newest first")
    .requiredOption("--session <id>", "the session, ses_…", parseSession)
    .addOption(choice("--status <status>", "only those in this state", approvalStates));
  overGateway(command, { examples: ["specgate approval list --session ses_… --status pending"] }).action(
    async ({ session, status, ...flags }: ListFlags) => {
      const control = await openControl(world, flags);
      const rows = await control.all<ApprovalView>(`/sessions/${session}/approvals`, { status });
      const columns = ["id", "status", "action", "requested_by", "pending_until", "reason"] as const;
      printList(world, flags.json === true, rows, [...columns]);
    },
  );
}

const onOne = (approval: Command, name: string, description: string): Command =>
  approval.command(name).description(description).argument("<approval>", "its id, apv_…", parseId("apv"));

function addShow(approval: Command, world: World): void {
  const command = onOne(approval, "show", "one approval").option(
    "--wait <seconds>",
    "wait up to 30 seconds for a decision",
    parseWhole,
  );
  overGateway(command, {
    examples: ["specgate approval show apv_…", "specgate approval show apv_… --wait 30"],
  }).action(async (id: string, { wait, ...flags }: ShowFlags) => {
    const control = await openControl(world, flags);
    const path = `/approvals/${id}` as const;
    printView(world, flags.json, await control.get<ApprovalView>(path, { wait_seconds: wait }));
  });
}

function addDecide(
  approval: Command,
  world: World,
  decision: Decision["decision"],
  description: string,
): void {
  const command = onOne(approval, decision, description).option(
    "--note <text>",
    "what there is to say about it",
  );
  overGateway(command, {
    notes: "Owners and editors of the project decide, though not what they asked for themselves.",
    examples: [`specgate approval ${decision} apv_… --note "checked the changelog"`],
  }).action(async (id: string, { note, ...flags }: DecideFlags) => {
    const control = await openControl(world, flags);
    const asked = { decision, note };
    printView(world, flags.json, await control.post<ApprovalView>(`/approvals/${id}/decision`, asked));
  });
}

function addEnd(approval: Command, world: World, name: string, end: string, description: string): void {
  overGateway(onOne(approval, name, description), { examples: [`specgate approval ${name} apv_…`] }).action(
    async (id: string, flags: ControlFlags) => {
      const control = await openControl(world, flags);
      printView(world, flags.json, await control.post<ApprovalView>(`/approvals/${id}/${end}`));
    },
  );
}
