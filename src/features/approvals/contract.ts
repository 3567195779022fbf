/**
 * Approvals on the wire.
 */
import { z } from "zod";
import { isId } from "../../platform/ids.ts";
import { pageQuery } from "../../platform/page.ts";
import { reason, text, word } from "../../platform/text-form.ts";
import { approvalStates } from "./states.ts";

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

export const waitSecondsMax = 30;
export const approvalQuery = z.strictObject({
  wait_seconds: z.coerce.number().int().min(0).max(waitSecondsMax).default(0),
});

export const approvalShape = z.object({
  id: z.string(),
  project_id: z.string(),
  session_id: z.string(),
  iteration_id: z.string().nullable(),
  action: z.string(),
  subject_sha256: z.string(),
  reason: z.string(),
  status: z.enum(approvalStates).describe("`expired` from the moment it is so."),
  ttl_seconds: z.int(),
  requested_by: z.string(),
  requested_by_user: z
    .string()
    .nullable()
    .describe("The person behind the request; null for a machine's own."),
  requested_by_client: z.string().nullable(),
  created_at: z.string(),
  pending_until: z.string(),
  decided_by: z.string().nullable(),
  decided_at: z.string().nullable(),
  note: z.string().nullable().describe("What whoever decided had to say."),
  self: z.boolean().describe("Decided by the person behind the request."),
  expires_at: z
    .string()
    .nullable()
    .describe("When an approval can no longer be consumed; null until it is approved."),
  ended_by: z.string().nullable().describe("Who consumed, withdrew or revoked it; nobody lets it expire."),
  ended_at: z.string().nullable(),
  version: z.int(),
});
export type ApprovalView = z.infer<typeof approvalShape>;
