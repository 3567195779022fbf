/**
 * The wire of the audit API: what may be asked, and the rows that answer.
 */
import { z } from "zod";
import { pageQuery } from "../../platform/page.ts";
import { timeText } from "../../platform/query.ts";

/** As long as the longest id there is: an app's, which is the URL of its document. */
const name = z.string().min(1).max(2_048);

export const auditQuery = z.strictObject({
  ...pageQuery,
  /** Rows from this time on. */
  from: timeText.optional(),
  /** Rows before this time. */
  to: timeText.optional(),
  /** `usr_…`, `cli_…`, the OS user of a local command, or `anonymous`. */
  actor: name.optional(),
  /**
   * One action, such as `key.revoked`; or a noun with `.*`, for whatever was done with it: `key.*` is `key.created`,
   * `key.revoked` and so on, `login.*` is `login` and `login.failed`.
   */
  action: name
    .regex(/^[^*]+(?:\.\*)?$/, "Give one action, such as key.revoked, or all of a noun, such as key.*")
    .optional(),
  /** `prj_…` */
  project: name.optional(),
  /** What was changed: an id. */
  subject: name.optional(),
});
export type AuditQuery = z.infer<typeof auditQuery>;

const auditRow = z.object({
  id: z.string(),
  at: z.string(),
  actor: z.string(),
  actor_kind: z.enum(["user", "client", "local", "system"]),
  client_id: z.string().nullable(),
  action: z.string(),
  subject: z.string().nullable(),
  project_id: z.string().nullable(),
  session_id: z.string().nullable(),
  ip: z.string().nullable(),
  user_agent: z.string().nullable(),
  request_id: z.string().nullable(),
  outcome: z.enum(["ok", "refused", "failed"]),
  details: z.record(z.string(), z.unknown()),
  /** SHA-256 of the row, hexadecimal. */
  hash: z.string(),
  /** The seal that covers the row; null until there is one, within a second. */
  seal: z.object({ epoch: z.number().int(), no: z.number().int(), hash: z.string() }).nullable(),
});
export type AuditRow = z.infer<typeof auditRow>;
