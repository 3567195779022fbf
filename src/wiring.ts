/**
 * Config → every part, built once, by hand, in the order in which they need each other; closed in the reverse order.
 *
 * Nothing here decides anything. A part that needs a sibling is handed it here, so that features never import each other.
 */
import { mkdirSync } from "node:fs";
import type { RecordAudit } from "./db/audit-entry.ts";
import { type Changes, createChanges } from "./db/changes.ts";
import type { Database } from "./db/database.ts";
import { sweepEvents } from "./db/events.ts";
import { sweepAnswers } from "./db/idempotency.ts";
import { type Boot, heartbeat } from "./db/instance.ts";
import { createLocate, type Locate } from "./db/places.ts";
import { Approvals, type ApprovalsNeeds } from "./features/approvals/approvals.ts";
import { createRecord } from "./features/audit/audit.ts";
import { openHeads } from "./features/audit/heads.ts";
import { sealKeyIn } from "./features/audit/seal-key.ts";
import { createSealer } from "./features/audit/sealer.ts";
import { findEpoch } from "./features/audit/store.ts";
import { AuditTrail } from "./features/audit/trail.ts";
import { Events, eventsKeptMs } from "./features/events/events.ts";
import { EventFeed } from "./features/events/feed.ts";
import { Checks } from "./features/gates/checks.ts";
import { Gates } from "./features/gates/gates.ts";
import { Waivers } from "./features/gates/waivers.ts";
import { createHealth } from "./features/health/gateway-health.ts";
import { Login } from "./features/identity/login.ts";
import { createOidc, type Oidc } from "./features/identity/oidc.ts";
import { createPasswords } from "./features/identity/passwords.ts";
import { Setup } from "./features/identity/setup.ts";
import { SignIns } from "./features/identity/sign-ins.ts";
import { Users } from "./features/identity/users.ts";
import { createTokenCounter } from "./features/llm/count.ts";
import { Completions } from "./features/llm/llm.ts";
import { createPrices } from "./features/llm/prices.ts";
import { Watch } from "./features/llm/watch.ts";
import { Projects } from "./features/projects/projects.ts";
import { Reports } from "./features/reports/reports.ts";
import { Sessions, type SessionsNeeds } from "./features/sessions/sessions.ts";
import { Tasks } from "./features/tasks/tasks.ts";
import { createAccessTokens } from "./features/tokens/access-token.ts";
import { AppTokens, type AppTokensNeeds } from "./features/tokens/app-tokens.ts";
import type { Addresses } from "./features/tokens/audiences.ts";
import { createAuthenticator, type TouchSignIn } from "./features/tokens/authenticator.ts";
import { Authorizations } from "./features/tokens/authorizations.ts";
import { ClientProofs, type ClientProofsNeeds } from "./features/tokens/client-proofs.ts";
import { Clients } from "./features/tokens/clients.ts";
import { Devices } from "./features/tokens/devices.ts";
import { createFetchDocument } from "./features/tokens/documents.ts";
import { Exchanges } from "./features/tokens/exchange.ts";
import { Keys } from "./features/tokens/keys.ts";
import { resourceMetadataUrl } from "./features/tokens/metadata.ts";
import type { OAuthParts } from "./features/tokens/oauth-endpoints.ts";
import { type FetchDocument, Registration } from "./features/tokens/registration.ts";
import { RevocationFeed } from "./features/tokens/revocation-feed.ts";
import { createRevocations } from "./features/tokens/revocations.ts";
import {
  cursorKeys,
  flowKey,
  refreshKeys,
  registerSecrets,
  type SigningSecret,
  signingSecrets,
} from "./features/tokens/secrets.ts";
import { sweepRevocations, wasRevokedSince } from "./features/tokens/store.ts";
import { dropGrants, sweepApps } from "./features/tokens/store-apps.ts";
import { Tokens, type TokensNeeds } from "./features/tokens/tokens.ts";
import { type Ledger, openLedger } from "./features/usage/ledger.ts";
import { Ticks } from "./features/usage/ticks.ts";
import { Usage } from "./features/usage/usage.ts";
import { createAttempts } from "./platform/attempts.ts";
import type { Clock } from "./platform/clock.ts";
import type { Config, GatewayConfig } from "./platform/config.ts";
import { signingSecretsOf } from "./platform/config-signing.ts";
import type { DataDir } from "./platform/data-dir.ts";
import { createGuard, type Guard } from "./platform/guard.ts";
import { createGuardedFetch, type GuardedFetch } from "./platform/guarded-fetch.ts";
import { createLimits, type LimitNumbers, type Limits } from "./platform/limits.ts";
import type { Log } from "./platform/log.ts";
import { type Cursors, createCursors } from "./platform/page.ts";

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

