/** `specgate approval request`, `wait` and `consume`: a machine's side, which asks, waits and uses what it got. */
import { type Command, Option } from "commander";
import type { ApprovalView } from "../features/approvals/contract.ts";
import { concludeWith, waitForDecision } from "./approval-wait.ts";
import { openControl } from "./control-api.ts";
import { type ControlFlags, overGateway, parseId, parseIteration, parseSession } from "./gateway-options.ts";
import { sha256OfFile } from "./input-file.ts";
import { printView } from "./print-view.ts";
import { parseWhole } from "./values.ts";
import { Misuse, type World } from "./world.ts";

type SubjectFlags = { subjectSha256?: string; subjectFile?: string };
type RequestFlags = ControlFlags &
  SubjectFlags & {
    session: string;
    action: string;
    reason: string;
    iteration?: string;
    ttlSeconds?: number;
    pendingSeconds?: number;
    wait?: number;
  };
type WaitFlags = ControlFlags & { timeoutSeconds?: number };
type ConsumeFlags = ControlFlags & SubjectFlags & { action: string };

const actionMeaning = "what is to be done: a word of your own, such as deploy.production";

function withSubject(command: Command): Command {
  return command
    .option("--subject-sha256 <digest>", "what it is to be done with: 64 hexadecimal digits")
    .addOption(
      new Option("--subject-file <file>", "or the file whose SHA-256 that is").conflicts("subjectSha256"),
    );
}

async function subjectOf(world: World, { subjectSha256, subjectFile }: SubjectFlags): Promise<string> {
  if (subjectSha256 !== undefined) return subjectSha256.toLowerCase();
  if (subjectFile !== undefined) return sha256OfFile(world, subjectFile);
  throw new Misuse([
    "the subject is missing; would be either --subject-sha256 DIGEST or --subject-file FILE",
  ]);
}

export function addRequest(approval: Command, world: World): void {
  const command = withSubject(
    approval
      .command("request")
      .description("ask for an approval; prints it")
      .requiredOption("--session <id>", "the session, ses_…", parseSession)
      .requiredOption("--action <action>", actionMeaning),
  )
    .requiredOption("--reason <text>", "why; whoever decides reads it")
    .option("--iteration <id>", "the iteration that it is about, itr_…", parseIteration)
    .option("--ttl-seconds <seconds>", "how long an approval holds, from the decision on", parseWhole)
    .option("--pending-seconds <seconds>", "how long it may wait for a decision", parseWhole)
    .option("--wait <seconds>", "wait this long for the decision; exit 1 unless it is approved", parseWhole);
  overGateway(command, {
    examples: [
      'specgate approval request --session ses_… --action deploy.production --subject-file build.tgz --reason "Release 1.4"',
      "specgate approval request --session ses_… --action merge --subject-sha256 9f86d0… --reason … --wait 3600",
    ],
  }).action(async ({ session, action, reason, iteration, wait = 0, ...flags }: RequestFlags) => {
    const subject_sha256 = await subjectOf(world, flags);
    const { ttlSeconds: ttl_seconds, pendingSeconds: pending_seconds } = flags;
    const terms = { ttl_seconds, pending_seconds, iteration_id: iteration };
    const control = await openControl(world, flags);
    const path = `/sessions/${session}/approvals` as const;
    const made = await control.post<ApprovalView>(path, { action, subject_sha256, reason, ...terms });
    if (wait === 0) {
      printView(world, flags.json, made);
      return;
    }
    world.stderr(`${made.id} waits for a decision.\n`);
    concludeWith(world, flags.json, await waitForDecision(world, control, made.id, wait));
  });
}

export function addWait(approval: Command, world: World): void {
  const command = approval
    .command("wait")
    .description("wait until an approval is decided; exit 0 when it is approved, else 1")
    .argument("<approval>", "its id, apv_…", parseId("apv"))
    .option("--timeout-seconds <seconds>", "for this long; until it is decided when left out", parseWhole);
  overGateway(command, {
    examples: ["specgate approval wait apv_… --timeout-seconds 600 && ./deploy.sh"],
  }).action(async (id: string, { timeoutSeconds, ...flags }: WaitFlags) => {
    const control = await openControl(world, flags);
    concludeWith(world, flags.json, await waitForDecision(world, control, id, timeoutSeconds ?? null));
  });
}

export function addConsume(approval: Command, world: World): void {
  const command = withSubject(
    approval
      .command("consume")
      .description("use an approval up, for exactly what was approved, just before it is done")
      .argument("<approval>", "its id, apv_…", parseId("apv"))
      .requiredOption("--action <action>", actionMeaning),
  );
  overGateway(command, {
    notes: "It can be used once; whoever comes second, comes late or has another subject gets exit 1.",
    examples: [
      "specgate approval consume apv_… --action deploy.production --subject-file build.tgz && ./deploy.sh",
    ],
  }).action(async (id: string, { action, ...flags }: ConsumeFlags) => {
    const subject_sha256 = await subjectOf(world, flags);
    const control = await openControl(world, flags);
    const asked = { action, subject_sha256 };
    printView(world, flags.json, await control.post<ApprovalView>(`/approvals/${id}/consumption`, asked));
  });
}
