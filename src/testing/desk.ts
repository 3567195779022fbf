/**
 * The desk where credentials are made and shown: identity, projects and tokens over a real database, reached through
 * the edge and the guard as in the gateway, with one plain door per plane. The clock can be moved.
 */
import { eq } from "drizzle-orm";
import { Elysia } from "elysia";
import type { Actor } from "../db/audit-entry.ts";
import type { Database } from "../db/database.ts";
import { audit } from "../db/schema.ts";
import { createRecord } from "../features/audit/audit.ts";
import { createPasswords } from "../features/identity/passwords.ts";
import { Users } from "../features/identity/users.ts";
import { Projects } from "../features/projects/projects.ts";
import { createAccessTokens } from "../features/tokens/access-token.ts";
import { createAttempts } from "../features/tokens/attempts.ts";
import { createAuthenticator } from "../features/tokens/authenticator.ts";
import { Clients } from "../features/tokens/clients.ts";
import type { CreatedClient } from "../features/tokens/contract.ts";
import { Keys } from "../features/tokens/keys.ts";
import { RevocationFeed } from "../features/tokens/revocation-feed.ts";
import { createRevocations } from "../features/tokens/revocations.ts";
import { tokenRoutes } from "../features/tokens/routes.ts";
import { signingSecrets } from "../features/tokens/secrets.ts";
import { Tokens } from "../features/tokens/tokens.ts";
import type { Clock } from "../platform/clock.ts";
import { createEdge } from "../platform/edge.ts";
import { createGuard } from "../platform/guard.ts";
import { createLimits } from "../platform/limits.ts";
import { silentLog } from "../platform/log.ts";
import { Secret } from "../platform/secret.ts";

export const deskUrl = "http://127.0.0.1:8080";
export const deskSecret = "the desk's own signing secret, 32 bytes and more";

export const localActor: Actor = {
  id: "ada",
  kind: "local",
  clientId: null,
  ip: null,
  userAgent: null,
  requestId: null,
};

export type MovableClock = Clock & { move(milliseconds: number): void };

export function movableClock(): MovableClock {
  let moved = 0;
  return {
    now: () => Date.now() + moved,
    monotonic: () => performance.now() + moved,
    move(milliseconds) {
      moved += milliseconds;
    },
  };
}

export type Desk = ReturnType<typeof assemble> & {
  /** Ends the feed and the database. */
  close(): Promise<void>;
};

export async function openDesk(database: Database, clock: Clock = movableClock()): Promise<Desk> {
  const desk = assemble(database, clock);
  await desk.feed.start();
  return {
    ...desk,
    async close() {
      await desk.feed.close();
      await database.close();
    },
  };
}

/** What a command beside the gateway has: the same rules on another connection, and no feed. */
export function assemble(database: Database, clock: Clock) {
  const addresses = () => ({ publicUrl: deskUrl, aliases: ["https://alias.example"] });
  const revocations = createRevocations(database);
  const record = createRecord(1);
  const accessTokens = createAccessTokens({
    secrets: signingSecrets([new Secret(deskSecret), new Secret(deskSecret.toUpperCase())]),
    clock,
    publicUrl: () => deskUrl,
  });
  const authenticator = createAuthenticator({ database, accessTokens, clock, publicUrl: () => deskUrl });
  const { forget, forgetAll } = authenticator;
  const feed = new RevocationFeed({ database, forget, forgetAll, log: silentLog });
  const tokens = new Tokens({
    database,
    record,
    revocations,
    accessTokens,
    attempts: createAttempts(),
    addresses,
  });
  const send = senderOf(tokens, authenticator.authenticate, addresses);
  return {
    database,
    clock,
    accessTokens,
    authenticator,
    feed,
    tokens,
    send,
    users: new Users({ database, record, revocations, passwords: createPasswords() }),
    projects: new Projects({ database, record }),
    clients: new Clients({ database, record, revocations }),
    keys: new Keys({ database, record, revocations, clock }),
    /** Sends a form to the token endpoint with the client's Basic credentials. */
    ask: (client: CreatedClient, fields: Record<string, string> = {}) =>
      send("/oauth/token", {
        method: "POST",
        headers: { authorization: basicOf(client) },
        body: new URLSearchParams({ grant_type: "client_credentials", ...fields }),
      }),
    /** The status that a credential gets at the door of a plane. */
    async knock(bearer: string, plane: "control" | "llm" | "mcp" = "llm"): Promise<number> {
      const response = await send(doors[plane], { headers: { authorization: `Bearer ${bearer}` } });
      return response.status;
    },
    /** What the audit says about a subject, oldest first. */
    entries: (subject: string) =>
      database.db.select().from(audit).where(eq(audit.subject, subject)).orderBy(audit.id),
  };
}

const doors = { control: "/api/v1/door", llm: "/v1/door", mcp: "/mcp/door" } as const;

export const basicOf = (client: { client_id: string; client_secret?: string }): string =>
  `Basic ${btoa(`${client.client_id}:${client.client_secret}`)}`;

type Parts = Parameters<typeof createGuard>[0];

function senderOf(
  tokens: Tokens,
  authenticate: Parts["authenticate"],
  addresses: () => { publicUrl: string; aliases: string[] },
) {
  const requestsPerMinute = () => ({ control: null, llm: null, mcp: null });
  const guard = createGuard({
    authenticate,
    limits: createLimits(() => ({ requests: requestsPerMinute(), llmTokens: null })),
    log: silentLog,
  });
  const app = new Elysia({ handler: { standardHostname: false } })
    .use(tokenRoutes({ guard, tokens, addresses, requestsPerMinute }))
    .get(
      doors.control,
      guard.closed({ plane: "control", scope: null }, () => ({})),
    )
    .get(
      doors.llm,
      guard.closed({ plane: "llm", scope: "llm:chat" }, () => ({})),
    )
    .get(
      doors.mcp,
      guard.closed({ plane: "mcp", scope: null }, () => ({})),
    );
  const edge = createEdge(
    {
      allowedHosts: () => ["alias.example"],
      publicUrl: () => deskUrl,
      corsOrigins: [],
      trustedProxies: [],
      bodyBytesMax: () => 1_048_576,
      log: silentLog,
    },
    (request) => app.handle(request),
  );
  const connection = { requestIP: () => ({ address: "192.0.2.7" }), timeout() {} };
  return (path: string, init: RequestInit = {}, origin = deskUrl): Promise<Response> => {
    const request = new Request(origin + path, init);
    request.headers.set("host", new URL(origin).host);
    return edge(request, connection);
  };
}
