/**
 * `specgate sync tasks`: a task list as a team keeps it beside its code, written to a session.
 *
 * The file is read here and judged by the gateway; what either finds wrong is said with the line that it stands in. By
 * default the file is the whole list, all of it in one transaction; with `--merge` it is added in pieces.
 */
import { type Command, Option } from "commander";
import type { BatchView, Outcome } from "../features/tasks/contract.ts";
import { type Control, openControl } from "./control-api.ts";
import { type ControlFlags, overGateway, parseSession } from "./gateway-options.ts";
import { printable, printJson, printList } from "./print.ts";
import { withProgress } from "./progress.ts";
import { refusalOf } from "./sync-refusal.ts";
import { readSource, type Source } from "./sync-source.ts";
import type { FileTask } from "./task-file.ts";
import { keyOf } from "./task-file-mentions.ts";
import { Misuse, type World } from "./world.ts";

type Flags = ControlFlags & { session?: string; merge?: boolean; dryRun?: boolean };

export function addSyncCommands(program: Command, world: World): void {
  const sync = program.command("sync").description("bring a gateway up to date with files, over HTTP");
  const command = sync
    .command("tasks")
    .description("write a session's tasks from a Markdown or JSON file")
    .argument(
      "<file>",
      "FILE.md or FILE.json, or - for standard input, which says by its first sign what it is",
    )
    .option("--session <id>", "the session, ses_…", parseSession)
    .option("--merge", "add and change tasks, and leave alone those that the file does not have")
    .addOption(new Option("--dry-run", "read the file and show its tasks; nothing is sent"));
  overGateway(command, { notes, examples }).action((file: string, flags: Flags) =>
    syncTasks(world, file, flags),
  );
}

const notes = `The file is the whole list: tasks that are planned or blocked and no longer in it are cancelled. With --merge
nothing is cancelled, and the tasks go out in pieces of 1,000.

Markdown: - [ ] T001 …, ### ✅ TASK-007: …, tables; [ ] planned, [x] done, [/] doing, [!] blocked, [-] cancelled.
What was perhaps not meant as it was read is a warning with its line. Mistakes end with exit 2, and nothing is written.`;

const examples = [
  "specgate sync tasks specs/012-invoices/tasks.md --session ses_…",
  "specgate sync tasks tasks.md --dry-run",
  "specgate sync tasks more-tasks.json --session ses_… --merge --json | jq .counts",
];

async function syncTasks(world: World, file: string, flags: Flags): Promise<void> {
  const source = await readSource(world, file);
  for (const { line, message } of source.warnings)
    world.stderr(`warning: ${printable(`${source.placeOf(line)}: ${message}`)}\n`);
  if (flags.dryRun) {
    show(world, source, flags.json === true);
    return;
  }
  const { session } = flags;
  if (session === undefined)
    throw new Misuse(["--session is missing; would be --session ses_…, or --dry-run to send nothing"]);
  const isMerge = flags.merge === true;
  requireTasks(source, isMerge);
  const control = await openControl(world, flags);
  const answer = await withProgress(world, "sending the tasks", (say) =>
    send(world, control, { session, source, isMerge }, say),
  );
  if (flags.json) printJson(world, answer);
  world.stderr(`${summary(answer.counts)}\n`);
}

function show(world: World, { tasks, placeOf }: Source, json: boolean): void {
  if (json) printJson(world, { tasks: itemsOf(tasks) });
  else
    printList(
      world,
      false,
      tasks.map((task) => ({ ...task, place: placeOf(task.line) })),
      ["place", "status", "task_ref", "title"],
    );
  world.stderr(`${tasks.length} tasks read; nothing was sent\n`);
}

/** An empty list written as such is meant; a text without tasks is more likely another file. */
function requireTasks({ name, tasks, isJson }: Source, isMerge: boolean): void {
  if (tasks.length > 0 || (isJson && !isMerge)) return;
  const why = isMerge
    ? ""
    : ", and an empty list would cancel all that is planned; write [] as JSON to mean that";
  throw new Misuse([`${name}: there are no tasks in it${why}`]);
}

const pieceTasks = 1_000;

async function send(
  world: World,
  control: Control,
  { session, source, isMerge }: { session: string; source: Source; isMerge: boolean },
  say: (words: string) => void,
): Promise<BatchView> {
  const { tasks } = source;
  const items = itemsOf(tasks);
  const size = isMerge ? pieceTasks : Math.max(1, tasks.length);
  const whole: BatchView = { data: [], counts: { created: 0, updated: 0, unchanged: 0, cancelled: 0 } };
  for (let first = 0; first < tasks.length || first === 0; first += size) {
    const piece = tasks.slice(first, first + size);
    const body = { mode: isMerge ? "merge" : "replace", tasks: items.slice(first, first + size) };
    const answer = await control
      .put<BatchView>(`/sessions/${session}/tasks`, body)
      .catch((error: unknown) => {
        throw refusalOf(world, { source, piece, written: first }, error);
      });
    whole.data.push(...answer.data);
    for (const outcome of outcomes) whole.counts[outcome] += answer.counts[outcome];
    say(`${first + piece.length} of ${tasks.length} tasks are written`);
  }
  return whole;
}

/** What says the same twice is told apart by its turn, so that a list with two "Commit" keeps both, sync after sync. */
function itemsOf(tasks: readonly FileTask[]) {
  const turns = new Map<string | null, number>();
  return tasks.map((task) => {
    const { line: _, ...item } = task;
    const key = keyOf(task);
    const turn = (turns.get(key) ?? 0) + 1;
    turns.set(key, turn);
    return turn === 1 ? item : { ...item, dedupe_key: `${key} #${turn}` };
  });
}

const outcomes = ["created", "updated", "unchanged", "cancelled"] as const satisfies Outcome[];

const summary = (counts: BatchView["counts"]): string =>
  outcomes.map((outcome) => `${counts[outcome].toLocaleString("en-US")} ${outcome}`).join(", ");
