import { sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";

/** Whoever writes the same file waits until this transaction ends, on every instance over this database. */
export async function takeFile(tx: Db, path: string): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`workspace ${path}`}, 0))`);
}
