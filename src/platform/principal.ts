import type { ClientKind, Role, Scope } from "./scopes.ts";

/**
 * Who is calling, and what this credential may do: the answer of authentication, the question of every policy.
 * The same object is handed out for the same credential until it is revoked or expires.
 */
export type Principal = {
  /** `usr_…`, `cli_…` or `specgate-desktop`: the one who acts. */
  readonly id: string;
  readonly kind: "user" | "client";
  readonly role: Role;
  readonly credential: "access_token" | "api_key" | "cookie";
  /** The credential itself, for limits and revocation: `key_…`, or the token's `jti`. */
  readonly credentialId: string;
  readonly userId: string | null;
  readonly clientId: string | null;
  readonly clientKind: ClientKind | null;
  readonly keyId: string | null;
  /** Effective scopes: already narrowed by owner, role and binding (scopes.ts). */
  readonly scopes: ReadonlySet<Scope>;
  /** The project this credential is bound to, or null when it is bound to none. */
  readonly projectId: string | null;
  readonly sessionId: string | null;
  /** Milliseconds since the epoch after which this credential is worth nothing. */
  readonly expiresAt: number;
};

/** The bearer planes, whose tokens carry the plane in `aud`. */
export type Plane = "control" | "llm" | "mcp";

/** Finds who holds a bearer credential for a plane; throws `unauthenticated`, or `auth_unavailable` when it cannot know. */
export type Authenticate = (bearer: string, plane: Plane) => Principal | Promise<Principal>;
