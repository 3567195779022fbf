/**
 * Whether a credential still stands, and what its holder may do: decided from the rows, nothing else.
 *
 * Rights are the intersection of what the credential was granted, what its owner is registered for, and what an owner of
 * that kind may ever hold. Anything revoked, disabled or archived on the way from the credential to its owner ends it,
 * and so does a project that the person behind it has no part in any more.
 */
import type { Principal } from "../../platform/principal.ts";
import {
  ceiling,
  keyCeiling,
  narrow,
  type Owner,
  type ProjectRole,
  type Role,
  rightsIn,
  type Scope,
} from "../../platform/scopes.ts";
import type { Claims } from "./access-token.ts";
import { clientOwner } from "./clients.ts";
import { endsWith, isExchanged, rootOf, signInOf } from "./lineage.ts";
import type { ClientRow, CookieHolder, KeyHolder, ProjectRow, TokenHolder, UserRow } from "./store.ts";

export type Standing =
  | { ok: true; principal: Principal }
  | {
      ok: false;
      why: "unknown" | "revoked" | "expired" | "owner_gone" | "project_archived" | "not_a_member";
    };

export function standingOfToken(claims: Claims, holder: TokenHolder | undefined): Standing {
  if (holder === undefined) return fallen("unknown");
  const { client, project, revoked } = holder;
  if (revoked) return fallen("revoked");
  if (client.revokedAt !== null) return fallen("owner_gone");
  const isRunner = claims.role === "runner";
  if (isRunner && (claims.project_id ?? null) !== client.projectId) return fallen("unknown");
  if (claims.project_id !== undefined && project === null) return fallen("unknown");
  const owner = isRunner ? clientIdentity(client) : appIdentity(holder);
  if (owner === null) return fallen("owner_gone");
  return stands(project, {
    ...owner.identity,
    credential: "access_token",
    // A client makes itself as many tokens as it likes: each with limits of its own would be none.
    credentialId: isRunner ? client.id : rootOf(claims.jti),
    holderId: rootOf(claims.jti),
    endsWith: [...owner.endsWith, ...endsWith(claims.jti)],
    signInId: isExchanged(claims.jti) ? null : signInOf(claims.jti),
    keyId: null,
    scopes: new Set(narrow(claims.scope.split(" "), owner.allowed)),
    reach: new Set(owner.allowed),
    projectId: claims.project_id ?? null,
    sessionId: claims.session_id ?? null,
    expiresAt: claims.exp * 1000,
  });
}

export function standingOfKey(holder: KeyHolder | undefined, now: number): Standing {
  if (holder === undefined) return fallen("unknown");
  const { key, client, project } = holder;
  if (key.revokedAt !== null) return fallen("revoked");
  if (key.expiresAt.getTime() <= now) return fallen("expired");
  if (client !== null && key.projectId !== client.projectId) return fallen("unknown");
  const owner = client === null ? personIdentity(holder, null) : clientIdentity(client);
  if (owner === null) return fallen("owner_gone");
  const allowed = narrow(owner.allowed, keyCeiling(owner.rights));
  const granted = new Set(narrow(key.scopes, allowed));
  return stands(project, {
    ...owner.identity,
    credential: "api_key",
    credentialId: key.id,
    holderId: key.id,
    endsWith: [...owner.endsWith, key.id],
    signInId: null,
    keyId: key.id,
    scopes: granted,
    reach: granted,
    projectId: key.projectId,
    sessionId: null,
    expiresAt: key.expiresAt.getTime(),
  });
}

/** A browser may do all that its person may. `holder` is there only while the sign-in is. */
export function standingOfCookie(holder: CookieHolder | undefined): Standing {
  if (holder === undefined) return fallen("unknown");
  const owner = personIdentity(holder, null);
  if (owner === null) return fallen("owner_gone");
  const { signInId, expiresAt } = holder;
  return stands(null, {
    ...owner.identity,
    credential: "cookie",
    credentialId: signInId,
    holderId: signInId,
    endsWith: [...owner.endsWith, signInId],
    signInId,
    keyId: null,
    scopes: new Set(owner.allowed),
    reach: new Set(owner.allowed),
    projectId: null,
    sessionId: null,
    expiresAt: expiresAt.getTime(),
  });
}

type Identity = Pick<
  Principal,
  "id" | "kind" | "role" | "userId" | "email" | "clientId" | "clientKind" | "memberships"
>;
type Behind = { identity: Identity; rights: Owner; allowed: Scope[]; endsWith: string[] };

const runner: Role = "runner";
const none: ReadonlyMap<string, ProjectRole> = new Map();

/** Null when the client is revoked. */
function clientIdentity(client: ClientRow): Behind | null {
  if (client.revokedAt !== null) return null;
  const rights = clientOwner(client);
  return {
    identity: {
      id: client.id,
      kind: "client",
      role: runner,
      userId: null,
      email: null,
      clientId: client.id,
      clientKind: client.kind,
      memberships: none,
    },
    rights,
    allowed: narrow(client.scopes, ceiling(rights)),
    endsWith: [client.id],
  };
}

/** A person through an app: never more than the app is registered for. */
function appIdentity({ user, memberships, client }: TokenHolder): Behind | null {
  const person = personIdentity({ user, memberships }, client);
  if (person === null || client.kind !== "desktop") return null;
  return {
    ...person,
    allowed: narrow(client.scopes, person.allowed),
    endsWith: [...person.endsWith, client.id],
  };
}

type Person = { user: UserRow | null; memberships: Record<string, ProjectRole> | null };

/** Null when the person is disabled, or nobody. */
function personIdentity({ user, memberships }: Person, client: ClientRow | null): Behind | null {
  if (user === null || user.disabledAt !== null) return null;
  const rights: Owner = { kind: "user", role: user.role };
  return {
    identity: {
      id: user.id,
      kind: "user",
      role: user.role,
      userId: user.id,
      email: user.email,
      clientId: client?.id ?? null,
      clientKind: client?.kind ?? null,
      memberships: new Map(Object.entries(memberships ?? {})),
    },
    rights,
    allowed: ceiling(rights),
    endsWith: [user.id],
  };
}

/** Bound to a project, a credential is what it is there: rights, and the end of it. */
function stands(project: ProjectRow | null, principal: Principal): Standing {
  if (project !== null && project.archivedAt !== null) return fallen("project_archived");
  const { projectId } = principal;
  if (projectId === null) return { ok: true, principal };
  const rights = rightsIn(principal, projectId);
  if (rights === null) return fallen("not_a_member");
  const reach = rightsIn({ ...principal, scopes: principal.reach }, projectId)?.scopes ?? rights.scopes;
  const endsWith = [...principal.endsWith, projectId];
  return { ok: true, principal: { ...principal, scopes: rights.scopes, reach, endsWith } };
}

const fallen = (why: Extract<Standing, { ok: false }>["why"]): Standing => ({ ok: false, why });
