/**
 * Approvals on the wire.
 */
import { z } from "zod";
import { isId } from "../../platform/ids.ts";
import { pageQuery } from "../../platform/page.ts";
import { reason, text, word } from "../../platform/text-form.ts";
import { type ApprovalState, approvalStates } from "./states.ts";

const subject = z
  .string()
  .regex(/^[0-9a-f]{64}$/, "A SHA-256 is 64 lower-case hexadecimal digits, of what is to be approved.");
const seconds = (least: number, most: number, usual: number) =>
  z
    .number()
    .int()
    .min(least, `At least ${least} seconds.`)
    .max(most, `At most ${most} seconds.`)
    .default(usual);

export const newApprovalForm = z.strictObject({
  action: word,
  subject_sha256: subject,
  reason,
  /** From the decision. */
  ttl_seconds: seconds(60, 3_600, 900),
  pending_seconds: seconds(60, 604_800, 86_400),
  iteration_id: z
    .string()
    .refine((id) => isId("itr", id), "This is not spelled as the id of an iteration (`itr_…`).")
    .nullable()
    .optional(),
});
export type NewApproval = z.infer<typeof newApprovalForm>;

export const decisionForm = z.strictObject({
  decision: z.enum(["approve", "reject"]),
  note: text(2_000).nullable().optional(),
});
export type Decision = z.infer<typeof decisionForm>;

export const consumptionForm = z.strictObject({ action: word, subject_sha256: subject });
export type Consumption = z.infer<typeof consumptionForm>;

/** A withdrawal and a revocation say nothing more. */
export const emptyForm = z.strictObject({});

export const approvalsQuery = z.strictObject({ ...pageQuery, status: z.enum(approvalStates).optional() });
export type ApprovalsQuery = z.infer<typeof approvalsQuery>;

export const approvalQuery = z.strictObject({
  wait_seconds: z.coerce.number().int().min(0).max(30).default(0),
});

export type ApprovalView = {
  id: string;
  project_id: string;
  session_id: string;
  iteration_id: string | null;
  action: string;
  subject_sha256: string;
  reason: string;
  /** `expired` from the moment it is so. */
  status: ApprovalState;
  ttl_seconds: number;
  requested_by: string;
  /** The person behind the request; null for a machine's own. */
  requested_by_user: string | null;
  requested_by_client: string | null;
  created_at: string;
  pending_until: string;
  decided_by: string | null;
  decided_at: string | null;
  note: string | null;
  /** Decided by the person behind the request. */
  self: boolean;
  /** When an approval can no longer be consumed; null until it is approved. */
  expires_at: string | null;
  /** Who consumed, withdrew or revoked it; nobody lets it expire. */
  ended_by: string | null;
  ended_at: string | null;
  version: number;
};
