/**
 * Everything about who is who: people and their sign-ins, clients, keys, tokens, projects and their members. Commands and
 * tests build it too.
 */
import type { RecordAudit } from "./db/audit-entry.ts";
import type { Database } from "./db/database.ts";
import { forGood, type SweepTerms } from "./db/sweep.ts";
import { Login } from "./features/identity/login.ts";
import { createOidc } from "./features/identity/oidc.ts";
import { createPasswords } from "./features/identity/passwords.ts";
import { Setup } from "./features/identity/setup.ts";
import { SignIns } from "./features/identity/sign-ins.ts";
import { Users } from "./features/identity/users.ts";
import { Projects } from "./features/projects/projects.ts";
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
  alertKeys,
  cursorKeys,
  flowKey,
  refreshKeys,
  registerSecrets,
  type SigningSecret,
  signingSecrets,
} from "./features/tokens/secrets.ts";
import { sweepRevocations } from "./features/tokens/store.ts";
import { dropGrants, sweepApps } from "./features/tokens/store-apps.ts";
import { Tokens, type TokensNeeds } from "./features/tokens/tokens.ts";
import { createAttempts } from "./platform/attempts.ts";
import type { Clock } from "./platform/clock.ts";
import { signingSecretsOf } from "./platform/config-signing.ts";
import { createGuard, type Guard, type Locate } from "./platform/guard.ts";
import type { GuardedFetch } from "./platform/guarded-fetch.ts";
import type { Limits } from "./platform/limits.ts";
import type { Log } from "./platform/log.ts";
import { createCursors } from "./platform/page.ts";
import type { WiringInput } from "./wiring.ts";

export type Identity = ReturnType<typeof assembleIdentity>;
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

export async function wireIdentity(input: WiringInput, shared: Shared) {
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
  const cursors = createCursors(...cursorKeys(secrets));
  return { identity, oidc, cursors, alertKeys: alertKeys(secrets) };
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
    /** Drops what has been over for a day; how many rows, by table. */
    async sweep(terms: SweepTerms = forGood) {
      const before = new Date(clock.now() - sweptAfterMs);
      const apps = await sweepApps(database.db, before, terms);
      const browsers = await signIns.sweep(before, terms);
      return { ...apps, ...browsers, revocations: await sweepRevocations(database.db, before, terms) };
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
