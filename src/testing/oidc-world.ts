/**
 * Signing in through an identity provider, as a browser goes through it: the gateway's pages on one port, over a real
 * database and behind edge and guard; a real provider on another; and browsers that follow from one to the other.
 */
import { asc, eq } from "drizzle-orm";
import { Elysia } from "elysia";
import type { Actor } from "../db/audit-entry.ts";
import { createChanges } from "../db/changes.ts";
import type { Database } from "../db/database.ts";
import { audit, users as usersTable } from "../db/schema.ts";
import { createRecord } from "../features/audit/audit.ts";
import { Login } from "../features/identity/login.ts";
import { createOidc } from "../features/identity/oidc.ts";
import { createPasswords } from "../features/identity/passwords.ts";
import { identityRoutes } from "../features/identity/routes.ts";
import { Setup } from "../features/identity/setup.ts";
import { SignIns } from "../features/identity/sign-ins.ts";
import { Users } from "../features/identity/users.ts";
import { createRevocations } from "../features/tokens/revocations.ts";
import { createAttempts } from "../platform/attempts.ts";
import { createEdge } from "../platform/edge.ts";
import { createGuard } from "../platform/guard.ts";
import { createGuardedFetch } from "../platform/guarded-fetch.ts";
import { createLimits } from "../platform/limits.ts";
import { silentLog } from "../platform/log.ts";
import { createCursors } from "../platform/page.ts";
import type { Principal } from "../platform/principal.ts";
import { Secret } from "../platform/secret.ts";
import { startIdentityProvider, testClient } from "./identity-provider.ts";

export const operator: Actor = {
  id: "ada",
  kind: "local",
  clientId: null,
  ip: null,
  userAgent: null,
  requestId: null,
};

export type OidcWorld = Awaited<ReturnType<typeof openOidcWorld>>;

/** Identity over a real database, behind the edge and the guard, on a port; the provider on another. */
export async function openOidcWorld(database: Database) {
  let url = "";
  const publicUrl = () => url;
  const clock = movableClock();
  const said: string[] = [];
  const log = {
    ...silentLog,
    warn: (event: string, { error }: Record<string, unknown> = {}) => void said.push(`${event} ${error}`),
    failure: (failure: Error & { code: string }) => void said.push(`${failure.code} ${failure.cause}`),
  };
  const identity = identityOver(database, clock);
  const idp = await startIdentityProvider(() => `${url}/login/callback`);
  const oidcAt = (at: string, secret: string = testClient.secret) =>
    oidcOf(identity, { database, clock, log, issuer: idp.issuer, secret, url: () => at });
  let current = (): ReturnType<typeof oidcOf> => {
    throw new Error("not yet");
  };
  const oidc = {
    host: new URL(idp.issuer).host,
    begin: (next: string) => current().begin(next),
    finish: (...args: Parameters<ReturnType<typeof oidcOf>["finish"]>) => current().finish(...args),
  };
  const server = serve(identity, { oidc, publicUrl, log, database });
  url = `http://127.0.0.1:${server.port}`;
  return {
    url,
    idp,
    database,
    clock,
    said,
    users: identity.users,
    oidcAt,
    /** Forgets the provider, and who failed. */
    restart(secret: string = testClient.secret) {
      const made = oidcAt(url, secret);
      current = () => made;
    },
    browser: () => new Browser(url),
    add: async (email: string) => (await identity.users.create(operator, { email, role: "user" })).id,
    async linkOf(id: string) {
      const [row] = await database.db.select().from(usersTable).where(eq(usersTable.id, id));
      return [row?.oidcIssuer, row?.oidcSubject];
    },
    /** Of one subject; null: every failed sign-in. */
    entries: (subject: string | null) =>
      database.db
        .select()
        .from(audit)
        .where(subject === null ? eq(audit.action, "login.failed") : eq(audit.subject, subject))
        .orderBy(asc(audit.id)),
    async close() {
      await server.stop(true);
      await idp.down();
      await database.close();
    },
  };
}

function identityOver(database: Database, clock: MovableClock) {
  const [record, revocations, passwords] = [createRecord(1), createRevocations(database), createPasswords()];
  const signIns = new SignIns({ dropGrants: async () => {}, database, revocations, clock });
  const shared = { database, record, revocations, passwords, signIns, clock };
  const login = new Login({ ...shared, attempts: createAttempts() });
  return {
    record,
    signIns,
    login,
    users: new Users(shared),
    setup: new Setup({ ...shared, login }),
  };
}

type IdentityParts = ReturnType<typeof identityOver>;

function oidcOf(
  { record, login }: IdentityParts,
  on: {
    database: Database;
    clock: MovableClock;
    log: typeof silentLog;
    issuer: string;
    secret: string;
    url: () => string;
  },
) {
  const { database, clock, log, issuer, secret, url } = on;
  const clientId = testClient.id;
  return createOidc({
    config: { issuer, clientId, clientSecret: new Secret(secret) },
    key: new Uint8Array(32).fill(7),
    publicUrl: url,
    fetch: createGuardedFetch(),
    database,
    record,
    login,
    attempts: createAttempts(),
    clock,
    log,
  });
}

