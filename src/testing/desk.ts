/**
 * The desk where credentials are made and shown: identity, projects and tokens over a real database, reached through
 * the edge and the guard as in the gateway, with one plain door per plane. The clock can be moved.
 */
import { eq } from "drizzle-orm";
import { Elysia } from "elysia";
import { mount } from "../app.ts";
import type { Actor } from "../db/audit-entry.ts";
import { createChanges } from "../db/changes.ts";
import type { Database } from "../db/database.ts";
import { createLocate } from "../db/places.ts";
import { audit } from "../db/schema.ts";
import { createRecord } from "../features/audit/audit.ts";
import { identityRoutes } from "../features/identity/routes.ts";
import { projectRoutes } from "../features/projects/routes.ts";
import type { CreatedClient } from "../features/tokens/contract.ts";
import type { FetchDocument } from "../features/tokens/registration.ts";
import { tokenRoutes } from "../features/tokens/routes.ts";
import { signingSecrets } from "../features/tokens/secrets.ts";
import type { Clock } from "../platform/clock.ts";
import { createEdge } from "../platform/edge.ts";
import { createLimits } from "../platform/limits.ts";
import { silentLog } from "../platform/log.ts";
import { createCursors } from "../platform/page.ts";
import { Secret } from "../platform/secret.ts";
import { assembleIdentity, guardOf, type Identity } from "../wiring-identity.ts";

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

export async function openDesk(
  database: Database,
  clock: Clock = movableClock(),
  publicUrl = deskUrl,
): Promise<Desk> {
  const desk = assemble(database, clock, null, publicUrl);
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
export function assemble(
  database: Database,
  clock: Clock,
  fetchDocument: FetchDocument | null = null,
  publicUrl = deskUrl,
) {
  const addresses = () => ({ publicUrl, aliases: ["https://alias.example"] });
  const identity = assembleIdentity({
    database,
    record: createRecord(1),
    clock,
    log: silentLog,
    addresses,
    secrets: signingSecrets([new Secret(deskSecret), new Secret(deskSecret.toUpperCase())]),
    fetchDocument,
  });
  const send = senderOf(database, identity, addresses);
  return {
    ...identity,
    tokens: identity.oauth.tokens,
    database,
    clock,
    send,
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

const peer = "192.0.2.7";
const doors = { control: "/api/v1/door", llm: "/v1/door", mcp: "/mcp/door" } as const;

export const basicOf = (client: { client_id: string; client_secret?: string }): string =>
  `Basic ${btoa(`${client.client_id}:${client.client_secret}`)}`;

function senderOf(
  database: Database,
  identity: Identity,
  addresses: () => { publicUrl: string; aliases: string[] },
) {
  const requestsPerMinute = () => ({ control: null, llm: null, mcp: null });
  const { authenticateCookie } = identity.authenticator;
  const publicUrl = () => addresses().publicUrl;
  const limits = createLimits(() => ({ requests: requestsPerMinute(), llmTokens: null }));
  const guard = guardOf(identity, { addresses, limits, locate: createLocate(database), log: silentLog });
  const cursors = createCursors(new Uint8Array(32));
  const announce = () => identity.revocations.announce();
  const changes = createChanges({ database, record: createRecord(1), told: () => undefined, announce });
  const projectNames = (ids: readonly string[]) => identity.projects.names(ids);
  const doorsOpen = { registration: true, cimd: true };
  const tokens = {
    ...identity,
    guard,
    changes,
    addresses,
    cursors,
    requestsPerMinute,
    projectNames,
    visibleTools: async () => [],
    doors: doorsOpen,
  };
  const doorRoutes = new Elysia()
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
  const { answer } = mount([
    identityRoutes({ ...identity, guard, changes, authenticateCookie, oidc: null, cursors, publicUrl }),
    tokenRoutes(tokens),
    projectRoutes({ guard, changes, projects: identity.projects, cursors }),
    doorRoutes,
  ]);
  const edge = createEdge(
    {
      allowedHosts: () => ["alias.example", new URL(publicUrl()).host],
      publicUrl,
      corsOrigins: [],
      // The peer passes on whose request it is, if that is said.
      trustedProxies: [`${peer}/32`],
      bodyBytesMax: () => 1_048_576,
      log: silentLog,
    },
    answer,
  );
  const connection = { requestIP: () => ({ address: peer }), timeout() {} };
  return (path: string, init: RequestInit = {}, origin = publicUrl()): Promise<Response> => {
    // Whoever ends TLS in front of the gateway speaks plain http to it.
    const request = new Request(origin.replace(/^https:/, "http:") + path, init);
    request.headers.set("host", new URL(origin).host);
    return edge(request, connection);
  };
}
