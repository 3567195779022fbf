/**
 * Checks and gate evaluations, offered to MCP clients: the same deeds as over HTTP, under the same rules. What a project
 * asks for and what is excused stays with people: there is no tool for policies and waivers.
 */
import { z } from "zod";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import { type Tool, writeTool } from "../../platform/tool.ts";
import type { Checks } from "./checks.ts";
import { checkShape, evaluationShape, newCheckForm, newEvaluationForm } from "./contract.ts";
import type { Gates } from "./gates.ts";

export type GateToolsNeeds = { checks: Checks; gates: Gates; changes: Changes };

const place = { least: "editor", at: "iteration", argument: "iteration_id" } as const;
const iterationId = z.string().describe("`itr_…`, as iteration_start answers it.");

export const gateTools = (needs: GateToolsNeeds): Tool[] => [submitTool(needs), evaluateTool(needs)];

function submitTool({ checks, changes }: GateToolsNeeds): Tool {
  const { kind, name, status, percent, commit_sha, summary, artifact_id } = newCheckForm.shape;
  return writeTool({
    name: "check_submit",
    title: "Hand in a check",
    description:
      "Writes down what a test run, a coverage measurement, a scan or a linter found out about an iteration's commit. The latest check of a kind is what gates are judged by. Answers the check.",
    scopes: ["mcp:write"],
    place,
    input: newCheckForm.safeExtend({
      iteration_id: iterationId,
      kind: kind.describe("What was checked."),
      name: name.describe("Of a custom check alone: the gate that it is for."),
      status: status.describe("What came out."),
      percent: percent.describe("0 to 100, such as the coverage; the coverage gate needs it."),
      commit_sha: commit_sha.describe(
        "The commit that was checked, 7 to 64 lower-case hexadecimal digits; a check counts only for the iteration's own commit.",
      ),
      summary: summary.describe("What people should know of it; at most 10,000 characters."),
      artifact_id: artifact_id.describe("An artifact of the session with the details (`art_…`)."),
    }),
    output: checkShape,
    run: ({ call, principal, place, asked: { iteration_id: iterationId, ...check } }) => {
      const iteration = { iterationId, sessionId: place?.sessionId ?? "" };
      return changes.make(actorOf(principal, call), (change) => checks.create(change, iteration, check));
    },
  });
}

const evaluateTool = ({ gates, changes }: GateToolsNeeds): Tool =>
  writeTool({
    name: "gate_evaluate",
    title: "Evaluate the gates",
    description:
      "Judges an iteration by its project's gates (tasks, tests, coverage, security and custom ones) as things are now, keeps the verdict and answers it: `ok`, and for each gate why. It changes nothing else; iteration_finish judges again by itself.",
    scopes: ["mcp:write"],
    place,
    input: newEvaluationForm.extend({ iteration_id: iterationId }),
    output: evaluationShape,
    run: ({ call, principal, place, asked: { iteration_id: iterationId } }) => {
      const iteration = { iterationId, sessionId: place?.sessionId ?? "" };
      return changes.make(actorOf(principal, call), (change) => gates.create(change, iteration));
    },
  });
