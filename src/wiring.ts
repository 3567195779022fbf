/**
 * Config → every part, built once, by hand, in the order in which they need each other; closed in the reverse order.
 *
 * Nothing here decides anything. A part that needs a sibling is handed it here, so that features never import each
 * other. Each half has a file: `wiring-identity.ts` who is who, `wiring-control.ts` what a team works on.
 */
import { mkdirSync } from "node:fs";
import type { Changes } from "./db/changes.ts";
import type { Database } from "./db/database.ts";
import { type Boot, heartbeat } from "./db/instance.ts";
import { createLocate } from "./db/places.ts";
import type { Disk } from "./features/artifacts/disk.ts";
import { createRecord } from "./features/audit/audit.ts";
import { openHeads } from "./features/audit/heads.ts";
import { sealKeyIn } from "./features/audit/seal-key.ts";
import { createSealer } from "./features/audit/sealer.ts";
import { findEpoch } from "./features/audit/store.ts";
import { AuditTrail } from "./features/audit/trail.ts";
import type { Events } from "./features/events/events.ts";
import { createHealth } from "./features/health/gateway-health.ts";
import type { Oidc } from "./features/identity/oidc.ts";
import { createTokenCounter } from "./features/llm/count.ts";
import { Completions } from "./features/llm/llm.ts";
import { createPrices } from "./features/llm/prices.ts";
import { Watch } from "./features/llm/watch.ts";
import type { Addresses } from "./features/tokens/audiences.ts";
import { type Ledger, openLedger } from "./features/usage/ledger.ts";
import { Usage } from "./features/usage/usage.ts";
import type { Clock } from "./platform/clock.ts";
import type { Config, GatewayConfig } from "./platform/config.ts";
import type { DataDir } from "./platform/data-dir.ts";
import type { Guard } from "./platform/guard.ts";
import { createGuardedFetch } from "./platform/guarded-fetch.ts";
import { createLimits, type LimitNumbers } from "./platform/limits.ts";
import type { Log } from "./platform/log.ts";
import type { Cursors } from "./platform/page.ts";
import { type Control, wireControl } from "./wiring-control.ts";
import { guardOf, type Identity, wireIdentity } from "./wiring-identity.ts";
import { wireStorage } from "./wiring-storage.ts";
import { createUpkeep, keepUp, type Upkeep } from "./wiring-upkeep.ts";

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
};

export type Parts = {
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
  readonly prices: ReturnType<typeof createPrices>;
  readonly usage: Usage;
  readonly audit: AuditTrail;
  readonly health: ReturnType<typeof createHealth>;
  readonly ledger: Ledger;
  /** Resolves when this boot has been taken over by another copy of the data dir. */
  readonly fenced: Promise<Error>;
  close(): Promise<void>;
};

export async function wire(input: WiringInput): Promise<Parts> {
  const { config, gateway, dir, database, clock, log, addresses } = input;
  const { record, sealer, epoch } = await wireAudit(input);
  const fetch = createGuardedFetch({ clock });
  const { identity, oidc, cursors } = await wireIdentity(input, { record, fetch });
  const ledger = await openLedger({ mode: config.journal, dir, database, boot: input.boot, clock, log });
  await sealer.start();
  await identity.feed.start();
  const { objects, disk } = await wireStorage(input);
  const work = await wireControl(input, { identity, ledger, cursors, epoch, record, objects });

  const limitNumbers = () => limitNumbersOf(gateway());
  const limits = createLimits(limitNumbers);
  const locate = createLocate(database);
  const guard = guardOf(identity, { addresses, limits, locate, log });
  const prices = createPrices(gateway);
  const counter = createTokenCounter();
  const books = work.ticks.counting(ledger.books);
  const shared = { gateway, prices, books, clock, fetch, locate, spent: limits.spend };
  const completions = new Completions({ ...shared, count: counter.count, watch: new Watch() });
  identity.feed.onRevoked((subject) => completions.cut(subject));
  const usage = new Usage({ db: database.db, cursors });
  const audit = new AuditTrail({ db: database.db, cursors });
  const streamsOpen = () => completions.admittance.streamsOpen;
  const health = createHealth({ ...input, ledger, objects, streamsOpen });
  const pulse = keepPulse(input);
  const upkeep = createUpkeep({ ...input, identity, purge: work.purge, objects, disk });
  const broom = keepUp(upkeep, log);
  return {
    config,
    gateway,
    addresses,
    limitNumbers,
    guard,
    identity,
    oidc,
    cursors,
    changes: work.changes,
    control: work.control,
    events: work.events,
    disk,
    upkeep,
    completions,
    prices,
    usage,
    audit,
    health,
    ledger,
    fenced: pulse.fenced,
    async close() {
      pulse.stop();
      await broom.stop();
      counter.close();
      await work.close();
      await objects.close();
      await identity.feed.close();
      await ledger.close();
      await sealer.stop();
    },
  };
}

async function wireAudit({ dir, database, log }: WiringInput) {
  const epoch = await findEpoch(database.db);
  mkdirSync(dir.file("audit"), { recursive: true, mode: 0o700 });
  const heads = openHeads(dir.file("audit/heads.jsonl"));
  return {
    epoch,
    record: createRecord(epoch),
    sealer: createSealer({ database, epoch, key: sealKeyIn(dir), heads, log }),
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

function limitNumbersOf({ limits }: GatewayConfig): LimitNumbers {
  return {
    requests: {
      llm: limits.llm.requestsPerMinute,
      mcp: limits.mcp.requestsPerMinute,
      control: limits.control.requestsPerMinute,
    },
    llmTokens: limits.llm.tokensPerMinute,
  };
}
