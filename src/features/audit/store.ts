/**
 * The audit tables: rows, seals and the public keys that the seals are checked with. Inserts and reads only.
 *
 * Transaction ids and 64-bit numbers stay text, times are spelled once, in SQL, because what is hashed must be the same
 * text at every reading.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Db, Sql } from "../../db/database.ts";
import type { SealHead } from "./canonical.ts";

export type NewRow = {
  epoch: number;
  eventId: string;
  actor: string;
  actorKind: string;
  clientId: string | null;
  action: string;
  subject: string | null;
  projectId: string | null;
  sessionId: string | null;
  ip: string | null;
  userAgent: string | null;
  requestId: string | null;
  outcome: string;
  /** JSON text. */
  details: string;
};

export const timeText = (column: SQL): SQL =>
  sql`to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/** Every column but the hash, as text, in the order in which it is hashed. */
const columnsText = [
  "id::text",
  "xid::text",
  "epoch::text",
  "event_id",
  "to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')",
  "actor",
  "actor_kind",
  "client_id",
  "action",
  "subject",
  "project_id",
  "session_id",
  "ip",
  "user_agent",
  "request_id",
  "outcome",
  "details::text",
].join(", ");
const columns = sql.raw(columnsText);

export async function insertRow(tx: Db, row: NewRow): Promise<void> {
  await tx.execute(sql`
    insert into audit (id, xid, epoch, event_id, at, actor, actor_kind, client_id, action, subject, project_id,
      session_id, ip, user_agent, request_id, outcome, details, row_hash)
    overriding system value
    select *, sha256(convert_to(json_build_array(${columns})::text, 'UTF8')) from (
      select nextval('audit_id_seq') as id, pg_current_xact_id() as xid, ${row.epoch}::int as epoch,
        ${row.eventId}::text as event_id, clock_timestamp()::timestamptz(3) as at, ${row.actor}::text as actor,
        ${row.actorKind}::text as actor_kind, ${row.clientId}::text as client_id, ${row.action}::text as action,
        ${row.subject}::text as subject, ${row.projectId}::text as project_id, ${row.sessionId}::text as session_id,
        ${row.ip}::text as ip, ${row.userAgent}::text as user_agent, ${row.requestId}::text as request_id,
        ${row.outcome}::text as outcome, ${row.details}::text::jsonb as details
    ) as entry`);
}

/**
 * Rows that were decided before they are written, such as those of the journal: `rows` is a JSON array of them, their
 * columns by name. One that is there already is left as it is, so that whoever does not know whether it was written
 * writes it again. A row that comes late says in its details when it came.
 */
export async function insertDecided(tx: Pick<Sql, "unsafe">, epoch: number, rows: string): Promise<void> {
  // A plan made while the table was small must not scan it when it is large.
  await Promise.all([
    tx.unsafe("select set_config('enable_seqscan', 'off', true)"),
    tx.unsafe(insertStatement, [epoch, rows], { prepare: true }),
  ]);
}

const insertStatement = `
  insert into audit (id, xid, epoch, event_id, at, actor, actor_kind, client_id, action, subject, project_id,
    session_id, ip, user_agent, request_id, outcome, details, row_hash)
  overriding system value
  select *, sha256(convert_to(json_build_array(${columnsText})::text, 'UTF8')) from (
    select nextval('audit_id_seq') as id, pg_current_xact_id() as xid, $1::int as epoch, event_id, at, actor, actor_kind,
      client_id, action, subject, project_id, session_id, ip, user_agent, request_id, outcome,
      case when clock_timestamp() - at < interval '5 s' then details else details || jsonb_build_object('stored_at',
        to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) end as details
    from jsonb_to_recordset($2::text::jsonb) as decided (
      event_id text, at timestamptz(3), actor text, actor_kind text, client_id text, action text, subject text,
      project_id text, session_id text, ip text, user_agent text, request_id text, outcome text, details jsonb
    )
    where (select count(*) from audit there where there.at = decided.at and there.event_id = decided.event_id) = 0
  ) as entry`;

/** The cluster that this database is counted as: 1, until a restore opens the next. */
export async function findEpoch(db: Db): Promise<number> {
  const [row] = (await db.execute(sql`
    select greatest(1, (select epoch from audit order by id desc limit 1), (select max(epoch) from audit_seals)) as epoch`)) as unknown as {
    epoch: number;
  }[];
  return row?.epoch ?? 1;
}

export type Seal = SealHead & { readonly hash: Uint8Array; readonly signature: Uint8Array };

/** Whether there is anything that no seal covers yet. */
export async function hasUnsealed(db: Db, epoch: number): Promise<boolean> {
  const [row] = (await db.execute(sql`
    select exists (
      select from audit where epoch = ${epoch} and xid >= coalesce(
        (select to_xid from audit_seals where epoch = ${epoch} order by no desc limit 1), '0'::xid8)
    ) as found`)) as unknown as { found: boolean }[];
  return row?.found ?? false;
}

/** An arbitrary number that names the sealer's lock. */
const sealLock = 0x7365616c;

/** True when no other instance is sealing; held until the transaction ends. */
export async function lockSealing(tx: Db): Promise<boolean> {
  const [row] = (await tx.execute(sql`select pg_try_advisory_xact_lock(${sealLock}) as mine`)) as unknown as {
    mine: boolean;
  }[];
  return row?.mine ?? false;
}

/** Every transaction below it has ended, so no row below it can still appear. */
export async function findHorizon(tx: Db): Promise<string> {
  const [row] = (await tx.execute(
    sql`select pg_snapshot_xmin(pg_current_snapshot())::text as xmin`,
  )) as unknown as { xmin: string }[];
  if (row === undefined) throw new Error("the database names no snapshot");
  return row.xmin;
}

/** Count and hash of the rows with `from <= xid < to`, and the database's time. */
export async function hashRows(
  tx: Db,
  range: { epoch: number; from: string; to: string },
): Promise<{ rows: number; rowsHash: Uint8Array; at: string }> {
  const [row] = (await tx.execute(sql`
    select count(*)::int as rows, sha256(coalesce(string_agg(row_hash, ''::bytea order by xid, id), ''::bytea)) as hash,
      ${timeText(sql`clock_timestamp()`)} as at
    from audit where epoch = ${range.epoch} and xid >= ${range.from}::xid8 and xid < ${range.to}::xid8`)) as unknown as {
    rows: number;
    hash: Uint8Array;
    at: string;
  }[];
  if (row === undefined) throw new Error("the database counts no rows");
  return { rows: row.rows, rowsHash: row.hash, at: row.at };
}

export async function insertSeal(tx: Db, seal: Seal): Promise<void> {
  await tx.execute(sql`
    insert into audit_seals (epoch, no, at, from_xid, to_xid, rows, prev_hash, hash, signature, key_id)
    values (${seal.epoch}, ${seal.no}, ${seal.at}::timestamptz, ${seal.fromXid}::xid8, ${seal.toXid}::xid8, ${seal.rows},
      ${bytes(seal.prevHash)}, ${bytes(seal.hash)}, ${bytes(seal.signature)}, ${seal.keyId})`);
}

export async function findLastSeal(db: Db, epoch: number): Promise<Seal | undefined> {
  const [seal] = await selectSeals(db, sql`epoch = ${epoch} order by no desc limit 1`);
  return seal;
}

export async function findSeal(db: Db, epoch: number, no: number): Promise<Seal | undefined> {
  const [seal] = await selectSeals(db, sql`epoch = ${epoch} and no = ${no}`);
  return seal;
}

/** In the chain's order, after `no`, made within the time asked for. */
export function listSeals(
  db: Db,
  asked: { epoch: number; afterNo: number; from: Date | null; to: Date | null; rowsMax: number },
): Promise<Seal[]> {
  const from = asked.from === null ? sql`` : sql` and at >= ${asked.from.toISOString()}::timestamptz`;
  const to = asked.to === null ? sql`` : sql` and at < ${asked.to.toISOString()}::timestamptz`;
  return selectSeals(
    db,
    sql`epoch = ${asked.epoch} and no > ${asked.afterNo}${from}${to} order by no limit ${asked.rowsMax}`,
  );
}

async function selectSeals(db: Db, where: SQL): Promise<Seal[]> {
  const found = await db.execute(sql`
    select epoch, no, ${timeText(sql`at`)} as at, from_xid::text as "fromXid", to_xid::text as "toXid", rows,
      prev_hash as "prevHash", hash, signature, key_id as "keyId"
    from audit_seals where ${where}`);
  return (found as unknown as (Omit<Seal, "no"> & { no: number | string })[]).map((seal) => ({
    ...seal,
    no: Number(seal.no),
  }));
}

/** A row as it stands: `columns` is what its hash is made of. */
export type StoredRow = {
  readonly id: string;
  readonly xid: string;
  readonly columns: (string | null)[];
  readonly hash: Uint8Array;
  readonly ageSeconds: number;
};

/** Ordered by transaction and id, from behind `after`. */
export async function listRows(
  db: Db,
  asked: { epoch: number; after: { xid: string; id: string }; rowsMax: number },
): Promise<StoredRow[]> {
  const { after } = asked;
  // Named with its table: the bare names are the texts above, and 999 stands behind 1000 among texts.
  const found = await db.execute(sql`
    select id::text as id, xid::text as xid, json_build_array(${columns})::text as columns, row_hash as hash,
      extract(epoch from clock_timestamp() - at)::float8 as "ageSeconds"
    from audit
    where epoch = ${asked.epoch} and (xid, id) > (${after.xid}::xid8, ${after.id}::bigint)
    order by audit.xid, audit.id limit ${asked.rowsMax}`);
  return (found as unknown as (Omit<StoredRow, "columns"> & { columns: string })[]).map((row) => ({
    ...row,
    columns: JSON.parse(row.columns) as (string | null)[],
  }));
}

export async function listEpochs(db: Db): Promise<number[]> {
  const found = await db.execute(
    sql`select distinct epoch from audit union select distinct epoch from audit_seals order by epoch`,
  );
  return (found as unknown as { epoch: number }[]).map((row) => row.epoch);
}

export async function insertKey(db: Db, key: { id: string; publicKey: Uint8Array }): Promise<void> {
  await db.execute(sql`
    insert into audit_keys (id, public_key) values (${key.id}, ${bytes(key.publicKey)}) on conflict (id) do nothing`);
}

export async function listKeys(db: Db): Promise<{ id: string; publicKey: Uint8Array }[]> {
  const found = await db.execute(sql`select id, public_key as "publicKey" from audit_keys order by id`);
  return found as unknown as { id: string; publicKey: Uint8Array }[];
}

const bytes = (value: Uint8Array): SQL => sql`decode(${Buffer.from(value).toString("hex")}, 'hex')`;
