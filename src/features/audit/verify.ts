/**
 * Checks the audit log from end to end: every row against its hash, every seal against its rows, its signature and the
 * seal before it, and the chain's end against the heads kept in the data dir. Names the first thing that is wrong.
 *
 * It reads in pages and holds one page at a time. Rows that no seal covers yet are counted and said; they are wrong
 * only when they have waited longer than any transaction may run.
 */
import { createHash } from "node:crypto";
import type { Db } from "../../db/database.ts";
import { canonicalText, hex, noSeal, sealHash, sha256 } from "./canonical.ts";
import type { Head, Heads } from "./heads.ts";
import { fingerprint, isSignedBy } from "./seal-key.ts";
import {
  findLastSeal,
  findSeal,
  listEpochs,
  listKeys,
  listRows,
  listSeals,
  type Seal,
  type StoredRow,
} from "./store.ts";

/** `id` is the row's, `epoch/no` of a seal or a head, or the key's. */
export type Flaw = {
  readonly table: "audit" | "audit_seals" | "audit_keys" | "heads.jsonl";
  readonly id: string;
  readonly why: string;
};
export type Counts = { rows: number; seals: number; unsealed: number };
export type Verification =
  | ({ readonly outcome: "intact" } & Readonly<Counts>)
  | ({ readonly outcome: "broken"; readonly flaw: Flaw } & Readonly<Counts>);

/** Seals made from `from` (inclusive) to `to` (exclusive), with their rows; null is no bound. */
export type Span = { from: Date | null; to: Date | null };

export async function verify(needs: { db: Db; heads: Heads }, span: Span): Promise<Verification> {
  const counts = { rows: 0, seals: 0, unsealed: 0 };
  // A head that is written while we read must not be looked for in what was read before.
  const heads = await needs.heads.last();
  try {
    const keys = await trustedKeys(needs.db);
    for (const epoch of await listEpochs(needs.db))
      await verifyEpoch({ ...needs, keys, counts, span }, epoch);
    for (const head of heads) await verifyHead(needs.db, head);
    return { outcome: "intact", ...counts };
  } catch (error) {
    if (error instanceof Broken) return { outcome: "broken", flaw: error.flaw, ...counts };
    throw error;
  }
}

class Broken extends Error {
  constructor(readonly flaw: Flaw) {
    super(flaw.why);
  }
}

const broken = (table: Flaw["table"], id: string, why: string): Broken => new Broken({ table, id, why });
const sealName = (seal: { epoch: number; no: number }): string => `${seal.epoch}/${seal.no}`;

async function trustedKeys(db: Db): Promise<Map<string, Uint8Array>> {
  const keys = await listKeys(db);
  for (const { id, publicKey } of keys)
    if (fingerprint(publicKey) !== id)
      throw broken("audit_keys", id, "the public key is not the one that this id was made from");
  return new Map(keys.map((key) => [key.id, key.publicKey]));
}

type Check = { db: Db; keys: Map<string, Uint8Array>; counts: Counts; span: Span };

async function verifyEpoch(check: Check, epoch: number): Promise<void> {
  let last: Seal | undefined;
  let rows: RowReader | undefined;
  for await (const seal of sealsOf(check, epoch)) {
    if (last === undefined && seal.no > 1) last = await anchor(check, seal);
    verifyLink(seal, last, check.keys);
    rows ??= new RowReader(check.db, epoch, seal.fromXid);
    await verifyRows(seal, rows, check.counts);
    last = seal;
  }
  if (check.span.to !== null) return;
  last ??= await findLastSeal(check.db, epoch);
  await verifyRest(check, rows ?? new RowReader(check.db, epoch, last?.toXid ?? "0"));
}

/** The seal before the first one looked at; only a span that begins later may leave it out. */
async function anchor(check: Check, seal: Seal): Promise<Seal | undefined> {
  return check.span.from === null ? undefined : await findSeal(check.db, seal.epoch, seal.no - 1);
}

