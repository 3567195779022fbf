/**
 * Sessions and iterations, offered to MCP clients: the same deeds as over HTTP, under the same rules.
 */
import { z } from "zod";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import { readTool, type Tool, writeTool } from "../../platform/tool.ts";
import { toolPage, toolPageOf } from "../../platform/tool-page.ts";
import { ifVersion } from "../../platform/versions.ts";
import {
  iterationChangeForm,
  iterationShape,
  newIterationForm,
  newSessionForm,
  sessionShape,
  sessionsQuery,
} from "./contract.ts";
import type { Sessions } from "./sessions.ts";
import { iterationStates } from "./states.ts";

export type SessionToolsNeeds = { sessions: Sessions; changes: Changes };

const projectId = z.string().describe("`prj_…`, as project_list answers it.");
const sessionId = z.string().describe("`ses_…`, as session_list and session_start answer it.");
const iterationId = z.string().describe("`itr_…`, as iteration_start answers it.");

export const sessionTools = (needs: SessionToolsNeeds): Tool[] => [
  listTool(needs),
  startTool(needs),
  startIterationTool(needs),
  finishIterationTool(needs),
];

const listTool = ({ sessions }: SessionToolsNeeds): Tool =>
  readTool({
    name: "session_list",
    title: "List sessions",
    description:
      "Lists a project's sessions (pieces of work), newest first. Use it to find the session to go on with before you start another one.",
    scopes: ["mcp:read"],
    place: { least: "viewer", at: "project", argument: "project_id" },
    input: z.strictObject({
      project_id: projectId,
      status: sessionsQuery.shape.status.describe("Only those that are so; all of them when left out."),
      ...toolPage,
    }),
    output: toolPageOf(sessionShape),
    run: ({ principal, asked: { project_id, ...query } }) =>
      sessions.page(project_id, principal.sessionId, query),
  });

function startTool({ sessions, changes }: SessionToolsNeeds): Tool {
  const { title, spec, notes } = newSessionForm.shape;
  return writeTool({
    name: "session_start",
    title: "Start a session",
    description:
      "Starts a session, one piece of work in a project, and answers it with its id. Tasks, reports and iterations belong to a session.",
    scopes: ["mcp:write"],
    place: { least: "editor", at: "project", argument: "project_id" },
    input: z.strictObject({
      project_id: projectId,
      title: title.describe("What the work is about, in one line of at most 200 characters."),
      spec: spec.describe("Which specification it follows, such as a file's path; at most 200 characters."),
      notes: notes.describe("Anything else worth knowing; at most 20,000 characters."),
    }),
    output: sessionShape,
    run: ({ call, principal, asked: { project_id, ...session } }) =>
      changes.make(actorOf(principal, call), (change) => sessions.create(change, project_id, session)),
  });
}

function startIterationTool({ sessions, changes }: SessionToolsNeeds): Tool {
  const { step, commit_sha, notes } = newIterationForm.shape;
  return writeTool({
    name: "iteration_start",
    title: "Start an iteration",
    description:
      "Starts the next iteration, one try at a session's work, and answers it with its id and number. Checks and gates are about an iteration; finish it with iteration_finish.",
    scopes: ["mcp:write"],
    place: { least: "editor", at: "session", argument: "session_id" },
    input: z.strictObject({
      session_id: sessionId,
      step: step.describe("Where in the work it begins; SPEC unless told."),
      commit_sha: commit_sha.describe("The git commit it works on: 7 to 64 lower-case hexadecimal digits."),
      notes: notes.describe("Anything worth knowing; at most 20,000 characters."),
    }),
    output: iterationShape,
    run: ({ call, principal, asked: { session_id, ...iteration } }) =>
      changes.make(actorOf(principal, call), (change) =>
        sessions.startIteration(change, session_id, iteration),
      ),
  });
}

function finishIterationTool({ sessions }: SessionToolsNeeds): Tool {
  const { commit_sha, notes } = iterationChangeForm.shape;
  const [, ...ends] = iterationStates;
  return writeTool({
    name: "iteration_finish",
    title: "Finish an iteration",
    description:
      "Ends an iteration. `passed` is only taken when the project's gates say so at that moment: otherwise this fails with `gate_failed`, whose `evaluation` names each gate and why, and the iteration keeps running. What is over stays over.",
    scopes: ["mcp:write"],
    repeatable: true,
    place: { least: "editor", at: "iteration", argument: "iteration_id" },
    input: z.strictObject({
      iteration_id: iterationId,
      status: z.enum(ends).describe("How it ended."),
      commit_sha: commit_sha.describe(
        "The git commit it ended with, by which its checks are judged; leave it out to keep what is there.",
      ),
      notes: notes.describe("Replaces its notes; leave it out to keep them. At most 20,000 characters."),
      if_version: ifVersion,
    }),
    output: iterationShape,
    run: ({ call, principal, place, asked: { iteration_id: iterationId, if_version, ...change } }) => {
      const iteration = { iterationId, sessionId: place?.sessionId ?? "" };
      return sessions.changeIteration(actorOf(principal, call), iteration, change, if_version ?? null);
    },
  });
}
