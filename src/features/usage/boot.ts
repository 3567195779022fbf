/**
 * Before the gateway serves, every call that an earlier process left open gets its end: unknown, charged its hold.
 */
import type { LostRecord, StartRecord } from "../../db/ledger.ts";

export type OpenCall = { readonly key: string; readonly json: string };

/** Writes one LOST record for each open START and resolves when all are durable; returns how many there were. */
export async function closeLost(
  open: readonly OpenCall[],
  journal: { end(key: string, json: string): { durable: Promise<void> } },
): Promise<number> {
  await Promise.all(open.map((call) => journal.end(call.key, JSON.stringify(lost(call))).durable));
  return open.length;
}

function lost(call: OpenCall): LostRecord {
  const start = JSON.parse(call.json) as StartRecord;
  return { t: "lost", req: start.req, att: start.att, charged: start.hold };
}
