/** `specgate task`: the tasks of a session, one by one; specgate sync tasks writes a whole list. */
import { type Command, InvalidArgumentError } from "commander";
import type { TaskHistoryView, TaskView } from "../features/tasks/contract.ts";
import { type TaskState, taskStates } from "../features/tasks/states.ts";
import { hint } from "../platform/nearest.ts";
import { openControl } from "./control-api.ts";
import {
  type ControlFlags,
  choice,
  overGateway,
  parseId,
  parseSession,
  requireSome,
} from "./gateway-options.ts";
import { printList } from "./print.ts";
import { printView } from "./print-view.ts";
import type { World } from "./world.ts";

type ListFlags = ControlFlags & { session: string; status?: string; spec?: string; text?: string };
type UpdateFlags = ControlFlags & { status?: TaskState; title?: string; notes?: string };

export function addTaskCommands(program: Command, world: World): void {
  const task = program.command("task").description("the tasks of a session, over HTTP");
  addList(task, world);
  addShow(task, world);
  addUpdate(task, world);
  addHistory(task, world);
}

function addList(task: Command, world: World): void {
  const command = task
    .command("list")
    .description("the tasks of a session, in their order")
    .requiredOption("--session <id>", "the session, ses_…", parseSession)
    .option("--status <states>", `only these, separated by commas: ${taskStates.join(", ")}`, parseStates)
    .option("--spec <spec>", "only those that come from this specification")
    .option("--text <words>", "only those that hold these words");
  overGateway(command, {
    examples: [
      "specgate task list --session ses_… --status planned,doing",
      'specgate task list --session ses_… --text "password" --json | jq -r ".data[].title"',
    ],
  }).action(async ({ session, status, spec, text, ...flags }: ListFlags) => {
    const control = await openControl(world, flags);
    const rows = await control.all<TaskView>(`/sessions/${session}/tasks`, { status, spec, text });
    printList(world, flags.json === true, rows, ["id", "status", "task_ref", "title"]);
  });
}

function parseStates(text: string): string {
  const names = text.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !taskStates.some((state) => state === name));
  if (unknown === undefined) return names.join(",");
  throw new InvalidArgumentError(
    `"${unknown}" is no status${hint(unknown, taskStates)}; would be of ${taskStates.join(", ")}.`,
  );
}

const onOne = (task: Command, name: string, description: string): Command =>
  task.command(name).description(description).argument("<task>", "its id, tsk_…", parseId("tsk"));

function addShow(task: Command, world: World): void {
  overGateway(onOne(task, "show", "one task"), { examples: ["specgate task show tsk_…"] }).action(
    async (id: string, flags: ControlFlags) => {
      const control = await openControl(world, flags);
      printView(world, flags.json, await control.get<TaskView>(`/tasks/${id}`));
    },
  );
}

function addUpdate(task: Command, world: World): void {
  const command = onOne(task, "update", "change a task")
    .addOption(choice("--status <status>", "how far it is", taskStates))
    .option("--title <title>", "what is to be done")
    .option("--notes <text>", "whatever else there is to say");
  overGateway(command, {
    examples: [
      "specgate task update tsk_… --status doing",
      'specgate task update tsk_… --status blocked --notes "no access"',
    ],
  }).action(async (id: string, { status, title, notes, ...flags }: UpdateFlags) => {
    const asked = { status, title, notes };
    requireSome(asked, "--status, --title, --notes");
    const control = await openControl(world, flags);
    printView(world, flags.json, await control.patch<TaskView>(`/tasks/${id}`, asked));
  });
}

function addHistory(task: Command, world: World): void {
  overGateway(onOne(task, "history", "what became of a task, and who did it"), {
    examples: ["specgate task history tsk_…"],
  }).action(async (id: string, flags: ControlFlags) => {
    const control = await openControl(world, flags);
    const rows = await control.all<TaskHistoryView>(`/tasks/${id}/history`);
    if (flags.json) printList(world, true, rows, []);
    else
      printList(
        world,
        false,
        rows.map((row) => ({ ...row, changes: inWords(row.changes) })),
        ["version", "at", "actor", "action", "changes"],
      );
  });
}

const charactersMax = 40;

/** `status: planned → done, title: …` */
const inWords = (changes: TaskHistoryView["changes"]): string =>
  Object.entries(changes)
    .map(([name, { from, to }]) => `${name}: ${[from, to].map(short).join(" → ")}`)
    .join(", ");

function short(value: unknown): string {
  const text = typeof value === "string" ? value : value === null ? "none" : JSON.stringify(value);
  const line = text.replace(/\s+/g, " ");
  return line.length > charactersMax ? `${line.slice(0, charactersMax)}…` : line;
}