function verifyLink(seal: Seal, last: Seal | undefined, keys: Map<string, Uint8Array>): void {
  const name = sealName(seal);
  const expected = (last?.no ?? 0) + 1;
  if (seal.no !== expected)
    throw broken(
      "audit_seals",
      `${seal.epoch}/${expected}`,
      `this seal is missing; the next one there is ${name}`,
    );
  if (seal.fromXid !== (last?.toXid ?? "0"))
    throw broken("audit_seals", name, "it does not begin where the seal before it ends");
  if (!same(seal.prevHash, last?.hash ?? noSeal()))
    throw broken("audit_seals", name, "it does not follow from the seal before it");
  const key = keys.get(seal.keyId);
  if (key === undefined) throw broken("audit_seals", name, `its key ${seal.keyId} is not known`);
  if (!isSignedBy(key, seal.hash, seal.signature))
    throw broken("audit_seals", name, "its signature was not made by its key");
}

async function verifyRows(seal: Seal, rows: RowReader, counts: Counts): Promise<void> {
  const hash = createHash("sha256");
  const end = BigInt(seal.toXid);
  let found = 0;
  for (let row = await rows.peek(); row !== undefined && BigInt(row.xid) < end; row = await rows.peek()) {
    rows.take();
    verifyRow(row);
    hash.update(row.hash);
    found += 1;
    counts.rows += 1;
  }
  counts.seals += 1;
  const name = sealName(seal);
  if (found !== seal.rows)
    throw broken("audit_seals", name, `it was made over ${seal.rows} rows, and ${found} are there`);
  if (!same(sealHash(seal, hash.digest()), seal.hash))
    throw broken("audit_seals", name, "its rows, or its own columns, are not those that were sealed");
}

function verifyRow(row: StoredRow): void {
  if (!same(sha256(canonicalText(row.columns)), row.hash))
    throw broken("audit", row.id, "the row is not the one that was written");
}

/** Rows that no seal covers yet. */
async function verifyRest({ counts }: Check, rows: RowReader): Promise<void> {
  for (let row = await rows.peek(); row !== undefined; row = await rows.peek()) {
    rows.take();
    verifyRow(row);
    counts.rows += 1;
    counts.unsealed += 1;
    const waitedSeconds = row.ageSeconds - lateSeconds(row);
    if (waitedSeconds > unsealedSecondsMax)
      throw broken("audit", row.id, `no seal covers it after ${Math.round(waitedSeconds)} s`);
  }
}

const unsealedSecondsMax = 60;

/** How long after what it tells of the row was written: the database may have been away meanwhile. */
function lateSeconds({ columns }: StoredRow): number {
  const details = JSON.parse(columns.at(-1) ?? "null") as { stored_at?: unknown } | null;
  const late = Date.parse(String(details?.stored_at)) - Date.parse(String(columns[atColumn]));
  return Number.isFinite(late) ? Math.max(0, late / 1_000) : 0;
}

/** Where a row's time stands among its columns. */
const atColumn = 4;

async function verifyHead(db: Db, head: Head): Promise<void> {
  const name = sealName(head);
  const seal = await findSeal(db, head.epoch, head.no);
  if (seal === undefined)
    throw broken(
      "heads.jsonl",
      name,
      `the database has no such seal, which was made at ${head.at}: its end was cut off`,
    );
  if (hex(seal.hash) !== head.hash)
    throw broken("heads.jsonl", name, "the database has another seal in this place: the chain was made anew");
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const pageRows = 1_000;

async function* sealsOf(check: Check, epoch: number): AsyncGenerator<Seal> {
  let afterNo = 0;
  for (;;) {
    const page = await listSeals(check.db, { epoch, afterNo, ...check.span, rowsMax: pageRows });
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < pageRows) return;
    afterNo = last.no;
  }
}

/** The rows from one transaction on, in the order in which they are sealed. */
class RowReader {
  #page: StoredRow[] = [];
  #at = 0;
  #ended = false;
  #after: { xid: string; id: string };

  constructor(
    private readonly db: Db,
    private readonly epoch: number,
    fromXid: string,
  ) {
    this.#after = { xid: fromXid, id: "-9223372036854775808" };
  }

  async peek(): Promise<StoredRow | undefined> {
    if (this.#at >= this.#page.length && !this.#ended) {
      const { db, epoch } = this;
      this.#page = await listRows(db, { epoch, after: this.#after, rowsMax: pageRows });
      this.#at = 0;
      this.#after = this.#page.at(-1) ?? this.#after;
      this.#ended = this.#page.length < pageRows;
    }
    return this.#page[this.#at];
  }

  take(): void {
    this.#at += 1;
  }
}
