/**
 * Config → every part, built once, by hand, in the order in which they need each other; closed in the reverse order.
 *
 * Nothing here decides anything. A part that needs a sibling is handed it here, so that features never import each
 * other. Each half has a file: `wiring-identity.ts` who is who, `wiring-control.ts` what a team works on.
 */
import type { Changes } from "./db/changes.ts";
import type { Database } from "./db/database.ts";
import { type Boot, heartbeat } from "./db/instance.ts";
import { createLocate } from "./db/places.ts";
import type { Disk } from "./features/artifacts/disk.ts";
import type { ObjectStore } from "./features/artifacts/object-store.ts";
import { AuditTrail } from "./features/audit/trail.ts";
import type { Budgets } from "./features/budgets/budgets.ts";
import type { Events } from "./features/events/events.ts";
import { createHealth } from "./features/health/gateway-health.ts";
import type { Oidc } from "./features/identity/oidc.ts";
import type { Completions } from "./features/llm/llm.ts";
import type { Prices } from "./features/llm/prices.ts";
import type { PriceBook } from "./features/prices/prices.ts";
import type { Addresses } from "./features/tokens/audiences.ts";
import type { OpenLink } from "./features/upstreams/upstreams.ts";
import { type Ledger, openLedger } from "./features/usage/ledger.ts";
import type { Clock } from "./platform/clock.ts";
import type { Config, GatewayConfig } from "./platform/config.ts";
import type { DataDir } from "./platform/data-dir.ts";
import type { Guard } from "./platform/guard.ts";
import { createGuardedFetch } from "./platform/guarded-fetch.ts";
import type { LimitNumbers } from "./platform/limits.ts";
import type { Log } from "./platform/log.ts";
import type { McpExtras } from "./platform/mcp-sources.ts";
import type { Cursors } from "./platform/page.ts";
import { type Alerts, wireAlerts } from "./wiring-alerts.ts";
import { wireAudit } from "./wiring-audit.ts";
import { type Control, wireControl } from "./wiring-control.ts";
import { guardOf, type Identity, wireIdentity } from "./wiring-identity.ts";
import { type Throttle, wireLimits } from "./wiring-limits.ts";
import { wireCalls } from "./wiring-llm.ts";
import { wireStorage } from "./wiring-storage.ts";
import { type Tools, wireTools } from "./wiring-tools.ts";
import { createUpkeep, keepUp, type Upkeep } from "./wiring-upkeep.ts";
import { type Spending, wireUsage } from "./wiring-usage.ts";

export type WiringInput = {
  config: Config;
  /** What the file and the provider variables say right now; SIGHUP changes the answer. */
  gateway: () => GatewayConfig;
  dir: DataDir;
  database: Database;
  boot: Boot & { bootId: string };
  addresses: () => Addresses;
  clock: Clock;
  log: Log;
  version: string;
  residentBytes: () => number;
  fetchesMax: number;
  /** Further warnings for `/readyz`. */
  warnings: () => string[];
  /** What MCP clients are offered beside the slices' own; tests alone have any. */
  mcpExtras?: McpExtras;
  /** The ways to upstream MCP servers; the configured ones when left out. */
  openLink?: OpenLink;
};

export type Parts = Tools["parts"] & {
  readonly config: Config;
  readonly gateway: () => GatewayConfig;
  readonly addresses: () => Addresses;
  readonly limitNumbers: () => LimitNumbers;
  readonly guard: Guard;
  readonly identity: Identity;
  /** Null: nobody signs in through an identity provider here. */
  readonly oidc: Oidc | null;
  readonly cursors: Cursors;
  readonly changes: Changes;
  readonly control: Control;
  readonly events: Events;
  /** What answers at /blobs; null where artifacts are elsewhere. */
  readonly disk: Disk | null;
  readonly upkeep: Upkeep;
  readonly completions: Completions;
  readonly prices: Prices;
  readonly priceBook: PriceBook;
  readonly spending: Spending;
  readonly audit: AuditTrail;
  readonly alerts: Alerts;
  readonly budgets: Budgets;
  readonly health: ReturnType<typeof createHealth>;
  readonly ledger: Ledger;
  /** Resolves when this boot has been taken over by another copy of the data dir. */
  readonly fenced: Promise<Error>;
  close(): Promise<void>;
};

