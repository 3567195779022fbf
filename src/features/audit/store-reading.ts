/**
 * The audit table as people read it, in the order of `at` and, among equals, of `id`.
 *
 * Every index for a filter ends in these two, so that a value, a time and a place in the list are one range of it. The
 * order begins with the column that is asked for, whose value Postgres is kept from taking for a constant: otherwise it
 * walks through everybody's rows by time, which is long for somebody who was busy once and left.
 */
import { and, type SQL, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import type { audit } from "../../db/schema.ts";
import type { AuditQuery, AuditRow } from "./contract.ts";
import { timeText } from "./store.ts";

/** `position` is that of the row that was shown last; undefined at the top. */
type Asked = {
  filters: Omit<AuditQuery, "limit" | "cursor">;
  position: Position | undefined;
  rowsMax: number;
};
export type Position = { readonly at: Date; readonly id: string };

export type ShownRow = Omit<typeof audit.$inferSelect, "id" | "at" | "xid" | "epoch" | "rowHash"> & {
  readonly id: string;
  readonly at: string;
  readonly hash: string;
  readonly seal: AuditRow["seal"];
};

/** Newest first, from behind `position`. */
export async function browseRows(db: Db, asked: Asked): Promise<ShownRow[]> {
  const found = await db.execute(sql`
    select page.id::text as id, event_id as "eventId", ${timeText(sql`at`)} as at, actor, actor_kind as "actorKind",
      client_id as "clientId", action, subject, project_id as "projectId", session_id as "sessionId", ip,
      user_agent as "userAgent", request_id as "requestId", outcome, details, encode(row_hash, 'hex') as hash,
      case when seal.no is not null then
        json_build_object('epoch', page.epoch, 'no', seal.no, 'hash', encode(seal.hash, 'hex')) end as seal
    from (${pageOf(asked)}) as page
    left join lateral (
      select no, hash, to_xid from audit_seals
      where audit_seals.epoch = page.epoch and from_xid <= page.xid order by from_xid desc limit 1
    ) as seal on page.xid < seal.to_xid
    order by page.at desc, page.id desc`);
  return found as unknown as ShownRow[];
}

/** A column and the value that is asked for. */
type Key = readonly [column: SQL, value: SQL];

function pageOf(asked: Asked): SQL {
  const { subject, actor, project, action } = asked.filters;
  const noun = action?.endsWith(".*") ? action.slice(0, -2) : undefined;
  // Roughly the rarest first.
  const keys = [
    ...keyOf(sql`audit.subject`, subject),
    ...keyOf(sql`audit.actor`, actor),
    ...keyOf(sql`audit.project_id`, project),
    ...keyOf(sql`audit.action`, noun === undefined ? action : undefined),
  ];
  if (noun === undefined) return newest(asked, keys);
  const each: Key = [sql`audit.action`, sql`one.action`];
  return sql`
    select newest.* from (${actionsOf(noun)}) as one cross join lateral (${newest(asked, [each, ...keys])}) as newest
    order by newest.at desc, newest.id desc limit ${asked.rowsMax}`;
}

const keyOf = (column: SQL, value: string | undefined): Key[] =>
  value === undefined ? [] : [[column, sql`${value}::text`]];

/** Along the first key's index; the others are what Postgres may start from instead when they are rare. */
function newest(asked: Asked, [first, ...others]: readonly Key[]): SQL {
  const { from } = asked.filters;
  const end = endOf(asked);
  const chosen = and(
    first && sql`${first[0]} = any(array[${first[1]}])`,
    ...others.map(([column, value]) => sql`${column} = ${value}`),
    from && sql`audit.at >= ${instant(from)}`,
    end && sql`(audit.at, audit.id) < (${instant(end.at)}, ${end.id}::bigint)`,
  );
  const order = first === undefined ? sql`` : sql`${first[0]} desc, `;
  return sql`
    select audit.* from audit where ${chosen ?? sql`true`}
    order by ${order}audit.at desc, audit.id desc limit ${asked.rowsMax}`;
}

/** One bound and not two: of two, Postgres begins at one and reads up to the other. Ids begin at 1. */
function endOf({ filters: { to }, position }: Asked): Position | undefined {
  if (to === undefined) return position;
  return position !== undefined && position.at < to ? position : { at: to, id: "0" };
}

/** Not as text: Postgres has no year 0, and spells those beyond 9999 in its own way. */
const instant = (time: Date): SQL => sql`to_timestamp(${time.getTime()}::float8 / 1000)`;

/** Every action of the noun: one step through the index for each action that there is, and there are dozens. */
const actionsOf = (noun: string): SQL => sql`
  with recursive known as (
    (select min(action) as action from audit)
    union all
    select (select min(audit.action) from audit where audit.action > known.action) from known
    where known.action is not null
  )
  select action from known where action = ${noun} or starts_with(action, ${`${noun}.`})`;
