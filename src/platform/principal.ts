import type { ClientKind, ProjectRole, Role, Scope } from "./scopes.ts";

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
  /** What is limited as one: a key, a sign-in with all of its tokens, or a client with all tokens that it was given. */
  readonly credentialId: string;
  /** What holds streams open: the same, but for a client each token by itself, with all that is exchanged for it. */
  readonly holderId: string;
  /** Everything whose revocation ends this credential, the credential itself among it. */
  readonly endsWith: readonly string[];
  /** The browser or app that a person signed in, or null; a token that an app made for a helper is neither. */
  readonly signInId: string | null;
  readonly userId: string | null;
  /** Of the person who acts, or null. */
  readonly email: string | null;
  readonly clientId: string | null;
  readonly clientKind: ClientKind | null;
  readonly keyId: string | null;
  /** Effective scopes: already narrowed by owner and binding, and by the role in the project that it is bound to. */
  readonly scopes: ReadonlySet<Scope>;
  /** What another credential of the same registration could hold: `scopes` and whatever was not asked for this time. */
  readonly reach: ReadonlySet<Scope>;
  /** The project this credential is bound to, or null when it is bound to none. */
  readonly projectId: string | null;
  readonly sessionId: string | null;
  /** The person's roles, by project; empty for clients. */
  readonly memberships: ReadonlyMap<string, ProjectRole>;
  /** Milliseconds since the epoch after which this credential is worth nothing. */
  readonly expiresAt: number;
};

/** The bearer planes, whose tokens carry the plane in `aud`. */
export type Plane = "control" | "llm" | "mcp";

/** Finds whose browser holds a console cookie, or null when nobody's does any more; throws `auth_unavailable`. */
export type AuthenticateCookie = (cookie: string) => Principal | null | Promise<Principal | null>;

/** Finds who holds a bearer credential for a plane; throws `unauthenticated`, or `auth_unavailable` when it cannot know. */
export type Authenticate = (bearer: string, plane: Plane) => Principal | Promise<Principal>;

/** Whether a revocation of `subject` ends what this caller is doing; `usr_… prj_…` is a person's changed part in a project. */
export function isEndedBy(principal: Principal, subject: string): boolean {
  const [userId, projectId] = subject.split(" ");
  if (projectId === undefined) return principal.endsWith.includes(subject);
  return principal.userId === userId && principal.projectId === projectId;
}
