/**
 * Who may see and change which clients and keys over HTTP. Decided here once, for lists and for single ones alike.
 *
 * An administrator may all. A project's owner keeps the clients of the project, and their keys; a person keeps their own
 * keys. Nothing made here can do more than whoever makes it: a key is within its maker's own scopes and binding.
 */
import { Failure, notFound } from "../../platform/failure.ts";
import type { Principal } from "../../platform/principal.ts";
import { isAdmin, isAtLeast, parseScope, rightsIn } from "../../platform/scopes.ts";
import type { ClientRow, KeyRow } from "./store.ts";

/** What a list shows: everything, or what belongs to these. `boundTo`: only the person's keys for this project. */
export type Reach =
  | { all: true }
  | { all: false; userId: string; boundTo: string | null; projectIds: string[] };

export function reachOf(principal: Principal): Reach {
  if (isAdmin(principal) && principal.projectId === null) return { all: true };
  const projectIds = [
    ...principal.memberships.keys(),
    ...(principal.projectId === null ? [] : [principal.projectId]),
  ];
  return {
    all: false,
    userId: principal.id,
    boundTo: principal.projectId,
    projectIds: [...new Set(projectIds)].filter((id) => owns(principal, id)),
  };
}

/** Throws `not_found` for a client that this person does not keep. */
export function requireKeeper(principal: Principal, client: ClientRow | undefined): ClientRow {
  if (client !== undefined && keepsClient(principal, client.projectId)) return client;
  throw notFound();
}

/** Before a client is made: throws `not_found` for a project that is not the person's to keep, 403 without one. */
export function requireMayMake(principal: Principal, projectId: string | null): void {
  if (keepsClient(principal, projectId)) return;
  if (projectId !== null) {
    if (rightsIn(principal, projectId) === null) throw notFound();
    throw new Failure("forbidden", "insufficient_role", "Only an owner of the project makes clients for it.");
  }
  throw new Failure(
    "forbidden",
    "insufficient_role",
    "Only an administrator makes clients without a project. Name a project that you own.",
  );
}

/** `client`: the one that owns the key, if one does. */
export function requireKeyKeeper(
  principal: Principal,
  key: KeyRow | undefined,
  client: ClientRow | undefined,
): KeyRow {
  if (key === undefined) throw notFound();
  const own =
    key.userId === principal.id && (principal.projectId === null || key.projectId === principal.projectId);
  const kept = client !== undefined && keepsClient(principal, client.projectId);
  if (own || kept || (isAdmin(principal) && principal.projectId === null)) return key;
  throw notFound();
}

/** Nobody hands out what this very credential does not hold, there where it is to be used. Throws `invalid_scope`. */
export function requireHeld(held: Pick<Principal, "scopes">, scope: string): void {
  const parsed = parseScope(scope);
  const beyond = parsed.ok ? parsed.scopes.filter((one) => !held.scopes.has(one)) : [];
  if (beyond.length === 0) return;
  throw new Failure(
    "unprocessable",
    "invalid_scope",
    `You cannot give what you do not hold here: ${beyond.join(", ")}.`,
  );
}

const keepsClient = (principal: Principal, projectId: string | null): boolean =>
  projectId === null ? isAdmin(principal) && principal.projectId === null : owns(principal, projectId);

function owns(principal: Principal, projectId: string): boolean {
  const rights = principal.kind === "user" ? rightsIn(principal, projectId) : null;
  return rights !== null && isAtLeast(rights.role, "owner");
}
