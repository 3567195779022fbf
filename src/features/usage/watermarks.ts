/**
 * How far each journal of an instance has reached Postgres, and the requests that no journal will ever finish.
 */
import type { Sql } from "../../db/database.ts";
import type { LostRecord } from "../../db/ledger.ts";
import { mergeBatch, type Owner } from "./merge.ts";

/** By epoch; an epoch that is not there is at 0. */
export async function findWatermarks(sql: Sql, owner: Owner): Promise<Map<number, number>> {
  const rows = await sql<{ epoch: number; lsn: number }[]>`
    select epoch, lsn from watermarks where instance = ${owner.instance}::uuid`;
  return new Map(rows.map((row) => [row.epoch, row.lsn]));
}

const batchMax = 500;

type Forgotten = Attempted & { id: string; hold: number | null };

/**
 * Turns what older epochs left open into `unknown`, and returns how many requests. Correct only when everything that
 * those epochs wrote is merged: with a journal on disk after its drain, without one at boot.
 */
export async function closeForgotten(sql: Sql, owner: Owner): Promise<number> {
  let closed = 0;
  let after = "";
  for (;;) {
    const rows = await sql<Forgotten[]>`
      select id, hold_nano as hold,
        array(select attempt from attempts where request_id = requests.id and state = 'open') as open_atts,
        (select max(attempt) from attempts where request_id = requests.id) as last_att
      from requests
      where instance = ${owner.instance}::uuid and epoch < ${owner.epoch} and state = 'open' and id > ${after}
      order by id limit ${batchMax}`;
    const last = rows.at(-1);
    if (last === undefined) return closed;
    // What could not be stored is not tried again for ever.
    after = last.id;
    const records = rows.flatMap((row) =>
      lostAtts(row).map((att) =>
        JSON.stringify({ t: "lost", req: row.id, att, charged: row.hold } satisfies LostRecord),
      ),
    );
    await mergeBatch(sql, owner, { records, epoch: owner.epoch, reach: null });
    closed += rows.length;
  }
}

/** What is known of a request's attempts. */
export type Attempted = { open_atts: number[]; last_att: number | null };

/** Each attempt that is open gets an end, and the request its own: also when they have all ended, or never began. */
export const lostAtts = ({ open_atts, last_att }: Attempted): number[] =>
  open_atts.length > 0 ? open_atts : [last_att ?? 1];
