/**
 * Whether a credential still stands, and what its holder may do: decided from the rows, nothing else.
 *
 * Rights are the intersection of what the credential was granted, what its owner is registered for, and what an owner of
 * that kind may ever hold. Anything revoked, disabled or archived on the way from the credential to its owner ends it.
 */
import type { Principal } from "../../platform/principal.ts";
import { ceiling, keyCeiling, narrow, type Owner, type Role, type Scope } from "../../platform/scopes.ts";
import type { Claims } from "./access-token.ts";
import { clientOwner } from "./clients.ts";
import type { ClientRow, KeyHolder, TokenHolder } from "./store.ts";

export type Standing =
  | { ok: true; principal: Principal }
  | { ok: false; why: "unknown" | "revoked" | "expired" | "owner_gone" | "project_archived" };

export function standingOfToken(claims: Claims, holder: TokenHolder | undefined): Standing {
  if (holder === undefined) return fallen("unknown");
  const { client, project, tokenRevoked } = holder;
  if (tokenRevoked) return fallen("revoked");
  if (client.revokedAt !== null) return fallen("owner_gone");
  if ((claims.project_id ?? null) !== client.projectId) return fallen("unknown");
  if (project !== null && project.archivedAt !== null) return fallen("project_archived");
  return stands({
    ...identityOf(client),
    credential: "access_token",
    credentialId: claims.jti,
    keyId: null,
    scopes: new Set(narrow(claims.scope.split(" "), registered(client, ceiling(clientOwner(client))))),
    projectId: client.projectId,
    sessionId: claims.session_id ?? null,
    expiresAt: claims.exp * 1000,
  });
}

export function standingOfKey(holder: KeyHolder | undefined, now: number): Standing {
  if (holder === undefined) return fallen("unknown");
  const { key, client, project } = holder;
  if (key.revokedAt !== null) return fallen("revoked");
  if (key.expiresAt.getTime() <= now) return fallen("expired");
  const owner = ownerOfKey(holder);
  if (owner === null) return fallen("owner_gone");
  if (client !== null && key.projectId !== client.projectId) return fallen("unknown");
  if (project !== null && project.archivedAt !== null) return fallen("project_archived");
  return stands({
    ...owner.identity,
    credential: "api_key",
    credentialId: key.id,
    keyId: key.id,
    scopes: new Set(narrow(key.scopes, owner.allowed)),
    projectId: key.projectId,
    sessionId: null,
    expiresAt: key.expiresAt.getTime(),
  });
}

type Identity = Pick<Principal, "id" | "kind" | "role" | "userId" | "clientId" | "clientKind">;

/** Null when the owner is disabled or revoked. */
function ownerOfKey({ user, client }: KeyHolder): { identity: Identity; allowed: Scope[] } | null {
  if (client !== null) {
    if (client.revokedAt !== null) return null;
    return { identity: identityOf(client), allowed: registered(client, keyCeiling(clientOwner(client))) };
  }
  if (user === null || user.disabledAt !== null) return null;
  const rights: Owner = { kind: "user", role: user.role };
  return {
    identity: {
      id: user.id,
      kind: "user",
      role: user.role,
      userId: user.id,
      clientId: null,
      clientKind: null,
    },
    allowed: keyCeiling(rights),
  };
}

const runner: Role = "runner";

const identityOf = (client: ClientRow): Identity => ({
  id: client.id,
  kind: "client",
  role: runner,
  userId: null,
  clientId: client.id,
  clientKind: client.kind,
});

const registered = (client: ClientRow, allowed: Scope[]): Scope[] => narrow(client.scopes, allowed);

const stands = (principal: Principal): Standing => ({ ok: true, principal });
const fallen = (why: Extract<Standing, { ok: false }>["why"]): Standing => ({ ok: false, why });
