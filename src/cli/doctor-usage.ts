/** What `doctor` looks at in the books: whether summaries say what the single calls say. */
import { sql } from "drizzle-orm";
import type { Database } from "../db/database.ts";
import { findDifferences } from "../features/usage/self-check.ts";
import { asFailure } from "../platform/failure.ts";
import type { Finding } from "./doctor.ts";

export async function checkUsage({ db }: Pick<Database, "db">): Promise<Finding> {
  const name = "usage";
  try {
    const [clock] = await db.execute<{ now: string }>(
      sql`select (extract(epoch from now()) * 1000)::text as now`,
    );
    const found = await findDifferences(db, { now: Number(clock?.now), pauseMs: 0 });
    const [first] = found ?? [];
    if (first === undefined)
      return { name, status: "ok", message: "summaries equal the single calls of the last three days" };
    const message = `summaries differ from the single calls in ${found?.length} hours or days, first ${first.at.toISOString()}`;
    return { name, status: "failure", message };
  } catch (error) {
    return { name, status: "failure", message: asFailure(error).message };
  }
}
