/**
 * Tasks, offered to MCP clients: the same deeds as over HTTP, under the same rules.
 */
import { z } from "zod";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import { readTool, type Tool, writeTool } from "../../platform/tool.ts";
import { toolPage, toolPageOf } from "../../platform/tool-page.ts";
import { ifVersion } from "../../platform/versions.ts";
import {
  batchForm,
  batchShape,
  listedMax,
  taskChangeForm,
  taskItemForm,
  taskShape,
  tasksQuery,
} from "./contract.ts";
import type { Tasks } from "./tasks.ts";

export type TaskToolsNeeds = { tasks: Tasks; changes: Changes };

const sessionId = z.string().describe("`ses_…`, as session_list and session_start answer it.");
const taskId = z.string().describe("`tsk_…`, as task_list and task_upsert answer it.");

export const taskTools = (needs: TaskToolsNeeds): Tool[] => [
  listTool(needs),
  getTool(needs),
  upsertTool(needs),
  updateTool(needs),
];

function listTool({ tasks }: TaskToolsNeeds): Tool {
  const { status, spec, text } = tasksQuery.shape;
  return readTool({
    name: "task_list",
    title: "List tasks",
    description:
      "Lists a session's tasks in their order, with all of their fields. Use it to see what there is to do before you plan or go on.",
    scopes: ["mcp:read"],
    place: { least: "viewer", at: "session", argument: "session_id" },
    input: z.strictObject({
      session_id: sessionId,
      status: status.describe("Only those that are one of these; all of them when left out."),
      spec: spec.describe("Only those whose `originating_spec` is exactly this."),
      text: text.describe("Only those that say these words, or whose title or reference has them in it."),
      ...toolPage,
    }),
    output: toolPageOf(taskShape),
    run: ({ asked: { session_id, ...query } }) => tasks.page(session_id, query),
  });
}

const getTool = ({ tasks }: TaskToolsNeeds): Tool =>
  readTool({
    name: "task_get",
    title: "Read a task",
    description:
      "Answers one task with all of its fields, and the `version` that task_update can be held to.",
    scopes: ["mcp:read"],
    place: { least: "viewer", at: "task", argument: "task_id" },
    input: z.strictObject({ task_id: taskId }),
    output: taskShape,
    run: ({ asked }) => tasks.get(asked.task_id),
  });

/** What may be said of a task, in words for models; what is taken stands in the contract. */
const fields = {
  task_ref: taskChangeForm.shape.task_ref.describe("Your own short reference, such as T-12."),
  title: taskChangeForm.shape.title.describe("What is to be done, in one line of at most 500 characters."),
  originating_spec: taskChangeForm.shape.originating_spec.describe(
    "The specification it comes from, such as a file's path.",
  ),
  acceptance_criteria: taskChangeForm.shape.acceptance_criteria.describe(
    "By what one sees that it is done; at most 20,000 characters.",
  ),
  mapped_files: taskChangeForm.shape.mapped_files.describe("Paths of the files it is about."),
  mapped_tests: taskChangeForm.shape.mapped_tests.describe("Paths of the tests that prove it."),
  status: taskChangeForm.shape.status.describe("A new task is `planned` unless told."),
  notes: taskChangeForm.shape.notes.describe("Anything else; at most 20,000 characters."),
};

/** For reading alone: the form checks items one by one and stops early, so its own schema says nothing of them. */
const { $schema: _, ...items } = z.toJSONSchema(
  z.strictObject({
    dedupe_key: taskItemForm.shape.dedupe_key.describe(
      "By which the task is known again, never to change. Left out it is made of the reference, or else of the title and criteria, within the specification.",
    ),
    ...fields,
  }),
  { io: "input" },
);

const upsertTool = ({ tasks, changes }: TaskToolsNeeds): Tool =>
  writeTool({
    name: "task_upsert",
    title: "Write a list of tasks",
    destroys: true,
    description:
      "Merges a list of tasks into a session, or replaces its list; the list is taken whole or refused whole. Tasks are known again by their dedupe_key, fields that you leave out stay as they are, and sending the same list again changes nothing. Answers each task's id and what became of it.",
    scopes: ["mcp:write"],
    repeatable: true,
    place: { least: "editor", at: "session", argument: "session_id" },
    input: batchForm.safeExtend({
      session_id: sessionId,
      tasks: batchForm.shape.tasks.meta({
        description: "1 to 1,000 tasks for a merge; up to 10,000, or none, for a replacement.",
        items,
        maxItems: listedMax,
      }),
      mode: batchForm.shape.mode.describe(
        "`merge` unless told. `replace` is the whole list, in its order: planned and blocked tasks that it does not name are cancelled.",
      ),
    }),
    output: batchShape,
    run: ({ call, principal, asked: { session_id, ...batch } }) =>
      tasks.turns.run(session_id, () =>
        changes.make(actorOf(principal, call), (change) => tasks.upsert(change, session_id, batch)),
      ),
  });

const updateTool = ({ tasks, changes }: TaskToolsNeeds): Tool =>
  writeTool({
    name: "task_update",
    title: "Change a task",
    destroys: true,
    description:
      "Changes one task: the fields that you name, and no others. Use it to take a task up (`doing`), to finish it (`done`) or to say why it is `blocked`. Answers the task as it is then.",
    scopes: ["mcp:write"],
    repeatable: true,
    place: { least: "editor", at: "task", argument: "task_id" },
    input: z.strictObject({
      task_id: taskId,
      ...fields,
      status: taskChangeForm.shape.status.describe("What it becomes."),
      if_version: ifVersion,
    }),
    output: taskShape,
    run: ({ call, principal, place, asked: { task_id: taskId, if_version, ...fields } }) => {
      const task = { taskId, sessionId: place?.sessionId ?? "" };
      return changes.make(actorOf(principal, call), (change) =>
        tasks.change(change, task, fields, if_version ?? null),
      );
    },
  });
