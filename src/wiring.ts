/**
 * Config → every part, built once, by hand, in the order in which they need each other; closed in the reverse order.
 *
 * Nothing here decides anything. A part that needs a sibling is handed it here, so that features never import each other.
 */
import { mkdirSync } from "node:fs";
import type { RecordAudit } from "./db/audit-entry.ts";
import type { Database } from "./db/database.ts";
import { type Boot, heartbeat } from "./db/instance.ts";
import { createRecord } from "./features/audit/audit.ts";
import { openHeads } from "./features/audit/heads.ts";
import { sealKeyIn } from "./features/audit/seal-key.ts";
import { createSealer } from "./features/audit/sealer.ts";
import { findEpoch } from "./features/audit/store.ts";
import { Health } from "./features/health/health.ts";
import { createTokenCounter } from "./features/llm/count.ts";
import { Completions } from "./features/llm/llm.ts";
import { createPrices } from "./features/llm/prices.ts";
import { Watch } from "./features/llm/watch.ts";
import { createAccessTokens } from "./features/tokens/access-token.ts";
import { createAttempts } from "./features/tokens/attempts.ts";
import type { Addresses } from "./features/tokens/audiences.ts";
import { createAuthenticator } from "./features/tokens/authenticator.ts";
import { RevocationFeed } from "./features/tokens/revocation-feed.ts";
import { createRevocations } from "./features/tokens/revocations.ts";
import { registerSecrets, signingSecrets } from "./features/tokens/secrets.ts";
import { Tokens } from "./features/tokens/tokens.ts";
import { type Ledger, openLedger } from "./features/usage/ledger.ts";
import { Usage } from "./features/usage/usage.ts";
import type { Clock } from "./platform/clock.ts";
import type { Config, GatewayConfig } from "./platform/config.ts";
import { signingSecretsOf } from "./platform/config-signing.ts";
import type { DataDir } from "./platform/data-dir.ts";
import { createGuard, type Guard } from "./platform/guard.ts";
import { createGuardedFetch } from "./platform/guarded-fetch.ts";
import { createLimits, type LimitNumbers } from "./platform/limits.ts";
import type { Log } from "./platform/log.ts";
import { createCursors } from "./platform/page.ts";

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
  readonly tokens: Tokens;
  readonly completions: Completions;
  readonly prices: ReturnType<typeof createPrices>;
  readonly usage: Usage;
  readonly health: Health;
  readonly ledger: Ledger;
  /** Resolves when this boot has been taken over by another copy of the data dir. */
  readonly fenced: Promise<Error>;
  close(): Promise<void>;
};

export async function wire(input: WiringInput): Promise<Parts> {
  const { config, gateway, dir, database, clock, log, addresses } = input;
  const { record, sealer } = await wireAudit(input);
  const identity = await wireIdentity(input, record);
  const ledger = await openLedger({ mode: config.journal, dir, database, boot: input.boot, clock, log });
  await sealer.start();
  await identity.feed.start();

  const limitNumbers = () => limitNumbersOf(gateway());
  const limits = createLimits(limitNumbers);
  const guard = createGuard({ authenticate: identity.authenticator.authenticate, limits, log });
  const prices = createPrices(gateway);
  const counter = createTokenCounter();
  const watch = new Watch();
  const spent = limits.spend;
  const completions = new Completions({
    gateway,
    prices,
    books: ledger.books,
    count: counter.count,
    watch,
    clock,
    fetch: createGuardedFetch({ clock }),
    spent,
  });
  identity.feed.onRevoked((subject) => completions.cut(subject));
  const cursors = createCursors(dir.secretFile("cursor-secret", 32));
  const usage = new Usage({ db: database.db, cursors });
  const health = createHealth(input, ledger, completions);
  const pulse = keepPulse(input);
  return {
    config,
    gateway,
    addresses,
    limitNumbers,
    guard,
    tokens: identity.tokens,
    completions,
    prices,
    usage,
    health,
    ledger,
    fenced: pulse.fenced,
    async close() {
      pulse.stop();
      counter.close();
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
    record: createRecord(epoch),
    sealer: createSealer({ database, epoch, key: sealKeyIn(dir), heads, log }),
  };
}

async function wireIdentity(
  { config, dir, database, clock, log, addresses }: WiringInput,
  record: RecordAudit,
) {
  const secrets = signingSecrets(signingSecretsOf(config, dir));
  await registerSecrets(
    database,
    secrets.map((secret) => secret.kid),
  );
  const publicUrl = () => addresses().publicUrl;
  const accessTokens = createAccessTokens({ secrets, clock, publicUrl });
  const authenticator = createAuthenticator({ database, accessTokens, clock, publicUrl });
  const { forget, forgetAll } = authenticator;
  const feed = new RevocationFeed({ database, forget, forgetAll, log });
  const revocations = createRevocations(database);
  const attempts = createAttempts();
  const tokens = new Tokens({ database, record, revocations, accessTokens, attempts, addresses });
  return { authenticator, feed, tokens };
}

function createHealth(
  { database, version, warnings, residentBytes, fetchesMax }: WiringInput,
  ledger: Ledger,
  completions: Completions,
): Health {
  const lagSecondsMax = 5;
  return new Health({
    version,
    fetchesMax,
    checks: [
      { name: "database", check: () => database.ping(2_000) },
      { name: "journal", check: ledger.check },
    ],
    warnings: () => {
      const { records, seconds } = ledger.lag();
      const late =
        seconds > lagSecondsMax
          ? [`${records} ledger records have waited ${Math.round(seconds)} s for the database`]
          : [];
      return [...warnings(), ...ledger.warnings(), ...late];
    },
    metrics: [
      {
        name: "specgate_streams_open",
        help: "LLM streams open now.",
        type: "gauge",
        read: () => completions.admittance.streamsOpen,
      },
      {
        name: "specgate_calls_started_total",
        help: "LLM calls written to the journal since the start.",
        type: "counter",
        read: () => ledger.counts().started,
      },
      {
        name: "specgate_calls_ended_total",
        help: "LLM calls whose end was written to the journal since the start.",
        type: "counter",
        read: () => ledger.counts().ended,
      },
      {
        name: "specgate_ledger_lag_records",
        help: "Durable records that the database does not have yet.",
        type: "gauge",
        read: () => ledger.lag().records,
      },
      {
        name: "specgate_ledger_lag_seconds",
        help: "How long the oldest of them has waited.",
        type: "gauge",
        read: () => ledger.lag().seconds,
      },
      {
        name: "process_resident_memory_bytes",
        help: "Resident memory.",
        type: "gauge",
        read: residentBytes,
      },
    ],
  });
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
