/**
 * The OAuth plane and its pages, `GET /api/v1/me`, and the clients and keys that people keep.
 */
import { Elysia } from "elysia";
import { z } from "zod";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { Attempts } from "../../platform/attempts.ts";
import { rfc3339 } from "../../platform/clock.ts";
import { notFound } from "../../platform/failure.ts";
import type { ClosedPolicy, Guard, OpenedBy, OpenPolicy } from "../../platform/guard.ts";
import type { RequestLimits } from "../../platform/limits.ts";
import { type Cursors, pageQuery } from "../../platform/page.ts";
import type { Principal } from "../../platform/principal.ts";
import { parseQuery } from "../../platform/query.ts";
import { rightsIn } from "../../platform/scopes.ts";
import { seenVersion, versioned } from "../../platform/versions.ts";
import { readJson } from "../../platform/wire-body.ts";
import { type Addresses, planePaths } from "./audiences.ts";
import { type Clients, lineOf as clientLine } from "./clients.ts";
import { authorize, showConsent, showDevice, takeConsent, takeDevice } from "./consent-endpoints.ts";
import { clientChangeForm, keyChangeForm, newClientForm, newKeyForm } from "./contract.ts";
import { reachOf, requireHeld, requireKeeper, requireKeyKeeper, requireMayMake } from "./keepers.ts";
import { type Keys, lineOf as keyLine } from "./keys.ts";
import { type Doors, resourceMetadata, serverMetadata } from "./metadata.ts";
import {
  answerDeviceAuthorization,
  answerIntrospect,
  answerRegister,
  answerRevoke,
  answerToken,
  type OAuthParts,
} from "./oauth-endpoints.ts";

export type TokenRoutesNeeds = {
  guard: Guard;
  changes: Changes;
  oauth: OAuthParts;
  doors: Doors;
  clients: Clients;
  keys: Keys;
  attempts: Attempts;
  addresses: () => Addresses;
  cursors: Cursors;
  requestsPerMinute: () => RequestLimits;
  /** Names of projects, for showing them. */
  projectNames: (ids: readonly string[]) => Promise<ReadonlyMap<string, string>>;
  /** What this caller sees at /mcp. */
  visibleTools: (principal: Principal) => Promise<string[]>;
};

const oauthPlane = (why: string): OpenPolicy => ({ plane: "oauth", public: why });
const consentPage = (why: string): OpenPolicy => ({ plane: "console", public: why });
const discovery = oauthPlane("Clients read it before they have a credential.");
const authenticated = oauthPlane("The request itself carries the client's proof.");
/** The plane reads the body itself, once it knows the request's form. */
const unparsed = { parse: "none" } as const;

export function tokenRoutes(needs: TokenRoutesNeeds) {
  return new Elysia()
    .use(discoveryRoutes(needs))
    .use(oauthRoutes(needs))
    .use(consentRoutes(needs))
    .use(clientRoutes(needs))
    .use(keyRoutes(needs))
    .get(
      "/api/v1/me",
      needs.guard.closed({ plane: "control", scope: null }, async ({ principal }) => ({
        principal: principalView(principal),
        scopes: [...principal.scopes],
        memberships: await membershipsOf(principal, needs),
        limits: { requests_per_minute: needs.requestsPerMinute() },
        mcp_tools: await needs.visibleTools(principal),
      })),
    );
}

function discoveryRoutes({ guard, addresses, doors }: TokenRoutesNeeds) {
  const routes = new Elysia();
  // Clients of OpenID Connect look for the same document under that specification's name.
  for (const name of ["oauth-authorization-server", "openid-configuration"]) {
    routes.get(
      `/.well-known/${name}`,
      guard.open(discovery, () => serverMetadata(addresses(), doors)),
    );
  }
  for (const path of ["", ...Object.values(planePaths)]) {
    routes.get(
      `/.well-known/oauth-protected-resource${path}`,
      guard.open(discovery, ({ call }) => resourceMetadata(call.url, path, addresses())),
    );
  }
  return routes;
}

function oauthRoutes({ guard, oauth, doors }: TokenRoutesNeeds) {
  const routes = new Elysia({ prefix: "/oauth" });
  const answers = {
    "/token": answerToken,
    "/revoke": answerRevoke,
    "/introspect": answerIntrospect,
    "/device_authorization": answerDeviceAuthorization,
  };
  for (const [path, answer] of Object.entries(answers)) {
    routes.post(
      path,
      guard.open(authenticated, ({ request }) => answer(oauth, request)),
      unparsed,
    );
  }
  if (!doors.registration) return routes;
  const anybody = oauthPlane("Anybody may register an app that then has to ask a person (RFC 7591).");
  return routes.post(
    "/register",
    guard.open(anybody, ({ request }) => answerRegister(oauth, request)),
    unparsed,
  );
}

function consentRoutes({ guard, oauth, attempts, addresses }: TokenRoutesNeeds) {
  const { authorizations, devices } = oauth;
  const parts = { authorizations, devices, attempts, publicUrl: () => addresses().publicUrl };
  const signsIn = consentPage("Whoever is not signed in is sent to sign in first.");
  const decides = consentPage("Decides with the cookie and a one-time ticket.");
  return new Elysia()
    .get(
      "/oauth/authorize",
      guard.page(signsIn, (opened) => authorize(parts, opened)),
    )
    .get(
      "/oauth/consent",
      guard.page(signsIn, (opened) => showConsent(parts, opened)),
    )
    .post(
      "/oauth/consent",
      guard.page(decides, (opened) => takeConsent(parts, opened)),
      unparsed,
    )
    .get(
      "/device",
      guard.page(signsIn, (opened) => showDevice(parts, opened)),
    )
    .post(
      "/device",
      guard.page(decides, (opened) => takeDevice(parts, opened)),
      unparsed,
    );
}

