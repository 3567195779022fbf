/**
 * The OAuth plane, and `GET /api/v1/me`.
 */
import { Elysia } from "elysia";
import { callOf } from "../../platform/call.ts";
import { rfc3339 } from "../../platform/clock.ts";
import type { Guard, Policy } from "../../platform/guard.ts";
import type { RequestLimits } from "../../platform/limits.ts";
import type { Principal } from "../../platform/principal.ts";
import { type Addresses, planePaths } from "./audiences.ts";
import { clientProof, type OAuthForm, oauthRefusal, readForm } from "./form.ts";
import type { Asked } from "./grant.ts";
import { grantTypes, resourceMetadata, serverMetadata } from "./metadata.ts";
import type { Origin, Tokens } from "./tokens.ts";

export type TokenRoutesNeeds = {
  guard: Guard;
  tokens: Tokens;
  addresses: () => Addresses;
  requestsPerMinute: () => RequestLimits;
};

const oauth = (why: string) => ({ plane: "oauth", public: why }) as const satisfies Policy;
const discovery = oauth("Clients read it before they have a credential.");
const authenticated = oauth("The request itself carries the client's proof.");
/** The plane reads the body itself, once it knows the request's form. */
const unparsed = { parse: "none" } as const;

export function tokenRoutes(needs: TokenRoutesNeeds) {
  return new Elysia()
    .use(discoveryRoutes(needs))
    .post(
      "/oauth/token",
      needs.guard.open(authenticated, async ({ request }) => {
        const form = await readForm(request, callOf(request).url);
        requireGrantType(form);
        const proof = clientProof(request.headers.get("authorization"), form);
        return noStore(await needs.tokens.grant(proof, askedOf(form), originOf(request)));
      }),
      unparsed,
    )
    .post(
      "/oauth/revoke",
      needs.guard.open(authenticated, async ({ request }) => {
        const form = await readForm(request, callOf(request).url);
        const token = form.get("token");
        if (token === null) throw oauthRefusal("invalid_request", "The parameter token is missing.");
        const proof = clientProof(request.headers.get("authorization"), form);
        await needs.tokens.revoke(proof, token, originOf(request));
        return noStore({});
      }),
      unparsed,
    )
    .get(
      "/api/v1/me",
      needs.guard.closed({ plane: "control", scope: null }, ({ principal }) => ({
        principal: principalView(principal),
        scopes: [...principal.scopes],
        memberships: [],
        limits: { requests_per_minute: needs.requestsPerMinute() },
      })),
    );
}

function discoveryRoutes(needs: TokenRoutesNeeds) {
  const routes = new Elysia().get(
    "/.well-known/oauth-authorization-server",
    needs.guard.open(discovery, () => serverMetadata(needs.addresses())),
  );
  for (const path of ["", ...Object.values(planePaths)]) {
    routes.get(
      `/.well-known/oauth-protected-resource${path}`,
      needs.guard.open(discovery, ({ call }) => resourceMetadata(call.url, path, needs.addresses())),
    );
  }
  return routes;
}

function requireGrantType(form: OAuthForm): void {
  const type = form.get("grant_type");
  if (type === null) throw oauthRefusal("invalid_request", "The parameter grant_type is missing.");
  if ((grantTypes as readonly string[]).includes(type)) return;
  throw oauthRefusal("unsupported_grant_type", `This gateway has the grant types: ${grantTypes.join(", ")}.`);
}

function askedOf(form: OAuthForm): Asked {
  const ttl = form.get("ttl_seconds");
  return {
    scope: form.get("scope"),
    projectId: form.get("project_id"),
    sessionId: form.get("session_id"),
    ttlSeconds: ttl === null ? null : /^\d{1,6}$/.test(ttl) ? Number(ttl) : Number.NaN,
    resources: form.resources,
  };
}

function originOf(request: Request): Origin {
  const { id, ip } = callOf(request);
  const userAgent = request.headers.get("user-agent")?.slice(0, 200) ?? null;
  return { ip, userAgent, requestId: id };
}

/** RFC 6749 section 5.1. */
const noStore = (body: object): Response =>
  Response.json(body, { headers: { "cache-control": "no-store", pragma: "no-cache" } });

const principalView = (principal: Principal) => ({
  id: principal.id,
  kind: principal.kind,
  role: principal.role,
  client_id: principal.clientId,
  key_id: principal.keyId,
  project_id: principal.projectId,
  session_id: principal.sessionId,
  expires_at: rfc3339(principal.expiresAt),
});
