/**
 * Tasks on the wire.
 */
import { z } from "zod";
import { pageQuery } from "../../platform/page.ts";
import { line, text } from "../../platform/text-form.ts";
import { mistakesMax } from "../../platform/wire-body.ts";
import { dedupeKeyCharactersMax } from "./dedupe-key.ts";
import { taskStates } from "./states.ts";

/** What the database would keep as U+FFFD is read so at once: a list that is sent again must find itself. */
const wellFormed = (form: z.ZodString): z.ZodString => form.overwrite((value) => value.toWellFormed());

/** Not trimmed: a key and a path mean exactly what they say. */
const exact = (charactersMax: number) =>
  wellFormed(
    z
      .string()
      .min(1, "This must not be empty.")
      .max(charactersMax, `At most ${charactersMax} characters.`)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this refuses
      .regex(/^[^\u0000-\u001f\u007f]*$/, "No control characters, line breaks among them."),
  );

const title = line(500);
const name = line(200).nullable();
const words = text(20_000).nullable();
const paths = z.array(exact(500)).max(500, "At most 500 of them.");

const fields = {
  task_ref: name.optional(),
  title: title.optional(),
  originating_spec: name.optional(),
  acceptance_criteria: words.optional(),
  mapped_files: paths.optional(),
  mapped_tests: paths.optional(),
  status: z.enum(taskStates).optional(),
  notes: words.optional(),
};

export const taskChangeForm = z.strictObject(fields);
export type TaskChange = z.infer<typeof taskChangeForm>;

export const taskItemForm = z.strictObject({
  dedupe_key: exact(dedupeKeyCharactersMax).optional(),
  ...fields,
});
export type TaskItem = z.infer<typeof taskItemForm>;

const mergedMax = 1_000;
export const listedMax = 10_000;

/** Item by item, and no further than anybody is told of: ten thousand items full of mistakes would hold everyone up. */
const listForm = z.array(z.unknown()).transform((given, { issues }): TaskItem[] => {
  const items: TaskItem[] = [];
  if (given.length > listedMax)
    issues.push({ code: "custom", message: `At most ${listedMax} tasks.`, input: given.length });
  for (let index = 0; index < given.length && issues.length === 0; index++) {
    const parsed = taskItemForm.safeParse(given[index]);
    if (parsed.success) items.push(parsed.data);
    else mistaken(given, index, issues);
  }
  return items;
});

/** From this item on, as many mistakes as are told. */
function mistaken(given: readonly unknown[], from: number, issues: z.core.$ZodRawIssue[]): void {
  for (let index = from; index < given.length && issues.length < mistakesMax; index++) {
    const found = taskItemForm.safeParse(given[index]).error?.issues ?? [];
    for (const issue of found) issues.push({ ...issue, path: [index, ...issue.path] } as z.core.$ZodRawIssue);
  }
}

/** `replace` is the whole list. */
export const batchForm = z
  .strictObject({ tasks: listForm, mode: z.enum(["merge", "replace"]).default("merge") })
  .check(({ value: { tasks, mode }, issues }) => {
    if (mode === "replace" || (tasks.length > 0 && tasks.length <= mergedMax)) return;
    const message = `A merge takes 1 to ${mergedMax} tasks; \`mode: "replace"\` takes a whole list of up to ${listedMax}.`;
    issues.push({ code: "custom", path: ["tasks"], message, input: tasks.length });
  });
export type Batch = z.infer<typeof batchForm>;

/** Ten thousand tasks with all of their fields and some forty paths each. */
export const batchValuesMax = 500_000;

export const tasksQuery = z.strictObject({
  ...pageQuery,
  status: z.array(z.enum(taskStates)).optional(),
  spec: z.string().min(1).max(200).optional(),
  text: z.string().trim().min(1).max(200).optional(),
});
export type TasksQuery = z.infer<typeof tasksQuery>;
export const historyQuery = z.strictObject(pageQuery);

export const taskShape = z.object({
  id: z.string(),
  project_id: z.string(),
  session_id: z.string(),
  dedupe_key: z.string().describe("By which a list knows the task again; it never changes."),
  task_ref: z.string().nullable(),
  title: z.string(),
  originating_spec: z.string().nullable(),
  acceptance_criteria: z.string().nullable(),
  mapped_files: z.array(z.string()),
  mapped_tests: z.array(z.string()),
  status: z.enum(taskStates),
  notes: z.string().nullable(),
  position: z.int().describe("1, 2, 3, … within the session."),
  created_at: z.string(),
  updated_at: z.string(),
  version: z.int(),
});
export type TaskView = z.infer<typeof taskShape>;

const outcomes = ["created", "updated", "unchanged", "cancelled"] as const;
export type Outcome = (typeof outcomes)[number];

export const batchShape = z.object({
  data: z
    .array(
      z.object({
        id: z.string(),
        dedupe_key: z.string(),
        outcome: z.enum(outcomes),
        status: z.enum(taskStates),
        version: z.int(),
      }),
    )
    .describe("In the list's order; behind it what a replacing list no longer has."),
  counts: z.object({ created: z.int(), updated: z.int(), unchanged: z.int(), cancelled: z.int() }),
});
export type BatchView = z.infer<typeof batchShape>;

export type TaskHistoryView = {
  version: number;
  at: string;
  /** `usr_…`, `cli_…`, or who ran a local command. */
  actor: string;
  actor_kind: "user" | "client" | "local" | "system";
  client_id: string | null;
  request_id: string | null;
  action: "created" | "updated" | "cancelled";
  /** By field: what it was, and what it became. */
  changes: Record<string, { from: unknown; to: unknown }>;
};
