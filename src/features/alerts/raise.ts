/**
 * Alarms of whoever has no transaction: kept in memory until the database takes them, which may be after an outage that
 * they are about.
 *
 * Raising never fails and never waits. So many are kept; beyond that the newest are lost, and the log says so. What was
 * written lately is not written again: one alarm may be raised with every call.
 */
import { type Alarm, insertAlarms, type RaiseAlarm } from "../../db/alarms.ts";
import type { Database } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { Failure } from "../../platform/failure.ts";
import type { Log } from "../../platform/log.ts";

export type RaiseNeeds = {
  database: Pick<Database, "db">;
  clock: Pick<Clock, "now">;
  log: Log;
  /** Called when something was written. */
  written: () => void;
  retryMs?: number;
};

export type Raising = {
  readonly raise: RaiseAlarm;
  /** Tries once more to write what is there. */
  close(): Promise<void>;
};

type Waiting = Alarm & { at: Date };

const waitingMax = 1_000;
const rememberedMax = 2_000;
const batchMax = 100;
/** How long a stop waits for the database. */
const partingMs = 2_000;

export function createRaise(needs: RaiseNeeds): Raising {
  const { database, clock, log, written, retryMs = 2_000 } = needs;
  const waiting = new Map<string, Waiting>();
  const remembered = new Set<string>();
  let writing: Promise<void> | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isLosing = false;
  let isClosed = false;

  /** Whether everything is written. */
  const write = async (): Promise<boolean> => {
    try {
      while (waiting.size > 0) {
        const batch = [...waiting.values()].slice(0, batchMax);
        await insertEach(database.db, batch, log);
        for (const { once } of batch) {
          waiting.delete(once);
          remember(remembered, once);
        }
        isLosing = false;
        written();
      }
      return true;
    } catch (error) {
      log.debug("alarms wait for the database", { alarms: waiting.size, error });
      if (!isClosed) timer = setTimeout(begin, retryMs);
      return false;
    }
  };
  const begin = () => {
    clearTimeout(timer);
    writing ??= write().then((isDone) => {
      writing = null;
      // Raised between the last look and now.
      if (isDone && waiting.size > 0) begin();
    });
  };
  return {
    raise(alarm) {
      if (isClosed || waiting.has(alarm.once) || remembered.has(alarm.once)) return;
      if (waiting.size < waitingMax) {
        waiting.set(alarm.once, { ...alarm, at: new Date(clock.now()) });
        // While the database is away the timer alone tries.
        if (waiting.size === 1) begin();
        return;
      }
      if (!isLosing) log.warn("too many alarms wait for the database; further ones are lost", {});
      isLosing = true;
    },
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await Promise.race([writing?.then(write) ?? write(), Bun.sleep(partingMs)]);
    },
  };
}

/** Rejects while there is no database. One that cannot be kept is told to the log and holds up no other. */
async function insertEach(db: Database["db"], batch: readonly Waiting[], log: Log): Promise<void> {
  try {
    return await insertAlarms(db, batch);
  } catch (error) {
    if (error instanceof Failure) throw error;
  }
  for (const alarm of batch) {
    try {
      await insertAlarms(db, [alarm]);
    } catch (error) {
      if (error instanceof Failure) throw error;
      log.error("an alarm could not be kept", { type: alarm.type, error });
    }
  }
}

function remember(remembered: Set<string>, once: string): void {
  remembered.add(once);
  const [oldest] = remembered;
  if (remembered.size > rememberedMax && oldest !== undefined) remembered.delete(oldest);
}