function serve(
  identity: IdentityParts,
  on: {
    oidc: ReturnType<typeof oidcOf>;
    publicUrl: () => string;
    log: typeof silentLog;
    database: Database;
  },
) {
  const { oidc, publicUrl, log, database } = on;
  const authenticateCookie = (cookie: string) => personOf(identity, database, cookie);
  const guard = createGuard({
    authenticate: () => Promise.reject(new Error("no bearers here")),
    authenticateCookie,
    publicUrl,
    resourceMetadata: () => "",
    locate: () => null,
    limits: createLimits(() => ({ requests: { control: null, llm: null, mcp: null }, llmTokens: null })),
    log,
  });
  const cursors = createCursors(new Uint8Array(32));
  const { record } = identity;
  const changes = createChanges({ database, record, told: () => undefined, announce: async () => undefined });
  const app = new Elysia({ handler: { standardHostname: false } }).use(
    identityRoutes({ ...identity, guard, changes, authenticateCookie, oidc, cursors, publicUrl }),
  );
  const edge = createEdge(
    {
      allowedHosts: () => [],
      publicUrl,
      corsOrigins: [],
      trustedProxies: [],
      bodyBytesMax: () => 65_536,
      log,
    },
    (request) => app.handle(request),
  );
  return Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: edge });
}

/** What the pages need to know of whoever holds the console's cookie. */
async function personOf(
  { signIns, users }: IdentityParts,
  database: Database,
  cookie: string,
): Promise<Principal | null> {
  const hash = new Bun.CryptoHasher("sha256").update(cookie).digest();
  const signIn = await signIns.touch(database.db, hash);
  if (signIn === undefined) return null;
  const { userId, signInId } = signIn;
  const { email, role } = await users.get(userId);
  return {
    id: userId,
    kind: "user",
    role,
    credential: "cookie",
    credentialId: signInId,
    holderId: signInId,
    endsWith: [signInId, userId],
    signInId,
    userId,
    email,
    clientId: null,
    clientKind: null,
    keyId: null,
    scopes: new Set(),
    reach: new Set(),
    projectId: null,
    sessionId: null,
    memberships: new Map(),
    expiresAt: signIn.expiresAt.getTime(),
  };
}

/** One jar for the gateway, and a new one for the provider at each sign-in: it has to ask who sits there. */
class Browser {
  readonly cookies = new Map<string, string>();
  /** Of the sign-in under way. */
  state = "";

  constructor(readonly gateway: string) {}

  get(url: string): Promise<Response> {
    return visit(url, this.cookies);
  }

  async begin(next = "/"): Promise<Response> {
    const response = await this.get(`${this.gateway}/login/oidc?next=${encodeURIComponent(next)}`);
    this.state = URL.parse(response.headers.get("location") ?? "")?.searchParams.get("state") ?? "";
    return response;
  }

  /** From the gateway's redirect through the provider's pages to the callback, which is not visited. */
  async follow(sent: Response): Promise<string> {
    const jar = new Map<string, string>();
    let at = sent.headers.get("location") ?? "";
    for (let hops = 0; hops < 10 && !at.startsWith(this.gateway); hops++) {
      const response = await visit(at, jar);
      const location = response.headers.get("location");
      if (location === null) throw new Error(`the provider answered ${response.status}`);
      at = new URL(location, at).href;
    }
    return at;
  }

  async toCallback(next?: string): Promise<string> {
    return await this.follow(await this.begin(next));
  }

  async signIn(next?: string): Promise<Response> {
    return await this.get(await this.toCallback(next));
  }

  /** The e-mail address on the first page. */
  async who(): Promise<string | undefined> {
    const page = await (await this.get(`${this.gateway}/`)).text();
    return /<dt>Person<\/dt><dd>([^<]+)/.exec(page)?.[1];
  }
}

async function visit(url: string, jar: Map<string, string>): Promise<Response> {
  const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
  const response = await fetch(url, { redirect: "manual", headers: cookie === "" ? {} : { cookie } });
  for (const line of response.headers.getSetCookie()) {
    const [name = "", value = ""] = (line.split(";")[0] ?? "").split("=");
    if (/Max-Age=0\b|expires=Thu, 01 Jan 1970/i.test(line)) jar.delete(name);
    else jar.set(name, value);
  }
  return response;
}

type MovableClock = ReturnType<typeof movableClock>;

function movableClock() {
  let moved = 0;
  return {
    now: () => Date.now() + moved,
    monotonic: () => performance.now() + moved,
    move(milliseconds: number) {
      moved += milliseconds;
    },
  };
}
