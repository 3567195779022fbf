/**
 * Holds whose calls nobody will end any more: of earlier boots of this instance, and of instances that are gone.
 *
 * A call that may have been sent becomes `unknown` and is charged what was held for it; the END of a journal that comes
 * back later replaces that, and the difference is booked. A hold is only ever given back where it is certain that
 * nothing was sent, or where the call's own row says how it ended. Whoever comes second finds nothing to do.
 */
import type { Sql } from "../../db/database.ts";
import type { LostRecord } from "../../db/ledger.ts";
import { Failure } from "../../platform/failure.ts";
import type { Log } from "../../platform/log.ts";
import { mergeBatch, type Owner } from "./merge.ts";
import { type Attempted, lostAtts } from "./watermarks.ts";

/** How many holds were given back, and how many calls became unknown. */
export type SettledHolds = { dropped: number; charged: number };

type HoldRow = Attempted & {
  req: string;
  nano: number;
  periods: string[];
  boot_id: string;
  state: string | null;
};

const batchMax = 500;

/**
 * Settles what older epochs of this instance held. Correct only when everything that they wrote down is merged, and what
 * they left open is closed. The kernel's boot tells a killed process, whose written START would be there, from a machine
 * that lost its power, whose START may have been on its way to the disk when the call was sent.
 */
export const settleOlderHolds = (sql: Sql, owner: Owner, bootId: string): Promise<SettledHolds> =>
  settle(sql, owner, {
    below: owner.epoch,
    isNeverSent: ({ state, boot_id }) => state === null && boot_id === bootId,
  });

/** Settles what instances hold that have not been heard of for `silentMs`. `own` is never one of them. */
export async function settleLostInstances(
  sql: Sql,
  own: string,
  silentMs: number,
  log: Log,
): Promise<SettledHolds> {
  const total = { dropped: 0, charged: 0 };
  const lost = await sql<{ instance: string; epoch: number }[]>`
    select id as instance, epoch from instances
    where id <> ${own}::uuid and heartbeat_at < now() - ${silentMs} * interval '1 millisecond'
      and exists (select from holds where instance = instances.id)`;
  for (const owner of lost) {
    try {
      const settled = await settle(sql, owner, { below: owner.epoch + 1, isNeverSent: () => false });
      total.dropped += settled.dropped;
      total.charged += settled.charged;
    } catch (error) {
      // It has been started again: then it knows better itself.
      if (!(error instanceof Failure)) throw error;
      log.debug("an instance that was lost is back", { instance: owner.instance, error });
    }
  }
  return total;
}

/**
 * Gives back what is held for calls that are over, and returns how many there were: of a statement that was believed lost
 * and ran after its call had ended.
 */
export async function dropOverHolds(sql: Sql): Promise<number> {
  const over = await sql<{ req: string }[]>`
    select req from holds join requests on requests.id = holds.req where state <> 'open' limit ${batchMax}`;
  if (over.length > 0) await sql`select drop_holds(${over.map(({ req }) => req)}::text[])`;
  return over.length;
}

type Terms = { below: number; isNeverSent: (hold: HoldRow) => boolean };

async function settle(sql: Sql, owner: Owner, { below, isNeverSent }: Terms): Promise<SettledHolds> {
  const settled = { dropped: 0, charged: 0 };
  let after = "";
  for (;;) {
    const holds = await listHolds(sql, owner.instance, below, after);
    const last = holds.at(-1);
    if (last === undefined) return settled;
    after = last.req;
    const over = holds.filter((hold) => isNeverSent(hold) || !["open", null].includes(hold.state));
    if (over.length > 0) await sql`select drop_holds(${over.map(({ req }) => req)}::text[])`;
    const lost = holds.filter((hold) => !over.includes(hold));
    const records = lost.flatMap(lostOf).map((record) => JSON.stringify(record));
    if (lost.length > 0) await mergeBatch(sql, owner, { records, epoch: owner.epoch, reach: null });
    settled.dropped += over.length;
    settled.charged += lost.length;
  }
}

const listHolds = (sql: Sql, instance: string, below: number, after: string): Promise<HoldRow[]> =>
  sql<HoldRow[]>`
    select holds.req, nano, holds.periods, boot_id, requests.state,
      array(select attempt from attempts where request_id = holds.req and state = 'open') as open_atts,
      (select max(attempt) from attempts where request_id = holds.req) as last_att
    from holds left join requests on requests.id = holds.req
    where holds.instance = ${instance}::uuid and holds.epoch < ${below} and holds.req > ${after}
    order by holds.req limit ${batchMax}`.then((rows) => [...rows]);

const lostOf = (hold: HoldRow): LostRecord[] =>
  lostAtts(hold).map((att) => ({
    t: "lost",
    req: hold.req,
    att,
    charged: hold.nano,
    periods: hold.periods,
  }));
