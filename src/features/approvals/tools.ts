/**
 * Approvals, offered to MCP clients: asking, waiting and consuming. Deciding is no tool: that is a person's own word.
 */
import { z } from "zod";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import { readTool, type Tool, writeTool } from "../../platform/tool.ts";
import { ifVersion } from "../../platform/versions.ts";
import { type Approvals, requireMayConsumeAny } from "./approvals.ts";
import { approvalShape, consumptionForm, newApprovalForm, waitSecondsMax } from "./contract.ts";

export type ApprovalToolsNeeds = { approvals: Approvals; changes: Changes };

const sessionId = z.string().describe("`ses_…`, as session_list and session_start answer it.");
const approvalId = z.string().describe("`apv_…`, as approval_request answers it.");

export const approvalTools = (needs: ApprovalToolsNeeds): Tool[] => [
  requestTool(needs),
  getTool(needs),
  consumeTool(needs),
];

function requestTool({ approvals, changes }: ApprovalToolsNeeds): Tool {
  const { action, subject_sha256, reason, ttl_seconds, pending_seconds, iteration_id } =
    newApprovalForm.shape;
  return writeTool({
    name: "approval_request",
    title: "Ask for an approval",
    description:
      "Asks people for their word that one action may be done once on one subject. Answers the pending approval; wait for the decision with approval_get, and use it up with approval_consume right before you act.",
    scopes: ["mcp:write", "approvals:request"],
    place: { least: "editor", at: "session", argument: "session_id" },
    input: z.strictObject({
      session_id: sessionId,
      action: action.describe("A word for what you want to do, such as `deploy`."),
      subject_sha256: subject_sha256.describe(
        "SHA-256 of exactly what is to be approved, such as the plan's bytes: 64 lower-case hexadecimal digits.",
      ),
      reason: reason.describe("Why, for the person who decides; at most 2,000 characters."),
      ttl_seconds: ttl_seconds.describe(
        "How long an approval can be used, from the decision; 900 unless told.",
      ),
      pending_seconds: pending_seconds.describe("How long it waits for a decision; 86,400 unless told."),
      iteration_id: iteration_id.describe("The iteration of this session that it is about (`itr_…`)."),
    }),
    output: approvalShape,
    run: ({ call, principal, asked: { session_id, ...approval } }) =>
      changes.make(actorOf(principal, call), (change) =>
        approvals.request(change, session_id, principal, approval),
      ),
  });
}

const getTool = ({ approvals }: ApprovalToolsNeeds): Tool =>
  readTool({
    name: "approval_get",
    title: "Read an approval, or wait for it",
    description:
      "Answers an approval as it is; with `wait_seconds` once it is decided, or when the time is over. Still `pending`: ask again. Only `approved` lets you go on.",
    scopes: ["mcp:read"],
    place: { least: "viewer", at: "approval", argument: "approval_id" },
    waits: true,
    input: z.strictObject({
      approval_id: approvalId,
      wait_seconds: z
        .int()
        .min(0)
        .max(waitSecondsMax)
        .default(0)
        .describe(`How long to wait for a decision; not at all unless told, ${waitSecondsMax} at most.`),
    }),
    output: approvalShape,
    run: ({ call, principal, place, signal, asked: { approval_id: id, wait_seconds: seconds } }) => {
      if (seconds === 0) return approvals.get(id);
      // Bun's own idle timeout would come first.
      call.stayOpen(seconds + 10);
      const waiter = { principal, projectId: place?.projectId ?? "", milliseconds: seconds * 1_000 };
      return approvals.getOnceDecided(id, { ...waiter, signal });
    },
  });

/** A runner needs another scope than whoever asked; which of them it is, the approval itself says. */
function consumeTool({ approvals, changes }: ApprovalToolsNeeds): Tool {
  const { action, subject_sha256 } = consumptionForm.shape;
  return writeTool({
    name: "approval_consume",
    title: "Use an approval up",
    destroys: true,
    description:
      "Uses an approval up, right before the approved action: it works once, in time, and for exactly the action and subject that were approved. When it fails, do not act. For whoever asked, with `approvals:request`, or for a runner of the project with `approvals:consume`.",
    scopes: ["mcp:write"],
    repeatable: true,
    place: { least: "editor", at: "approval", argument: "approval_id" },
    input: z.strictObject({
      approval_id: approvalId,
      action: action.describe("The action that was approved."),
      subject_sha256: subject_sha256.describe("SHA-256 of what you are about to act on, made anew."),
      if_version: ifVersion,
    }),
    output: approvalShape,
    run: async ({ call, principal, place, asked: { approval_id: approvalId, if_version, ...use } }) => {
      requireMayConsumeAny(principal);
      const named = { approvalId, sessionId: place?.sessionId ?? "", seen: if_version ?? null };
      return changes.make(actorOf(principal, call), (change) =>
        approvals.consume(change, named, principal, use),
      );
    },
  });
}