export type Identity = ReturnType<typeof assembleIdentity>;
export type Control = ReturnType<typeof assembleControl>;

export async function wire(input: WiringInput): Promise<Parts> {
  const { config, gateway, dir, database, clock, log, addresses } = input;
  const { record, sealer, epoch } = await wireAudit(input);
  const fetch = createGuardedFetch({ clock });
  const { identity, oidc, cursors } = await wireIdentity(input, { record, fetch });
  const ledger = await openLedger({ mode: config.journal, dir, database, boot: input.boot, clock, log });
  await sealer.start();
  await identity.feed.start();
  const heard = await wireEvents(input, { identity, ledger, cursors, epoch });

  const limitNumbers = () => limitNumbersOf(gateway());
  const limits = createLimits(limitNumbers);
  const guard = guardOf(identity, { addresses, limits, locate: createLocate(database), log });
  const prices = createPrices(gateway);
  const counter = createTokenCounter();
  const watch = new Watch();
  const spent = limits.spend;
  const completions = new Completions({
    gateway,
    prices,
    books: heard.ticks.counting(ledger.books),
    count: counter.count,
    watch,
    clock,
    fetch,
    spent,
  });
  identity.feed.onRevoked((subject) => completions.cut(subject));
  const changes = createChanges({
    database,
    record,
    told: heard.told,
    announce: () => identity.revocations.announce(),
  });
  const { waitFor, onRevoked } = heard;
  const control = assembleControl({ database, changes, cursors, clock, waitFor, onRevoked });
  const expiry = keepExpiring(control.approvals, log);
  const usage = new Usage({ db: database.db, cursors });
  const audit = new AuditTrail({ db: database.db, cursors });
  const streamsOpen = () => completions.admittance.streamsOpen;
  const health = createHealth({ ...input, ledger, streamsOpen });
  const pulse = keepPulse(input);
  const broom = setInterval(() => void sweep(input, identity), sweepEveryMs);
  return {
    config,
    gateway,
    addresses,
    limitNumbers,
    guard,
    identity,
    oidc,
    cursors,
    changes,
    control,
    events: heard.events,
    completions,
    prices,
    usage,
    audit,
    health,
    ledger,
    fenced: pulse.fenced,
    async close() {
      pulse.stop();
      clearInterval(broom);
      expiry.stop();
      counter.close();
      await heard.close();
      await identity.feed.close();
      await ledger.close();
      await sealer.stop();
    },
  };
}

/** The one door maker, for the gateway as for tests. */
export const guardOf = (
  { authenticator }: Pick<Identity, "authenticator">,
  needs: { addresses: () => Addresses; limits: Limits; locate: Locate; log: Log },
): Guard =>
  createGuard({
    authenticate: authenticator.authenticate,
    authenticateCookie: authenticator.authenticateCookie,
    publicUrl: () => needs.addresses().publicUrl,
    resourceMetadata: (asked, plane) => resourceMetadataUrl(asked, plane, needs.addresses()),
    locate: needs.locate,
    limits: needs.limits,
    log: needs.log,
  });

