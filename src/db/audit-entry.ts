import type { Db } from "./database.ts";

/** Who did it, from where: taken from the request at the edge, or from the operating system for a local command. */
export type Actor = {
  /** `usr_…`, `cli_…`, or the OS user of a local command. */
  readonly id: string;
  readonly kind: "user" | "client" | "local" | "system";
  readonly clientId: string | null;
  readonly ip: string | null;
  readonly userAgent: string | null;
  readonly requestId: string | null;
};

/** One change, to be recorded in its own transaction. `details` never holds a secret. */
export type AuditEntry = {
  readonly actor: Actor;
  /** `<noun>.<verb in the past>`: `client.created`, `token.issued`, `key.revoked`. */
  readonly action: string;
  readonly subject: string | null;
  readonly projectId?: string | null;
  readonly sessionId?: string | null;
  readonly outcome?: "ok" | "refused" | "failed";
  readonly details?: Record<string, unknown>;
};

/** If the row cannot be written the change does not happen: call it with the change's own transaction. */
export type RecordAudit = (tx: Db, entry: AuditEntry) => Promise<void>;
