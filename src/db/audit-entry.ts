import type { Call, Via } from "../platform/call.ts";
import type { Principal } from "../platform/principal.ts";
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
  /** Through which tool; left out where there can be none. */
  readonly via?: Via | null;
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

/** Where a request came from, for the audit. */
export type Origin = {
  readonly ip: string | null;
  readonly userAgent: string | null;
  readonly requestId: string | null;
};

export const originOf = ({ id, ip, request }: Call): Origin => ({
  ip,
  userAgent: request.headers.get("user-agent")?.slice(0, 200) ?? null,
  requestId: id,
});

/** Whoever holds the credential: the person, with the app or key's client beside it, or the client itself. */
export const actorOf = (principal: Principal, call: Call): Actor => ({
  id: principal.id,
  kind: principal.kind,
  clientId: principal.clientId,
  via: call.via,
  ...originOf(call),
});

/** Nobody asked: something's time was over. */
export const gatewayItself: Actor = {
  id: "specgate",
  kind: "system",
  clientId: null,
  ip: null,
  userAgent: null,
  requestId: null,
};

/** Somebody who has not proved to be anybody. */
export const strangerFrom = (origin: Origin): Actor => ({
  id: "anonymous",
  kind: "user",
  clientId: null,
  ...origin,
});
