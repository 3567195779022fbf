import { sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";

/** The right to give a file its content until this transaction ends, over all instances; false when another has it. */
export async function takeFile(tx: Db, path: string): Promise<boolean> {
  const [row] = (await tx.execute(
    sql`select pg_try_advisory_xact_lock(hashtextextended(${`workspace ${path}`}, 0)) as taken`,
  )) as unknown as { taken: boolean }[];
  return row?.taken === true;
}
