/**
 * What goes by itself, in one list: files and rows whose time is over.
 *
 * `serve` goes through the list every hour, and `specgate purge` when somebody asks; both may do so at the same moment. One
 * part that fails does not keep the others from going. Nothing here decides what is over: each feature says so itself.
 */

import { sweepAlarms } from "./db/alarms.ts";
import type { Database } from "./db/database.ts";
import { sweepAnswers } from "./db/idempotency.ts";
import type { SweepTerms } from "./db/sweep.ts";
import { sweepHooks } from "./features/alerts/store.ts";
import { sweepDeliveries } from "./features/alerts/store-deliveries.ts";
import type { Disk } from "./features/artifacts/disk.ts";
import type { ObjectStore } from "./features/artifacts/object-store.ts";
import { sweepOrphans } from "./features/artifacts/orphans.ts";
import type { Gone, Purge } from "./features/artifacts/purge.ts";
import type { LogSweep } from "./features/audit/mcp-log-sweep.ts";
import { forgetEvents } from "./features/events/store.ts";
import { sweepCalls, sweepStates } from "./features/usage/store-sweep.ts";
import type { Clock } from "./platform/clock.ts";
import type { RetentionConfig } from "./platform/config.ts";
import type { Log } from "./platform/log.ts";
import { keepRounds, type Rounds } from "./platform/rounds.ts";
import type { Identity } from "./wiring-identity.ts";

export type UpkeepNeeds = {
  database: Database;
  identity: Pick<Identity, "sweep">;
  purge: Purge;
  objects: ObjectStore;
  /** Where uploads arrive at this process; null elsewhere. */
  disk: Pick<Disk, "sweepPartials"> | null;
  /** Daily files of MCP decisions in this data dir. */
  mcpLog: LogSweep;
  /** As the configuration says right now. */
  gateway: () => { retention: RetentionConfig };
  clock: Clock;
  log: Log;
};

export type UpkeepTerms = SweepTerms & {
  /** Whether the store is listed as well, for objects that should be gone. */
  readonly orphans: boolean;
  /** Of those, the ones that have no row go too. */
  readonly unknownObjects?: boolean;
  /** Called with the name of each part as it begins. */
  readonly onPart?: (part: string) => void;
};

/** Of one kind, how many went, or would go; for files their bytes too. */
export type Tally = { kind: string; count: number; bytes: number | null };
/** What a part could not do. Everything else of it, and every other part, is done. */
export type Trouble = { part: string; failed: number; error: unknown };

export type UpkeepReport = {
  readonly tallies: Tally[];
  /** Old objects in the store that are not this gateway's. */
  foreign: number;
  /** Old objects in the store that should have a row here, and have none. */
  unknown: number;
  readonly troubles: Trouble[];
};

export type Upkeep = { run(terms: UpkeepTerms): Promise<UpkeepReport> };

type Part = { name: string; run(report: UpkeepReport, terms: UpkeepTerms): Promise<void> };

export function createUpkeep(needs: UpkeepNeeds): Upkeep {
  const parts = [...fileParts(needs), ...rowParts(needs)];
  return {
    async run(terms) {
      const report: UpkeepReport = { tallies: [], foreign: 0, unknown: 0, troubles: [] };
      for (const part of parts) {
        if (terms.signal?.aborted) break;
        terms.onPart?.(part.name);
        await part
          .run(report, terms)
          .catch((error: unknown) => report.troubles.push({ part: part.name, failed: 0, error }));
      }
      for (const { part, failed, error } of report.troubles)
        needs.log.warn("what is over could not go", { part, failed, error });
      if (report.unknown > 0)
        needs.log.warn("objects of no artifact stay in the store", { objects: report.unknown, advice });
      return report;
    },
  };
}

const advice =
  "Was an older backup restored, or does another database share the bucket? " +
  "Bring the newer one back; else `specgate purge --unknown-objects` removes them.";

function fileParts({ database, purge, objects, disk, mcpLog, gateway, clock }: UpkeepNeeds): Part[] {
  return [
    {
      name: "artifacts",
      run: async (report, terms) => take(report, "artifacts", await purge.run(terms)),
    },
    {
      name: "orphans",
      async run(report, terms) {
        if (!terms.orphans) return;
        const gone = await sweepOrphans({ database, objects, clock }, terms);
        take(report, "orphans", gone);
        report.foreign = gone.foreign;
        report.unknown = gone.unknown;
      },
    },
    {
      name: "partial_uploads",
      async run({ tallies }, { dryRun }) {
        if (disk === null || dryRun) return;
        const count = await disk.sweepPartials(dayMs);
        tallies.push({ kind: "partial_uploads", count, bytes: null });
      },
    },
    {
      name: "mcp_log_files",
      async run({ tallies }, terms) {
        const days = gateway().retention.requestsDays;
        const { files, bytes } = await mcpLog({ now: clock.now(), days }, terms);
        tallies.push({ kind: "mcp_log_files", count: files, bytes });
      },
    },
  ];
}

function rowParts({ database, identity, gateway, clock }: UpkeepNeeds): Part[] {
  const ago = (milliseconds: number) => new Date(clock.now() - milliseconds);
  const rows = (name: string, sweep: (terms: SweepTerms) => Promise<Record<string, number>>): Part => ({
    name,
    async run({ tallies }, terms) {
      for (const [kind, count] of Object.entries(await sweep(terms)))
        tallies.push({ kind, count, bytes: null });
    },
  });
  return [
    rows("sign-ins", (terms) => identity.sweep(terms)),
    rows("answers", async (terms) => ({ idempotency: await sweepAnswers(database, clock.now(), terms) })),
    rows("events", async (terms) => {
      // An hour more than cursors are honoured, so that none that is honoured leads to where rows are gone.
      const keptMs = (gateway().retention.eventsHours + 1) * hourMs;
      return { events: await forgetEvents(database, ago(keptMs), terms) };
    }),
    rows("alerts", async (terms) => ({
      alarms: await sweepAlarms(database.db, ago(alertsKeptMs), terms),
      alert_deliveries: await sweepDeliveries(database.db, ago(alertsKeptMs), terms),
      alert_hooks: await sweepHooks(database.db, ago(alertsKeptMs), terms),
    })),
    rows("requests", async (terms) => {
      const { requestsDays } = gateway().retention;
      if (requestsDays === null) return {};
      const before = ago(requestsDays * dayMs);
      const states = await sweepStates(database.db, before, terms);
      return { ...(await sweepCalls(database, before, terms)), provider_states: states };
    }),
  ];
}

function take({ tallies, troubles }: UpkeepReport, part: string, gone: Gone): void {
  tallies.push({ kind: part, count: gone.objects, bytes: gone.bytes });
  if (gone.failed > 0) troubles.push({ part, failed: gone.failed, error: gone.error });
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const alertsKeptMs = 30 * dayMs;
/** When everybody who waited for the start has been served. */
const firstMs = 60_000;

/** Goes through the list every hour; once a day it lists the store too, which may be large and asks for money. */
export function keepUp(upkeep: Upkeep, log: Log): Rounds {
  let hours = 0;
  return keepRounds({ firstMs, everyMs: hourMs }, async (signal) => {
    const orphans = hours++ % 24 === 1;
    const { tallies } = await upkeep.run({ dryRun: false, orphans, signal });
    const gone = tallies.filter(({ count }) => count > 0).map(({ kind, count }) => [kind, count]);
    if (gone.length > 0) log.info("what was over is gone", Object.fromEntries(gone));
  });
}
