/**
 * Opens the database, wherever it is, and keeps database.ts's promise: answered or `unavailable`, never waiting long.
 *
 * It speaks to Postgres 14 or newer, refuses anything older, and comes back by itself when Postgres does.
 */
import { type ConnectOptions, connect, type Endpoint } from "./connection.ts";
import type { Database, Sql } from "./database.ts";
import { drizzleOver } from "./drizzle.ts";
import { openPool } from "./pool.ts";
import { reach } from "./reach.ts";
import { unavailable } from "./unavailable.ts";

export type OpenOptions = {
  endpoint: Endpoint;
  /** For LISTEN; null: the same as `endpoint`. */
  direct: Endpoint | null;
  prepare: boolean;
  /** `specgate/<instance>/<epoch>`, by which a later boot finds what this one left behind. */
  applicationName: string;
  connectionsMax?: number;
};

export async function openDatabase(options: OpenOptions): Promise<Database> {
  const settings: ConnectOptions = {
    applicationName: options.applicationName,
    prepare: options.prepare,
    connectionsMax: 1,
    statementTimeoutMs: await reach(options.endpoint, options.applicationName),
  };
  const pool = openPool((onclose) => connect(options.endpoint, { ...settings, onclose }), {
    connectionsMax: options.connectionsMax ?? 10,
  });
  const direct = connect(options.direct ?? options.endpoint, settings);
  const db = drizzleOver(pool.sql, options.prepare);
  return {
    db,
    transaction: (work) => pool.transaction((tx) => work(drizzleOver(tx, options.prepare))),
    sql: pool.sql,
    direct,
    ping: (milliseconds) => ping(pool.sql, milliseconds),
    async close() {
      await Promise.all([pool.close(), direct.end({ timeout: 5 })]);
    },
  };
}

async function ping(sql: Sql, milliseconds: number): Promise<void> {
  const limit = Promise.withResolvers<never>();
  const timer = setTimeout(() => limit.reject(unavailable()), milliseconds);
  try {
    await Promise.race([sql`select 1`, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}
