/**
 * What a credential may do: every scope, every role, and the one function that narrows them.
 *
 * Rights are always an intersection: the scopes asked for, those registered, what the owner's kind may ever hold,
 * and the project binding. Nothing here ever widens. `approvals:decide` and `admin` belong to people alone.
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
export type Role = "admin" | "user" | "runner";
export type ClientKind = "runner" | "service" | "desktop";
export const clientKinds = ["runner", "service", "desktop"] as const satisfies readonly ClientKind[];

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
