/**
 * Which scopes may be registered for whom, and in words why the others may not.
 *
 * Nothing is narrowed silently here: whoever asks for more than fits is told which scopes and why, so that a credential
 * never turns out weaker than its maker believed.
 */
import { Failure } from "../../platform/failure.ts";
import { ceiling, type Owner, parseScope, type Scope, scopes } from "../../platform/scopes.ts";

/** The scopes of a space-separated list, all of them in `allowed`; throws `invalid_scope` naming those that are not. */
export function registeredScopes(text: string, owner: Owner, allowed: readonly Scope[]): Scope[] {
  const parsed = parseScope(text);
  if (!parsed.ok) {
    throw invalid(`Unknown: ${parsed.unknown.join(", ")}. The scopes are ${scopes.join(", ")}.`);
  }
  if (parsed.scopes.length === 0) throw invalid(`Name at least one of ${allowed.join(", ")}.`);
  const beyond = parsed.scopes.filter((scope) => !allowed.includes(scope));
  if (beyond.length > 0) throw invalid(beyond.map((scope) => `${scope}: ${whyNot(scope, owner)}`).join(" "));
  return scopes.filter((scope) => parsed.scopes.includes(scope));
}

function whyNot(scope: Scope, owner: Owner): string {
  if (scope === "admin" || scope === "approvals:decide") return "is for people only.";
  if (owner.kind === "user") return "is beyond what this person may hold.";
  if (scope === "approvals:consume" && owner.clientKind !== "runner") return "is for runner clients only.";
  if (!ceiling(owner).includes(scope)) {
    return `needs a project; a client without one may hold ${ceiling(owner).join(", ")} only.`;
  }
  return "is not among the scopes of its client.";
}

const invalid = (why: string): Failure =>
  new Failure("unprocessable", "invalid_scope", `These scopes do not fit. ${why}`);
