/**
 * The merge: journal records become rows and roll-ups in Postgres, each exactly once.
 *
 * The records are handed on as the JSON text they already are: nothing is parsed here, Postgres takes them apart
 * (merge.sql), because this process has calls to serve. One transaction per batch, one batch per instance at a time.
 * Free of order and repetition, so whoever does not know whether a batch was merged merges it again.
 * It refuses to raise a watermark past records that the database has lost, and to write for an instance whose data
 * dir a later boot has taken over.
 */
import type { Database, Sql } from "../../db/database.ts";
import { storableJson } from "../../db/storable.ts";
import { codeOf } from "../../db/unavailable.ts";
import { Failure } from "../../platform/failure.ts";
import statement from "./merge.sql" with { type: "text" };

/** Who merges: the data dir's id, and the epoch that this process booted with. */
export type Owner = { readonly instance: string; readonly epoch: number };

export type Batch = {
  /** Raw JSON texts, in the journal's order. */
  readonly records: readonly string[];
  /** The epoch whose journal they come from. */
  readonly epoch: number;
  /** From after which lsn and up to which they reach; null when no watermark is kept for them. */
  readonly reach: { readonly after: number; readonly to: number } | null;
};

/** A record that Postgres cannot take in any form: nothing else is held up by it. */
export type Refused = { readonly record: string; readonly error: unknown };

/** `behind`: the database's watermark is lower than `reach.after`, so it has lost rows; nothing was merged. */
export type Merged =
  | { readonly outcome: "merged"; readonly refused: readonly Refused[] }
  | { readonly outcome: "behind"; readonly lsn: number };

export async function mergeBatch(sql: Database["sql"], owner: Owner, batch: Batch): Promise<Merged> {
  try {
    await mergeOnce(sql, owner, batch);
    return { outcome: "merged", refused: [] };
  } catch (error) {
    if (error instanceof Behind) return { outcome: "behind", lsn: error.lsn };
    if (!isUnstorable(error)) throw error;
    const refused: Refused[] = [];
    await isolate(sql, owner, { ...batch, reach: null }, refused);
    await mergeOnce(sql, owner, { ...batch, records: [] });
    return { outcome: "merged", refused };
  }
}

class Behind extends Error {
  constructor(readonly lsn: number) {
    super("the database's watermark is behind");
  }
}

/** What the instance is locked under; the second half of the key is a hash of its id. */
export const mergeLock = 0x6d657267;
/** Shared by whoever merges: which days are folded stays as it is meanwhile. */
export const foldLock = 0x666f6c64;

async function mergeOnce(sql: Sql, owner: Owner, batch: Batch): Promise<void> {
  await sql.begin(async (tx) => {
    const [, rows] = await Promise.all([
      // The lock is taken by a statement of its own, so that the merge's snapshot is younger than it. A plan made while
      // the tables were small must not scan them when they are large.
      tx`select pg_advisory_xact_lock(${mergeLock}::int, hashtext(${owner.instance})),
           pg_advisory_xact_lock_shared(${foldLock}::int, 0),
           lock_budgets(false),
           set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
           set_config('plan_cache_mode', 'force_generic_plan', true),
           set_config('synchronous_commit', 'on', true)`,
      tx.unsafe<{ instance_epoch: number | null; lsn_before: number }[]>(
        statement,
        [`[${batch.records.join(",")}]`, owner.instance, batch.epoch, batch.reach?.to ?? null],
        { prepare: true },
      ),
    ]);
    const [row] = rows;
    if (row === undefined) throw new Error("the merge gave no answer");
    if (row.instance_epoch !== null && row.instance_epoch > owner.epoch) throw fenced();
    if (batch.reach !== null && row.lsn_before < batch.reach.after) throw new Behind(row.lsn_before);
  });
}

/** Merges half by half until what cannot be stored is alone. */
async function isolate(sql: Sql, owner: Owner, batch: Batch, refused: Refused[]): Promise<void> {
  const records = batch.records.map(storableJson);
  try {
    await mergeOnce(sql, owner, { ...batch, records });
  } catch (error) {
    const [first] = batch.records;
    if (!isUnstorable(error) || first === undefined) throw error;
    if (batch.records.length === 1) {
      refused.push({ record: first, error });
      return;
    }
    const middle = Math.ceil(batch.records.length / 2);
    await isolate(sql, owner, { ...batch, records: batch.records.slice(0, middle) }, refused);
    await isolate(sql, owner, { ...batch, records: batch.records.slice(middle) }, refused);
  }
}

/** Data exceptions and broken constraints: the record's fault, not the database's state. */
function isUnstorable(error: unknown): boolean {
  const code = codeOf(error) ?? "";
  return /^2[123]/.test(code) && code.length === 5;
}

const fenced = (): Failure =>
  new Failure(
    "unavailable",
    "journal_unavailable",
    "Another gateway process has taken over this data directory. Only one may use it.",
  );
