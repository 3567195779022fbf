import { Failure } from "../platform/failure.ts";
import type { Sql } from "./database.ts";

/** SpecGate relies on 64-bit transaction ids and snapshots as PostgreSQL 14 has them. */
export async function refuseOldServer(sql: Sql): Promise<void> {
  const [row] = await sql<{ server_version_num: string }[]>`show server_version_num`;
  const number = Number(row?.server_version_num ?? 0);
  if (number >= 140_000) return;
  throw new Failure(
    "conflict",
    "database_too_old",
    `The database is PostgreSQL ${Math.floor(number / 10_000)}; SpecGate needs PostgreSQL 14 or newer.`,
  );
}
