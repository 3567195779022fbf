/**
 * What a local command works with: the database and the features it changes, as the operating system's user.
 *
 * Its changes are the gateway's own: same rules, same audit entries (`actor_kind: local`), same revocations. When no
 * gateway runs here it seals its audit rows itself, so that none waits for a gateway that may never come.
 */
import { mkdirSync } from "node:fs";
import type { Actor, RecordAudit } from "../db/audit-entry.ts";
import type { Database } from "../db/database.ts";
import { pendingMigrations } from "../db/migrate.ts";
import { createRecord } from "../features/audit/audit.ts";
import { type Heads, openHeads } from "../features/audit/heads.ts";
import { sealKeyIn } from "../features/audit/seal-key.ts";
import { createSealer } from "../features/audit/sealer.ts";
import { findEpoch, insertKey } from "../features/audit/store.ts";
import { registerSecrets, signingSecrets } from "../features/tokens/secrets.ts";
import type { Tokens } from "../features/tokens/tokens.ts";
import { systemClock } from "../platform/clock.ts";
import type { Config } from "../platform/config.ts";
import { signingSecretsOf } from "../platform/config-signing.ts";
import type { DataDir } from "../platform/data-dir.ts";
import { Failure } from "../platform/failure.ts";
import { silentLog } from "../platform/log.ts";
import { assembleIdentity, type Identity } from "../wiring-identity.ts";
import { configWithoutFile } from "./config.ts";
import { type LocalDatabase, openLocalDatabase } from "./local-database.ts";
import { publicUrlOf } from "./public-url.ts";
import type { World } from "./world.ts";

export type LocalFlags = { dataDir?: string };

export type Local = Pick<Identity, "users" | "projects" | "clients" | "keys" | "sweep"> & {
  readonly actor: Actor;
  readonly config: Config;
  readonly dir: DataDir;
  readonly database: Database;
  readonly record: RecordAudit;
  /** Throws `unknown_signing_secret` when the gateway would refuse what is signed here. */
  tokens(): Promise<Tokens>;
  /** The audit log's heads kept on this machine. */
  readonly heads: Heads;
};

/** Opens, works, and closes whatever happened. `config`: of a command that needs the file too. */
export async function withLocal<T>(
  world: World,
  flags: LocalFlags,
  work: (local: Local) => Promise<T>,
  config = configWithoutFile(world, flags),
): Promise<T> {
  const opened = await openLocalDatabase(world, config, "local command");
  try {
    await requireSchema(opened.database);
    const epoch = await findEpoch(opened.database.db);
    const heads = openHeads(opened.place.dir.file("audit/heads.jsonl"));
    const seal = sealing(opened, epoch, heads);
    await seal();
    try {
      return await work(furnish(world, config, opened, { record: createRecord(epoch), heads }));
    } finally {
      await seal();
    }
  } finally {
    await opened.close();
  }
}

async function requireSchema(database: Database): Promise<void> {
  if ((await pendingMigrations(database.sql)).length === 0) return;
  throw new Failure(
    "conflict",
    "schema_old",
    "The database's schema is older than this binary: run `specgate migrate`, or start the gateway.",
  );
}

function furnish(
  world: World,
  config: Config,
  { database, place }: LocalDatabase,
  books: { record: RecordAudit; heads: Heads },
): Local {
  const secrets = signingSecrets(signingSecretsOf(config, place.dir));
  const publicUrl = publicUrlOf(config, place.dir);
  const identity = assembleIdentity({
    database,
    record: books.record,
    clock: systemClock(),
    log: silentLog,
    addresses: () => ({ publicUrl, aliases: [] }),
    secrets,
    fetchDocument: null,
  });
  return {
    ...identity,
    actor: { id: world.osUser, kind: "local", clientId: null, ip: null, userAgent: null, requestId: null },
    config,
    dir: place.dir,
    database,
    record: books.record,
    async tokens() {
      await registerSecrets(
        database,
        secrets.map(({ kid }) => kid),
      );
      return identity.oauth.tokens;
    },
    heads: books.heads,
  };
}

/** Beside a running gateway there is nothing to do: it seals within a second. */
function sealing({ database, place }: LocalDatabase, epoch: number, heads: Heads): () => Promise<void> {
  const { dir, shared } = place;
  if (shared) return async () => undefined;
  const key = sealKeyIn(dir);
  mkdirSync(dir.file("audit"), { recursive: true, mode: 0o700 });
  return async () => {
    await insertKey(database.db, key);
    await createSealer({ database, epoch, key, heads, log: silentLog }).seal();
  };
}
