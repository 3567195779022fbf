/**
 * The audit log: one row for each change, written in the change's own transaction.
 *
 * The row carries a hash of itself; the sealer chains and signs it within a second (sealer.ts), and `verify` finds
 * whatever was altered since (verify.ts). When the row cannot be written the change does not happen. Nothing here ever
 * updates or deletes, and no secret is ever handed in.
 */
import type { AuditEntry, RecordAudit } from "../../db/audit-entry.ts";
import { storable, storableJson } from "../../db/storable.ts";
import { Failure } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import type { Origin } from "./decision-row.ts";
import { insertRow, type NewRow } from "./store.ts";

/** `epoch` counts clusters: see `findEpoch`. `origin` stands with what was asked for through a tool. */
export function createRecord(epoch: number, origin: Origin | null = null): RecordAudit {
  return async (tx, entry) => {
    try {
      await insertRow(tx, rowOf(entry, epoch, origin));
      if (entry.actor.via) entry.actor.via.isRecorded = true;
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw new Failure(
        "unavailable",
        "unavailable",
        "The change could not be written to the audit log, so it was not made. Try again.",
        { cause: error },
      );
    }
  };
}

function rowOf(entry: AuditEntry, epoch: number, origin: Origin | null): NewRow {
  const { actor } = entry;
  return {
    epoch,
    eventId: newId("evt"),
    actor: storable(actor.id),
    actorKind: actor.kind,
    clientId: text(actor.clientId),
    action: entry.action,
    subject: text(entry.subject),
    projectId: text(entry.projectId),
    sessionId: text(entry.sessionId),
    ip: text(actor.ip),
    userAgent: text(actor.userAgent),
    requestId: text(actor.requestId),
    outcome: entry.outcome ?? "ok",
    details: storableJson(
      JSON.stringify({ ...entry.details, ...(actor.via ? { ...actor.via.details, ...origin } : {}) }),
    ),
  };
}

const text = (value: string | null | undefined): string | null =>
  value === null || value === undefined ? null : storable(value);
