/**
 * What operators may ask to be told of. Whoever finds it out writes it down here; who is told, and how, is the alerts
 * slice's.
 */
import type { Db } from "./database.ts";
import { alarms } from "./schema.ts";

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

export async function insertAlarms(tx: Db, raised: readonly Alarm[]): Promise<void> {
  if (raised.length === 0) return;
  await tx
    .insert(alarms)
    .values(raised.map(({ type, once, payload }) => ({ type, once, payload })))
    .onConflictDoNothing();
}
