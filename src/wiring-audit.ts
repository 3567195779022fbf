/**
 * The audit log: rows written with each change, the seals over them, and what is recorded of MCP clients' requests.
 */
import { mkdirSync } from "node:fs";
import { argumentKey } from "./features/audit/argument-mark.ts";
import { createRecord } from "./features/audit/audit.ts";
import { CommittedRows } from "./features/audit/committed-rows.ts";
import { noteStart } from "./features/audit/decision-row.ts";
import { Decisions } from "./features/audit/decisions.ts";
import { openHeads } from "./features/audit/heads.ts";
import { McpLog } from "./features/audit/mcp-log.ts";
import { createAnchors } from "./features/audit/mcp-log-anchors.ts";
import { findLost } from "./features/audit/mcp-log-lost.ts";
import { createLogSweep } from "./features/audit/mcp-log-sweep.ts";
import { sealKeyIn } from "./features/audit/seal-key.ts";
import { createSealer } from "./features/audit/sealer.ts";
import { findEpoch, insertDecided } from "./features/audit/store.ts";
import type { Ledger, LedgerNeeds } from "./features/usage/ledger.ts";
import type { Config } from "./platform/config.ts";
import { signingSecretsOf } from "./platform/config-signing.ts";
import type { WiringInput } from "./wiring.ts";

export type AuditParts = Awaited<ReturnType<typeof wireAudit>>;

type AuditInput = Pick<WiringInput, "dir" | "database" | "log"> & {
  boot: Pick<WiringInput["boot"], "epoch">;
};

export async function wireAudit({ dir, database, log, boot }: AuditInput) {
  const epoch = await findEpoch(database.db);
  mkdirSync(dir.file("audit"), { recursive: true, mode: 0o700 });
  const heads = openHeads(dir.file("audit/heads.jsonl"));
  const origin = { instance: dir.instance, boot: boot.epoch };
  return {
    epoch,
    origin,
    record: createRecord(epoch, origin),
    sealer: createSealer({ database, epoch, key: sealKeyIn(dir), heads, log }),
    notes: auditNotes(epoch),
  };
}

/** What the drain does with the audit log's notes. */
const auditNotes = (epoch: number): LedgerNeeds["notes"] => ({
  isNote: (record) => record.startsWith(noteStart),
  store: (tx, notes) => insertDecided(tx, epoch, `[${notes.join(",")}]`),
});

type DecisionsInput = Pick<WiringInput, "dir" | "database" | "clock" | "log"> & {
  config: Pick<Config, "jwtSecrets">;
};

/** The record of each decision at the MCP door, and its copy in daily files. */
export function wireDecisions(
  { config, dir, database, clock, log }: DecisionsInput,
  { epoch, record, origin }: Pick<AuditParts, "epoch" | "record" | "origin">,
  ledger: Pick<Ledger, "note" | "settled">,
) {
  const logDir = dir.file("audit");
  const needs = { database, record, instance: dir.instance };
  const copy = new McpLog({ dir: logDir, anchors: createAnchors(needs), clock, log });
  const rows = new CommittedRows({ sql: database.sql, epoch, log });
  const [secret] = signingSecretsOf(config, dir);
  if (secret === undefined) throw new Error("no signing secret was given");
  void copy.restore(async (before) => {
    // What earlier starts left in the journal belongs to it.
    await ledger.settled();
    return await findLost(database.db, origin, before, clock.now());
  });
  const key = argumentKey(secret.reveal());
  return {
    records: new Decisions({ note: ledger.note, rows, copy, origin, key, clock }),
    copy,
    sweep: createLogSweep(logDir, needs),
    async close() {
      await rows.close();
      await copy.close();
    },
  };
}
