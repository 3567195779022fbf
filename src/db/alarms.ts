/**
 * What operators may ask to be told of. Whoever finds it out writes it down here; who is told, and how, is the alerts
 * slice's.
 *
 * An alarm is told once, however often and by however many instances it is raised: its `once` text is unique. It is taken
 * once too, in the transaction of whoever makes deliveries of it.
 */
import { asc, inArray, isNull, lt, sql } from "drizzle-orm";
import type { Db } from "./database.ts";
import { alarms } from "./schema.ts";
import { storable, storableJson } from "./storable.ts";
import { type SweepTerms, sweepRows } from "./sweep.ts";

export const alarmTypes = [
  "budget.threshold",
  "budget.exhausted",
  "budget.overrun",
  "provider.down",
  "provider.up",
  "price.unknown",
  "meter.lag",
] as const;
export type AlarmType = (typeof alarmTypes)[number];

export type Alarm = {
  readonly type: AlarmType;
  /** Of two alarms with the same text only the first is told: what it is about, and since when. */
  readonly once: string;
  readonly payload: Record<string, unknown>;
};

/** For whoever has no transaction: never throws, and tells as soon as the database takes it. */
export type RaiseAlarm = (alarm: Alarm) => void;

/** `at`: when it was found out; now when left out. */
export async function insertAlarms(tx: Db, raised: readonly (Alarm & { at?: Date })[]): Promise<void> {
  if (raised.length === 0) return;
  await tx
    .insert(alarms)
    .values(
      raised.map(({ type, once, payload, at }) => ({
        type,
        once: shortened(storable(once)),
        payload: sql`${storableJson(JSON.stringify(payload))}::text::jsonb`,
        ...(at !== undefined && { at }),
      })),
    )
    .onConflictDoNothing();
}

const onceCharactersMax = 500;

/** An index takes 2,700 bytes, and a caller may have made the name of a model up. */
function shortened(once: string): string {
  if (once.length <= onceCharactersMax) return once;
  const digest = new Bun.CryptoHasher("sha256").update(once).digest("hex");
  return `${once.slice(0, onceCharactersMax - digest.length).toWellFormed()} ${digest}`;
}

export type TakenAlarm = { type: string; payload: Record<string, unknown>; at: Date };

/** Whether there are any that nobody has taken yet. */
export async function hasAlarms(db: Db): Promise<boolean> {
  const [row] = await db.select({ id: alarms.id }).from(alarms).where(isNull(alarms.handedAt)).limit(1);
  return row !== undefined;
}

/** The oldest that nobody has taken yet; those that another transaction is taking are left to it. */
export async function takeAlarms(tx: Db, alarmsMax: number): Promise<TakenAlarm[]> {
  const taken = await tx
    .select({ id: alarms.id, type: alarms.type, payload: alarms.payload, at: alarms.at })
    .from(alarms)
    .where(isNull(alarms.handedAt))
    .orderBy(asc(alarms.id))
    .limit(alarmsMax)
    .for("update", { skipLocked: true });
  if (taken.length === 0) return [];
  const ids = taken.map(({ id }) => id);
  await tx.update(alarms).set({ handedAt: sql`now()` }).where(inArray(alarms.id, ids));
  return taken;
}

/** What is said under these texts stands, and can be said once more. */
export async function freeAlarms(tx: Db, once: readonly string[]): Promise<void> {
  await tx
    .update(alarms)
    .set({ once: sql`${alarms.once} || ' ' || ${alarms.id}` })
    .where(sql`${alarms.once} = any(${sql.param([...once])}::text[])`);
}

/** Forgets those of before: from then on the same text would be told again. */
export const sweepAlarms = (db: Db, before: Date, terms: SweepTerms): Promise<number> =>
  sweepRows(db, { table: alarms, isOver: lt(alarms.at, before) }, terms);