async function wireEvents(
  { database, clock, log }: WiringInput,
  needs: { identity: Identity; ledger: Ledger; cursors: Cursors; epoch: number },
) {
  const { identity, ledger } = needs;
  const feed = new EventFeed({ database, log });
  await feed.start();
  const told = () => feed.told();
  const onRevoked = (listener: (subject: string) => void) => identity.feed.onRevoked(listener);
  const events = new Events({
    ...needs,
    database,
    feed,
    clock,
    onRevoked,
    isEnded: (principal, since) => wasRevokedSince(database.db, principal, since),
  });
  const ticks = new Ticks({ database, settled: ledger.settled, told, log });
  return {
    events,
    ticks,
    told,
    onRevoked,
    waitFor: (subject: string, milliseconds: number, signal: AbortSignal) =>
      feed.waitFor(subject, milliseconds, signal),
    async close() {
      events.close();
      await ticks.close();
      await feed.close();
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

async function wireIdentity(input: WiringInput, shared: Shared) {
  const { config, dir, database, clock, log, addresses } = input;
  const secrets = signingSecrets(signingSecretsOf(config, dir));
  await registerSecrets(
    database,
    secrets.map((secret) => secret.kid),
  );
  const fetchDocument = config.oauth.cimd ? createFetchDocument(shared.fetch) : null;
  const needs = { ...shared, database, clock, log, addresses };
  const identity = assembleIdentity({ ...needs, secrets, fetchDocument });
  const publicUrl = () => addresses().publicUrl;
  const oidc =
    config.oidc === null
      ? null
      : createOidc({ ...needs, ...identity, config: config.oidc, key: flowKey(secrets), publicUrl });
  return { identity, oidc, cursors: createCursors(...cursorKeys(secrets)) };
}

type Shared = { record: RecordAudit; fetch: GuardedFetch };

export type IdentityNeeds = {
  database: Database;
  record: RecordAudit;
  clock: Clock;
  log: Log;
  addresses: () => Addresses;
  /** The first signs, all verify. */
  secrets: readonly SigningSecret[];
  /** Null: client ID metadata documents are off. */
  fetchDocument: FetchDocument | null;
};

/** Everything about who is who: people and their sign-ins, clients, keys and tokens. Commands and tests build it too. */
export function assembleIdentity(needs: IdentityNeeds) {
  const { database, record, clock, log, addresses, secrets } = needs;
  const publicUrl = () => addresses().publicUrl;
  const revocations = createRevocations(database, () => feed.read());
  const shared = {
    ...needs,
    revocations,
    passwords: createPasswords(),
    attempts: createAttempts(),
    accessTokens: createAccessTokens({ secrets, clock, publicUrl }),
    signIns: new SignIns({ database, revocations, clock, dropGrants }),
  };
  const { signIns, accessTokens, attempts } = shared;
  const touchSignIn: TouchSignIn = (db, hash) => signIns.touch(db, hash);
  const authenticator = createAuthenticator({ database, accessTokens, clock, publicUrl, touchSignIn });
  const { forget, forgetAll, examine } = authenticator;
  const feed = new RevocationFeed({ database, forget, forgetAll, log });
  const login = new Login(shared);
  return {
    authenticator,
    revocations,
    feed,
    accessTokens,
    attempts,
    signIns,
    login,
    setup: new Setup({ ...shared, login }),
    users: new Users(shared),
    clients: new Clients({ database, record, revocations }),
    keys: new Keys(shared),
    projects: new Projects(shared),
    oauth: assembleOAuth({ ...shared, examine }),
    /** Drops what has been over for a day. */
    async sweep(): Promise<void> {
      const before = new Date(clock.now() - sweptAfterMs);
      await sweepApps(database.db, before);
      await signIns.sweep(before);
      await sweepRevocations(database.db, before);
    },
  };
}

const sweptAfterMs = 86_400_000;

type OAuthNeeds = IdentityNeeds & Omit<AppTokensNeeds & TokensNeeds & ClientProofsNeeds, "refreshKeys">;

function assembleOAuth(needs: OAuthNeeds): OAuthParts {
  const registration = new Registration(needs);
  // Not the one of people: strangers who fail here must not slow anybody's sign-in.
  const clientProofs = new ClientProofs({ ...needs, attempts: createAttempts() });
  const appTokens = new AppTokens({ ...needs, refreshKeys: refreshKeys(needs.secrets) });
  const findApp = (id: string) => registration.findApp(id);
  return {
    tokens: new Tokens(needs),
    appTokens,
    authorizations: new Authorizations({ ...needs, appTokens, findApp }),
    devices: new Devices({ ...needs, appTokens }),
    exchanges: new Exchanges(needs),
    registration,
    clientProofs,
  };
}

type ControlNeeds = Omit<SessionsNeeds, "evaluate"> & ApprovalsNeeds;

/** What a team's work consists of: sessions and what belongs to them. */
function assembleControl(needs: ControlNeeds) {
  const gates = new Gates(needs);
  return {
    sessions: new Sessions({ ...needs, evaluate: (change, judged) => gates.evaluate(change, judged) }),
    tasks: new Tasks(needs),
    gates,
    checks: new Checks(needs),
    waivers: new Waivers(needs),
    reports: new Reports(needs),
    approvals: new Approvals(needs),
  };
}

const sweepEveryMs = 3_600_000;

async function sweep({ database, clock, log }: WiringInput, identity: Identity): Promise<void> {
  try {
    await identity.sweep();
    await sweepAnswers(database, clock.now());
    // An hour more than cursors are honoured, so that none that is honoured leads to where rows are gone.
    await sweepEvents(database, new Date(clock.now() - eventsKeptMs - sweepEveryMs));
  } catch (error) {
    log.warn("what has expired could not be swept", { error });
  }
}

/** Writes down which approvals are over their time. They are so before that, whoever asks. */
function keepExpiring(approvals: Approvals, log: Log) {
  const expire = () =>
    approvals
      .expireDue()
      .catch((error: unknown) => log.warn("what is over its time could not be written down", { error }));
  const timer = setInterval(() => void expire(), 5_000);
  return { stop: () => clearInterval(timer) };
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
