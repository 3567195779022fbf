/**
 * The merge: journal records become rows and roll-ups in Postgres, each exactly once.
 *
 * The records are handed on as the JSON text they already are: nothing is parsed here, Postgres takes them apart
 * (merge.sql), because this process has calls to serve. One transaction per batch, one batch per instance at a time.
 * What others noted in the journal is stored by them, in the same transaction.
 * Free of order and repetition, so whoever does not know whether a batch was merged merges it again.
 * It refuses to raise a watermark past records that the database has lost, and to write for an instance whose data
 * dir a later boot has taken over.
 */
import type { TransactionSql } from "postgres";
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

/** What others note in the journal: how their records are told from those of calls, and where they belong. */
export type Notes = {
  isNote(record: string): boolean;
  /** Within the transaction that raises the watermark. Writing what is there already must change nothing. */
  store(tx: Pick<Sql, "unsafe">, notes: readonly string[]): Promise<void>;
};

/** A record that Postgres cannot take in any form: nothing else is held up by it. */
export type Refused = { readonly record: string; readonly error: unknown };

/** `behind`: the database's watermark is lower than `reach.after`, so it has lost rows; nothing was merged. */
export type Merged =
  | { readonly outcome: "merged"; readonly refused: readonly Refused[] }
  | { readonly outcome: "behind"; readonly lsn: number };

/** `notes` where there can be any among the records. */
export async function mergeBatch(
  sql: Database["sql"],
  owner: Owner,
  batch: Batch,
  notes?: Notes,
): Promise<Merged> {
  const merge = { sql, owner, notes };
  try {
    await mergeOnce(merge, batch);
    return { outcome: "merged", refused: [] };
  } catch (error) {
    if (error instanceof Behind) return { outcome: "behind", lsn: error.lsn };
    if (!isUnstorable(error)) throw error;
    const refused: Refused[] = [];
    await isolate(merge, { ...batch, reach: null }, refused);
    await mergeOnce(merge, { ...batch, records: [] });
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

type Merge = { sql: Sql; owner: Owner; notes: Notes | undefined };

async function mergeOnce({ sql, owner, notes }: Merge, batch: Batch): Promise<void> {
  const isNote = (record: string) => notes?.isNote(record) === true;
  const noted = batch.records.filter(isNote);
  const records = noted.length === 0 ? batch.records : batch.records.filter((record) => !isNote(record));
  await sql.begin(async (tx) => {
    // The notes come before anything is locked that callers wait for; the instance's lock comes before the notes, so that
    // what is there already is seen.
    if (noted.length > 0) await Promise.all([lockInstance(tx, owner), notes?.store(tx, noted)]);
    const row = await (records.length > 0 ? mergeCalls : raiseWatermark)(tx, owner, { ...batch, records });
    if (row.instance_epoch !== null && row.instance_epoch > owner.epoch) throw fenced();
    if (batch.reach !== null && row.lsn_before < batch.reach.after) throw new Behind(row.lsn_before);
  });
}

type Tx = TransactionSql;
/** The highest epoch of the instance, and the watermark as it was. */
type Standing = { instance_epoch: number | null; lsn_before: number };

const lockInstance = (tx: Tx, { instance }: Owner) => tx`
  select pg_advisory_xact_lock(${mergeLock}::int, hashtext(${instance})), set_config('synchronous_commit', 'on', true)`;

async function mergeCalls(tx: Tx, owner: Owner, { records, epoch, reach }: Batch): Promise<Standing> {
  const [, rows] = await Promise.all([
    // The lock is taken by a statement of its own, so that the merge's snapshot is younger than it. A plan made while
    // the tables were small must not scan them when they are large.
    tx`select pg_advisory_xact_lock(${mergeLock}::int, hashtext(${owner.instance})),
         pg_advisory_xact_lock_shared(${foldLock}::int, 0),
         lock_budgets(false),
         set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
         set_config('plan_cache_mode', 'force_generic_plan', true),
         set_config('synchronous_commit', 'on', true)`,
    tx.unsafe<Standing[]>(statement, [`[${records.join(",")}]`, owner.instance, epoch, reach?.to ?? null], {
      prepare: true,
    }),
  ]);
  return standingOf(rows);
}

/** All that is left to do for a batch of notes. */
async function raiseWatermark(tx: Tx, owner: Owner, { epoch, reach }: Batch): Promise<Standing> {
  const [, rows] = await Promise.all([
    lockInstance(tx, owner),
    tx<Standing[]>`
      with mark as (
        insert into watermarks as old (instance, epoch, lsn)
        select ${owner.instance}::uuid, ${epoch}::int, lsn
        from (select ${reach?.to ?? null}::bigint as lsn) as raised where lsn is not null
        on conflict (instance, epoch) do update set lsn = greatest(old.lsn, excluded.lsn)
      )
      select (select max(epoch) from instances where id = ${owner.instance}::uuid) as instance_epoch,
        coalesce((select lsn from watermarks where instance = ${owner.instance}::uuid and epoch = ${epoch}::int), 0)
          as lsn_before`,
  ]);
  return standingOf(rows);
}

function standingOf(rows: readonly Standing[]): Standing {
  const [row] = rows;
  if (row === undefined) throw new Error("the merge gave no answer");
  return row;
}

/** Merges half by half until what cannot be stored is alone. */
async function isolate(merge: Merge, batch: Batch, refused: Refused[]): Promise<void> {
  const records = batch.records.map(storableJson);
  try {
    await mergeOnce(merge, { ...batch, records });
  } catch (error) {
    const [first] = batch.records;
    if (!isUnstorable(error) || first === undefined) throw error;
    if (batch.records.length === 1) {
      refused.push({ record: first, error });
      return;
    }
    const middle = Math.ceil(batch.records.length / 2);
    await isolate(merge, { ...batch, records: batch.records.slice(0, middle) }, refused);
    await isolate(merge, { ...batch, records: batch.records.slice(middle) }, refused);
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
