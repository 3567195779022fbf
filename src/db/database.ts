import type { PostgresJsDatabase } from "drizzle-orm/postgres-js";
import type postgres from "postgres";
import type * as schema from "./schema.ts";

export type Schema = typeof schema;
export type Sql = postgres.Sql;

/** drizzle over postgres.js: what every store function takes first, pool or transaction alike. */
export type Db = Pick<
  PostgresJsDatabase<Schema>,
  "select" | "insert" | "update" | "delete" | "execute" | "query"
>;

export type Database = {
  /** The pool. A statement that cannot be answered within its time, or at all, is a Failure `unavailable`. */
  readonly db: Db;
  /** One transaction; rolled back when `work` throws. The same promise of time and error as `db`. */
  transaction<T>(work: (tx: Db) => Promise<T>): Promise<T>;
  /** postgres.js itself, for what drizzle cannot say: LISTEN, streaming, bulk merges. */
  readonly sql: Sql;
  /** For LISTEN: a connection that no transaction pooler stands before. */
  readonly direct: Sql;
  /** Resolves when the database answers within `milliseconds`, throws `unavailable` otherwise. */
  ping(milliseconds: number): Promise<void>;
  close(): Promise<void>;
};
