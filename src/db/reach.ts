/**
 * The first look at a database, before anything relies on it: who answers there, and if nobody does, why, in words for
 * the operator. They hold the address and the system's reason, and nothing else of the URL.
 *
 * Bounded from outside: where something takes each connection and closes it, as a server of another protocol does,
 * postgres.js connects again for ever.
 */
import { Failure } from "../platform/failure.ts";
import { connect, type Endpoint } from "./connection.ts";
import type { Sql } from "./database.ts";
import { statementTimeoutMs } from "./pool.ts";
import { refuseOldServer } from "./server-version.ts";
import { codeOf, isLost, mapUnavailable } from "./unavailable.ts";

/** Returns the time limit that may be asked for: none where a pooler refuses it (PgBouncer knows few start parameters). */
export async function reach(
  endpoint: Endpoint,
  applicationName: string,
  answerMsMax = 10_000,
): Promise<number | null> {
  const base = { applicationName, prepare: false, connectionsMax: 1 };
  for (const limit of [statementTimeoutMs, null]) {
    const sql = connect(endpoint, { ...base, statementTimeoutMs: limit });
    try {
      await inTime(refuseOldServer(sql), answerMsMax);
      return limit;
    } catch (error) {
      const refused = error instanceof Error && /unsupported startup parameter/.test(error.message);
      if (limit === null || !refused) throw named(error, endpoint, sql);
    } finally {
      await sql.end({ timeout: 0 });
    }
  }
  return null;
}

class Silent extends Error {}

async function inTime(looking: Promise<void>, answerMsMax: number): Promise<void> {
  const limit = Promise.withResolvers<never>();
  const timer = setTimeout(() => limit.reject(new Silent()), answerMsMax);
  try {
    await Promise.race([looking, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function named(error: unknown, endpoint: Endpoint, { options }: Sql): unknown {
  const reason = reasonOf(error);
  if (reason === null) return mapUnavailable(error);
  const { host, port, path } = options;
  const place = path || host.map((name, index) => `${name}:${port[index]}`).join(", ");
  const whose = endpoint.variable ?? "The embedded database";
  return new Failure("unavailable", "unavailable", `${whose}: ${place} ${reason}`, { cause: error });
}

/** Null when the database was reached and said something of its own. */
function reasonOf(error: unknown): string | null {
  if (error instanceof Silent) return "does not answer as PostgreSQL does; is it another server?";
  const code = codeOf(error);
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return `cannot be resolved (${code})`;
  if (code === "ECONNREFUSED") return `refuses connections (${code}); is PostgreSQL running there?`;
  // Class 28 and "no such database": the server's own words would repeat names of the URL.
  if (code?.startsWith("28") || code === "3D000")
    return `refuses the sign-in (${code}); are user, password and name of the database right?`;
  return isLost(error) ? `cannot be reached (${code}); is PostgreSQL running there?` : null;
}
