import { Failure } from "../../platform/failure.ts";
import type { ApprovalState } from "./states.ts";

/** To whoever would decide or withdraw what is not pending any more. */
export function notPending(status: ApprovalState): Failure {
  if (status === "expired") return conflict("expired", status, "Its time is over. Ask again.");
  if (status === "withdrawn")
    return conflict("withdrawn", status, "Whoever asked for this has withdrawn it.");
  return conflict("already_decided", status, `This is decided: it is ${status}.`);
}

/** To whoever would consume or revoke what is not approved, or not any more. */
export function notApproved(status: ApprovalState): Failure {
  if (status === "consumed")
    return conflict("already_consumed", status, "This approval was consumed; each is good for one time.");
  if (status === "expired") return conflict("expired", status, "Its time is over. Ask for another approval.");
  return conflict(
    "not_approved",
    status,
    `This is ${status}, and only what is approved can be used or revoked.`,
  );
}

/** `approval_status` is what it is now, for programs. */
const conflict = (code: string, status: ApprovalState, message: string): Failure =>
  new Failure("conflict", code, message, { members: { approval_status: status } });

export const subjectMismatch = (): Failure =>
  new Failure(
    "conflict",
    "subject_mismatch",
    "This approval is for another action or another subject: `action` and `subject_sha256` must be those that were asked for.",
  );

export const selfApproval = (mayOwners: boolean): Failure =>
  new Failure(
    "forbidden",
    "self_approval",
    mayOwners
      ? "You are behind this request, and in this project only its owners decide what they asked for themselves."
      : "You are behind this request, so somebody else decides it: another editor or owner of the project.",
  );

export const notTheRequester = (message: string): Failure =>
  new Failure("forbidden", "not_the_requester", message);

export const consumeScopeMissing = (): Failure =>
  new Failure("forbidden", "insufficient_scope", "This credential lacks the scope `approvals:consume`.", {
    headers: { "www-authenticate": 'Bearer error="insufficient_scope", scope="approvals:consume"' },
  });
