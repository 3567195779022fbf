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
  const starts = open.map((call) => ({ key: call.key, start: JSON.parse(call.json) as StartRecord }));
  const held = heldOf(starts.map(({ start }) => start));
  await Promise.all(
    starts.map(({ key, start: { req, att } }) => {
      const record: LostRecord = { t: "lost", req, att, charged: held.get(req) ?? null };
      return journal.end(key, JSON.stringify(record)).durable;
    }),
  );
  return open.length;
}

/**
 * By request, what its last attempt held, which is what was held for all of them. Two attempts of one request can be
 * open at once, and whichever of their records is merged first says what the request is charged.
 */
function heldOf(starts: readonly StartRecord[]): Map<string, number> {
  const held = new Map<string, number>();
  for (const { req, hold } of starts)
    if (typeof hold === "number") held.set(req, Math.max(hold, held.get(req) ?? 0));
  return held;
}
