/**
 * How far each journal of an instance has reached Postgres, and the requests that no journal will ever finish.
 */
import type { Sql } from "../../db/database.ts";
import { mergeBatch, type Owner } from "./merge.ts";

/** By epoch; an epoch that is not there is at 0. */
export async function findWatermarks(sql: Sql, owner: Owner): Promise<Map<number, number>> {
  const rows = await sql<{ epoch: number; lsn: number }[]>`
    select epoch, lsn from watermarks where instance = ${owner.instance}::uuid`;
  return new Map(rows.map((row) => [row.epoch, row.lsn]));
}

const batchMax = 500;

/**
 * Turns what older epochs left open into `unknown`, and returns how many. Correct only when everything that those
 * epochs wrote is merged: with a journal on disk after its drain, without one at boot.
 */
export async function closeForgotten(sql: Sql, owner: Owner): Promise<number> {
  let closed = 0;
  for (;;) {
    const rows = await sql<{ record: string }[]>`
      select json_build_object(
        't', 'lost', 'req', id, 'charged', hold_nano,
        'att', coalesce((select max(attempt) from attempts where request_id = requests.id), 1)
      )::text as record
      from requests
      where instance = ${owner.instance}::uuid and epoch < ${owner.epoch} and state = 'open'
      order by id limit ${batchMax}`;
    if (rows.length === 0) return closed;
    const records = rows.map((row) => row.record);
    await mergeBatch(sql, owner, { records, epoch: owner.epoch, reach: null });
    closed += rows.length;
  }
}
