/**
 * What a credential may do: every scope, every role, and the one function that narrows them.
 *
 * Rights are always an intersection: the scopes asked for, those registered, what the owner's kind may ever hold,
 * the project binding, and inside a project the person's role there (`rightsIn`, which every plane asks). Nothing here
 * ever widens. `approvals:decide` and `admin` belong to people alone.
 */
export const scopes = [
  "llm:chat",
  "mcp:read",
  "mcp:write",
  "control:read",
  "control:write",
  "artifacts:read",
  "artifacts:write",
  "approvals:request",
  "approvals:decide",
  "approvals:consume",
  "usage:read",
  "admin",
] as const;

export type Scope = (typeof scopes)[number];

/** What an MCP client is told to ask for: enough for every tool that a person's app may call. */
export const mcpScopes = [
  "mcp:read",
  "mcp:write",
  "artifacts:read",
  "artifacts:write",
  "approvals:request",
  "usage:read",
] as const satisfies readonly Scope[];
export type Role = "admin" | "user" | "runner";
export type ClientKind = "runner" | "service" | "desktop";
export const clientKinds = ["runner", "service", "desktop"] as const satisfies readonly ClientKind[];

/** What a person, or a project's own client, is inside one project; each includes the ones before it. */
export const projectRoles = ["viewer", "editor", "owner"] as const;
export type ProjectRole = (typeof projectRoles)[number];

const viewerScopes: ReadonlySet<Scope> = new Set([
  "mcp:read",
  "control:read",
  "artifacts:read",
  "usage:read",
]);
const peopleOnly: ReadonlySet<Scope> = new Set(["approvals:decide", "admin"]);
const withoutProject: ReadonlySet<Scope> = new Set(["llm:chat", "usage:read", "mcp:read"]);

/** Who stands behind a credential, as far as rights go. */
export type Owner =
  | { kind: "user"; role: "admin" | "user" }
  | { kind: "client"; clientKind: ClientKind; projectId: string | null };

/** What this owner could ever hold, whatever it asks for. */
export function ceiling(owner: Owner): Scope[] {
  if (owner.kind === "user") return scopes.filter((scope) => scope !== "admin" || owner.role === "admin");
  return scopes.filter((scope) => {
    if (peopleOnly.has(scope)) return false;
    // A desktop client carries a person's rights, so it has no project of its own and is not narrowed for lacking one.
    if (owner.clientKind === "desktop") return scope !== "approvals:consume";
    if (owner.clientKind === "service" && scope === "approvals:consume") return false;
    return owner.projectId !== null || withoutProject.has(scope);
  });
}

/** What an API key of this owner could ever hold: keys never administer and never decide approvals. */
export function keyCeiling(owner: Owner): Scope[] {
  return ceiling(owner).filter((scope) => !peopleOnly.has(scope));
}

/** Who asks, as far as one project is concerned. */
export type Holder = {
  readonly id: string;
  readonly kind: "user" | "client";
  readonly role: Role;
  readonly scopes: ReadonlySet<Scope>;
  readonly projectId: string | null;
  readonly memberships: ReadonlyMap<string, ProjectRole>;
};

export type ProjectRights = { readonly role: ProjectRole; readonly scopes: ReadonlySet<Scope> };

/**
 * What a credential may do inside one project: scopes ∩ role ∩ membership ∩ binding, or null for a project that does
 * not exist as far as it may know. A project's own clients write like editors; an administrator is an owner everywhere,
 * but only with a credential that holds `admin`. What stands in no project stands with one person (`usr_…`), and is
 * nobody else's.
 */
export function rightsIn(holder: Holder, projectId: string): ProjectRights | null {
  if (projectId.startsWith("usr_")) {
    const isOwn = holder.id === projectId && holder.projectId === null;
    return isOwn ? { role: "owner", scopes: holder.scopes } : null;
  }
  if (holder.projectId !== null && holder.projectId !== projectId) return null;
  if (holder.kind === "client") {
    return holder.projectId === null ? null : { role: "editor", scopes: holder.scopes };
  }
  if (isAdmin(holder)) return { role: "owner", scopes: holder.scopes };
  const role = holder.memberships.get(projectId);
  if (role === undefined) return null;
  if (role !== "viewer") return { role, scopes: holder.scopes };
  return { role, scopes: new Set([...holder.scopes].filter((scope) => viewerScopes.has(scope))) };
}

/** The projects that a credential has a part in; null: all there are. */
export function visibleProjects(holder: Holder): string[] | null {
  const { projectId } = holder;
  if (projectId !== null) return rightsIn(holder, projectId) === null ? [] : [projectId];
  return isAdmin(holder) ? null : [...holder.memberships.keys()];
}

/** A person with the role `admin` whose credential holds the scope `admin`. */
export const isAdmin = (holder: Pick<Holder, "role" | "scopes">): boolean =>
  holder.role === "admin" && holder.scopes.has("admin");

export const isAtLeast = (role: ProjectRole, least: ProjectRole): boolean =>
  projectRoles.indexOf(role) >= projectRoles.indexOf(least);

/** `granted` narrowed to what the owner may hold, in the list's own order. */
export function narrow(granted: Iterable<string>, allowed: readonly Scope[]): Scope[] {
  const asked = new Set(granted);
  return allowed.filter((scope) => asked.has(scope));
}

export type ScopeList = { ok: true; scopes: Scope[] } | { ok: false; unknown: string[] };

/** Parses a space-separated `scope` (RFC 6749 section 3.3). */
export function parseScope(text: string): ScopeList {
  const names = [...new Set(text.split(" ").filter((name) => name !== ""))];
  const unknown = names.filter((name) => !(scopes as readonly string[]).includes(name));
  return unknown.length > 0 ? { ok: false, unknown } : { ok: true, scopes: names as Scope[] };
}
