/**
 * Brings the schema up to what this binary knows.
 *
 * All pending steps of one start are one transaction under one lock: of two gateways starting together one migrates and
 * the other finds nothing to do. Forward only. A schema that is newer than the binary, or whose history differs from the
 * one carried here, is refused: somebody else's gateway may be using it. Keeps to one transaction, so that it works
 * through a transaction pooler.
 */
import { migrations as carried } from "../../drizzle/migrations.ts";
import { Failure } from "../platform/failure.ts";
import type { Sql } from "./database.ts";
import { refuseOldServer } from "./server-version.ts";
import { codeOf, mapUnavailable } from "./unavailable.ts";

export type Migration = { readonly name: string; readonly sql: string };

export type MigrateOptions = {
  /** Who gets the gateway's rights; null: whoever migrates. */
  gatewayRole: string | null;
  /** For tests; the binary's own otherwise. */
  migrations?: readonly Migration[];
};

/** Runs as the owner of the schema. Returns the names of the steps it took. */
export async function migrate(sql: Sql, options: MigrateOptions): Promise<string[]> {
  const known = options.migrations ?? carried;
  try {
    await refuseOldServer(sql);
    // A role that owns nothing may still start a gateway on a schema that is up to date.
    const isUpToDate = (await pendingMigrations(sql, known)).length === 0;
    if (isUpToDate && (await hasRights(sql, options.gatewayRole))) return [];
    return (await sql.begin(async (transaction) => {
      const tx = transaction as unknown as Sql;
      await tx.unsafe(`
        SET LOCAL statement_timeout = 0;
        SET LOCAL idle_in_transaction_session_timeout = 0;
        SELECT pg_advisory_xact_lock(${lockKey});
        CREATE TABLE IF NOT EXISTS schema_migrations (
          name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz(3) NOT NULL DEFAULT now())`);
      const pending = pendingOf(known, await applied(tx));
      for (const step of pending) await take(tx, step);
      await grantRights(tx, options.gatewayRole, pending.length > 0);
      return pending.map((step) => step.name);
    })) as string[];
  } catch (error) {
    throw mapUnavailable(error);
  }
}

/** The steps that `migrate` would take; throws as it would on a schema that it refuses. Changes nothing. */
export async function pendingMigrations(
  sql: Sql,
  known: readonly Migration[] = carried,
): Promise<readonly string[]> {
  try {
    return pendingOf(known, await applied(sql)).map((step) => step.name);
  } catch (error) {
    if (codeOf(error) === undefinedTable) return known.map((step) => step.name);
    throw mapUnavailable(error);
  }
}

const undefinedTable = "42P01";
/** Any number, as long as it never changes. */
const lockKey = "495806931713";

type Applied = { name: string; checksum: string };

const applied = (sql: Sql): Promise<Applied[]> =>
  sql<Applied[]>`select name, checksum from schema_migrations order by name`.then((rows) => [...rows]);

function pendingOf(known: readonly Migration[], done: readonly Applied[]): readonly Migration[] {
  for (const [index, { name, checksum }] of done.entries()) {
    const step = known[index];
    if (step === undefined) throw newer(name);
    if (step.name !== name || checksumOf(step) !== checksum) throw different(name);
  }
  return known.slice(done.length);
}

async function take(tx: Sql, step: Migration): Promise<void> {
  await tx.unsafe(step.sql);
  await tx`insert into schema_migrations (name, checksum) values (${step.name}, ${checksumOf(step)})`;
}

/** Given again when DATABASE_URL names another role than last time. */
async function grantRights(tx: Sql, role: string | null, changed: boolean): Promise<void> {
  if (role === null || (!changed && (await hasRights(tx, role)))) return;
  const [own] = await tx<{ own: boolean }[]>`select current_user = ${role} as own`;
  if (!own?.own) await tx`select grant_gateway(${role})`;
}

/** Null: whoever migrates, who has them all. */
async function hasRights(sql: Sql, role: string | null): Promise<boolean> {
  if (role === null) return true;
  const [rights] = await sql<{ given: boolean }[]>`
    select has_table_privilege(${role}, 'users', 'INSERT') as given`;
  return rights?.given === true;
}

const checksumOf = (step: Migration): string => new Bun.CryptoHasher("sha256").update(step.sql).digest("hex");

const newer = (name: string): Failure =>
  new Failure(
    "conflict",
    "schema_newer",
    `The database's schema is newer than this binary: it holds step ${name}. Run the newer SpecGate, or restore a backup of the older schema.`,
  );

const different = (name: string): Failure =>
  new Failure(
    "conflict",
    "schema_different",
    `The database's schema has another history than this binary: step ${name} differs. It was migrated by another build of SpecGate.`,
  );