export async function wire(input: WiringInput): Promise<Parts> {
  const { config, gateway, database, clock, log, addresses } = input;
  const { record, sealer, epoch, origin, notes } = await wireAudit(input);
  const fetch = createGuardedFetch({ clock });
  const { identity, oidc, cursors, alertKeys } = await wireIdentity(input, { record, fetch });
  const ledger = await openLedger({ ...input, mode: config.journal, notes });
  await sealer.start();
  await identity.feed.start();
  const { objects, disk } = await wireStorage(input);
  const work = await wireControl(input, { identity, ledger, cursors, epoch, record, objects });
  const alerts = wireAlerts(input, { changes: work.changes, cursors, alertKeys, fetch, ledger });
  const throttle = await wireLimits(input);
  const locate = createLocate(database);
  const guard = guardOf(identity, { addresses, limits: throttle.limits, locate, log });
  const calls = await wireCalls(input, { identity, work, cursors, ledger, alerts, throttle, fetch, locate });
  const spending = wireUsage(input, { identity, cursors });
  const recording = { record, epoch, origin, ledger };
  const callers = { identity, throttle, locate, cursors };
  const tools = await wireTools(input, { ...recording, ...callers, fetch, work, calls, spending });
  const { mcpLog } = tools.parts;
  const upkeep = createUpkeep({ ...input, identity, purge: work.purge, objects, disk, mcpLog });
  const watch = keepWatch(input, { throttle, alerts, spending, ledger, objects, upkeep, tools });
  return {
    config,
    gateway,
    addresses,
    limitNumbers: throttle.numbers,
    guard,
    identity,
    oidc,
    cursors,
    changes: work.changes,
    control: work.control,
    events: work.events,
    disk,
    upkeep,
    ...calls.parts,
    ...tools.parts,
    spending,
    audit: new AuditTrail({ db: database.db, cursors }),
    alerts,
    health: watch.health,
    ledger,
    fenced: watch.fenced,
    async close() {
      await watch.close();
      await alerts.close();
      throttle.close();
      await tools.close();
      await calls.close();
      await spending.close();
      await work.close();
      await objects.close();
      await identity.feed.close();
      await ledger.close();
      await sealer.stop();
    },
  };
}

type WatchNeeds = Pick<Parts, "alerts" | "spending" | "ledger" | "upkeep"> & {
  throttle: Throttle;
  objects: ObjectStore;
  tools: Tools;
};

/** What goes on by itself beside all requests: the health that others ask for, the pulse, and the broom. */
function keepWatch(input: WiringInput, needs: WatchNeeds) {
  const { throttle, alerts, spending, ledger, objects, upkeep, tools } = needs;
  const streamsOpen = () => throttle.streams.open();
  const warners = [input, throttle, alerts.courier, spending.selfCheck, ...tools.warners];
  const warnings = () => warners.flatMap((part) => part.warnings());
  const pulse = keepPulse(input);
  const broom = keepUp(upkeep, input.log);
  return {
    health: createHealth({ ...input, warnings, ledger, objects, streamsOpen }),
    fenced: pulse.fenced,
    async close() {
      pulse.stop();
      await broom.stop();
    },
  };
}

/** Tells the database that this boot lives, and hears when another copy of the data dir has taken over. */
function keepPulse({ database, boot, log }: WiringInput) {
  const fenced = Promise.withResolvers<Error>();
  const beat = () =>
    heartbeat(database.sql, boot).catch((error: unknown) => {
      if (error instanceof Error && "code" in error && error.code === "data_dir_copied")
        fenced.resolve(error);
      else log.debug("no heartbeat", { error });
    });
  // What is completed between a copy's start and this beat stays in this journal until the dir is started again.
  const timer = setInterval(() => void beat(), 3_000);
  return { fenced: fenced.promise, stop: () => clearInterval(timer) };
}
