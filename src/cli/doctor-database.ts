import { sql } from "drizzle-orm";
import type { Database } from "../db/database.ts";
import { pendingMigrations } from "../db/migrate.ts";
import { asFailure } from "../platform/failure.ts";
import type { Finding } from "./doctor.ts";

/** Version, schema, and whether a NOTIFY to oneself arrives: behind a transaction pooler it does not. */
export async function checkDatabase(database: Database): Promise<Finding> {
  const name = "database";
  try {
    await database.ping(5_000);
    const [row] = await database.db.execute<{ version: string }>(
      sql`select current_setting('server_version') as version`,
    );
    const pending = await pendingMigrations(database.sql);
    const facts = `PostgreSQL ${row?.version ?? "?"}`;
    if (pending.length > 0) {
      const message = `${facts}; the schema lacks ${pending.length} steps: run specgate migrate, or start the gateway`;
      return { name, status: "failure", message };
    }
    const took = await timeNotify(database);
    if (took !== null)
      return { name, status: "ok", message: `${facts}; schema up to date; LISTEN in ${took} ms` };
    const message = `${facts}; schema up to date; LISTEN does not work within 2 s, so changes act by polling: set DATABASE_DIRECT_URL`;
    return { name, status: "warning", message };
  } catch (error) {
    return { name, status: "failure", message: asFailure(error).message };
  }
}

const listenMsMax = 2_000;

async function timeNotify(database: Database): Promise<number | null> {
  const channel = `specgate_doctor_${crypto.randomUUID().replaceAll("-", "")}`;
  const heard = Promise.withResolvers<void>();
  const timer = Promise.withResolvers<null>();
  const timeout = setTimeout(() => timer.resolve(null), listenMsMax);
  const begun = performance.now();
  try {
    const listening = (async () => {
      const listener = await database.direct.listen(channel, () => heard.resolve());
      await database.db.execute(sql`select pg_notify(${channel}, '')`);
      await heard.promise;
      await listener.unlisten();
      return Math.round(performance.now() - begun);
    })();
    listening.catch(() => undefined);
    return await Promise.race([listening, timer.promise]);
  } catch {
    return null;
  } finally {
    clearTimeout(timeout);
  }
}

const skewMsMax = 2_000;

/** Tokens and budgets compare this machine's clock with the database's. */
export async function checkClock(database: Database): Promise<Finding> {
  const name = "clock";
  try {
    const before = Date.now();
    const [row] = await database.db.execute<{ now: string }>(
      sql`select (extract(epoch from clock_timestamp()) * 1000)::text as now`,
    );
    const after = Date.now();
    const skew = Math.round(Number(row?.now) - (before + after) / 2);
    if (Math.abs(skew) <= skewMsMax)
      return { name, status: "ok", message: `within ${Math.abs(skew)} ms of the database's` };
    const side = skew > 0 ? "behind" : "ahead of";
    return {
      name,
      status: "failure",
      message: `${Math.abs(skew)} ms ${side} the database's: set both by NTP`,
    };
  } catch (error) {
    return { name, status: "failure", message: asFailure(error).message };
  }
}