const sees = { plane: "control", scope: "control:read", who: "person" } as const satisfies ClosedPolicy;
/** A key or an app could otherwise make something that outlives it. */
const makes = { plane: "control", scope: "control:write", who: "browser" } as const satisfies ClosedPolicy;
const acts = { plane: "control", scope: "control:write", who: "signed_in" } as const satisfies ClosedPolicy;
const listQuery = z.strictObject(pageQuery);
/** What is shown once. */
const secrets = ["client_secret", "key"];

function clientRoutes({ guard, changes, clients, cursors }: TokenRoutesNeeds) {
  const kept = async ({ principal, params }: OpenedBy) =>
    requireKeeper(principal, await clients.find(params.client ?? ""));
  return new Elysia({ prefix: "/api/v1/clients" })
    .get(
      "",
      guard.closed(sees, ({ call, principal }) =>
        clients.page(reachOf(principal), cursors, parseQuery(listQuery, call.url.searchParams)),
      ),
    )
    .post(
      "",
      guard.closed(makes, (opened) =>
        changes.answer(opened, { form: newClientForm, secrets }, (change, asked) => {
          const { project_id: projectId = null, redirect_uris: redirectUris = [], ...rest } = asked;
          requireMayMake(opened.principal, projectId);
          return clients.create(change.actor, { ...rest, projectId, redirectUris }, change);
        }),
      ),
      unparsed,
    )
    .get(
      "/:client",
      guard.closed(sees, async (opened) => versioned(clientLine(await kept(opened)))),
    )
    .patch(
      "/:client",
      guard.closed(acts, async (opened) => {
        const { id } = await kept(opened);
        const { redirect_uris, name, scope } = await readJson(opened.request, clientChangeForm);
        if (scope !== undefined) requireHeld(opened.principal, scope);
        const change = { name, scope, redirectUris: redirect_uris };
        const actor = actorOf(opened.principal, opened.call);
        return versioned(await clients.change(actor, id, change, seenVersion(opened.request)));
      }),
      unparsed,
    )
    .delete(
      "/:client",
      guard.closed(acts, async (opened) => {
        const { id } = await kept(opened);
        const actor = actorOf(opened.principal, opened.call);
        return versioned(await clients.revoke(actor, id, seenVersion(opened.request)));
      }),
    )
    .post(
      "/:client/rotation",
      guard.closed(makes, async (opened) => {
        const { id } = await kept(opened);
        return changes.answer(opened, { form: z.strictObject({}), secrets }, (change) =>
          clients.rotate(change.actor, id, change),
        );
      }),
      unparsed,
    );
}

function keyRoutes({ guard, changes, clients, keys, cursors }: TokenRoutesNeeds) {
  const kept = async ({ principal, params }: OpenedBy) => {
    const key = await keys.find(params.key ?? "");
    const client = key?.clientId == null ? undefined : await clients.find(key.clientId);
    return requireKeyKeeper(principal, key, client);
  };
  return new Elysia({ prefix: "/api/v1/keys" })
    .get(
      "",
      guard.closed(sees, ({ call, principal }) =>
        keys.page(reachOf(principal), cursors, parseQuery(listQuery, call.url.searchParams)),
      ),
    )
    .post(
      "",
      guard.closed(makes, (opened) =>
        changes.answer(opened, { form: newKeyForm, secrets }, async (change, asked) => {
          const { principal } = opened;
          const projectId = asked.project_id ?? principal.projectId;
          const held = projectId === null ? principal : rightsIn(principal, projectId);
          if (held === null) throw notFound();
          requireHeld(held, asked.scope);
          if (asked.client_id !== undefined) requireKeeper(principal, await clients.find(asked.client_id));
          const owner =
            asked.client_id === undefined ? { userId: principal.id } : { clientId: asked.client_id };
          const days = asked.expires_days === undefined ? {} : { expiresDays: asked.expires_days };
          return keys.create(change.actor, { owner, projectId, scope: asked.scope, ...days }, change);
        }),
      ),
      unparsed,
    )
    .get(
      "/:key",
      guard.closed(sees, async (opened) => versioned(keyLine(await kept(opened)))),
    )
    .patch(
      "/:key",
      guard.closed(acts, async (opened) => {
        const { id, scopes } = await kept(opened);
        const { scope = scopes.join(" ") } = await readJson(opened.request, keyChangeForm);
        const actor = actorOf(opened.principal, opened.call);
        return versioned(await keys.narrow(actor, id, scope, seenVersion(opened.request)));
      }),
      unparsed,
    )
    .delete(
      "/:key",
      guard.closed(acts, async (opened) => {
        const { id } = await kept(opened);
        const actor = actorOf(opened.principal, opened.call);
        return versioned(await keys.revoke(actor, id, seenVersion(opened.request)));
      }),
    );
}

async function membershipsOf({ memberships }: Principal, { projectNames }: TokenRoutesNeeds) {
  const names = await projectNames([...memberships.keys()]);
  return [...memberships].map(([id, role]) => ({ project_id: id, name: names.get(id) ?? "", role }));
}

const principalView = (principal: Principal) => ({
  id: principal.id,
  kind: principal.kind,
  role: principal.role,
  email: principal.email,
  client_id: principal.clientId,
  key_id: principal.keyId,
  project_id: principal.projectId,
  session_id: principal.sessionId,
  expires_at: rfc3339(principal.expiresAt),
});
