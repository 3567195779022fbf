/**
 * What one access token may hold, decided from the client and from what was asked. Pure: no clock, no database.
 *
 * A token is never more than its client: scopes are a subset, the project is the client's own, a session narrows it.
 * Asking for more is an error and not a smaller token, so that a caller never runs with less than it believes.
 */
import { isId } from "../../platform/ids.ts";
import { ceiling, narrow, parseScope, type Scope } from "../../platform/scopes.ts";
import { lifeSeconds } from "./access-token.ts";
import { type Addresses, decideAudiences, planePaths } from "./audiences.ts";
import { clientOwner } from "./clients.ts";
import type { ClientRow } from "./store.ts";

export type Asked = {
  /** Space-separated; null: all of the client's. */
  scope: string | null;
  projectId: string | null;
  sessionId: string | null;
  ttlSeconds: number | null;
  /** RFC 8707; none: every bearer plane. */
  resources: readonly string[];
};

export type Grant = {
  scopes: Scope[];
  projectId: string | null;
  sessionId: string | null;
  ttlSeconds: number;
  audiences: string[];
};

export type Refusal = {
  ok: false;
  code: "invalid_request" | "invalid_scope" | "invalid_target";
  why: string;
};
export type Decision<T> = { ok: true; value: T } | Refusal;

export function decideGrant(client: ClientRow, asked: Asked, addresses: Addresses): Decision<Grant> {
  const scopes = decideScopes(client, asked.scope);
  if (!scopes.ok) return scopes;
  const binding = decideBinding(client, asked);
  if (!binding.ok) return binding;
  const audiences = decideAudiences(asked.resources, addresses);
  if (!audiences.ok) return foreignResource(audiences.resource, addresses);
  const ttlSeconds = decideTtl(asked);
  if (!ttlSeconds.ok) return ttlSeconds;
  return done({
    scopes: scopes.value,
    ...binding.value,
    ttlSeconds: ttlSeconds.value,
    audiences: audiences.value,
  });
}

export type Granted = { scopes: readonly Scope[]; audiences: readonly string[] };

/** What a token may hold that comes from something granted before: a sign-in, or another token. Never more than that. */
export function decideNarrower(
  granted: Granted,
  asked: Asked,
  addresses: Addresses,
): Decision<{ scopes: Scope[]; audiences: string[]; ttlSeconds: number }> {
  const scopes = decideSubset(granted.scopes, asked.scope, "was granted");
  if (!scopes.ok) return scopes;
  const audiences = decideAudiences(asked.resources, addresses, granted.audiences);
  if (!audiences.ok) return foreignResource(audiences.resource, addresses, granted.audiences);
  const ttlSeconds = decideTtl(asked);
  if (!ttlSeconds.ok) return ttlSeconds;
  return done({ scopes: scopes.value, audiences: audiences.value, ttlSeconds: ttlSeconds.value });
}

function decideTtl({ ttlSeconds }: Asked): Decision<number> {
  const { shortest, usual, longest } = lifeSeconds;
  const seconds = ttlSeconds ?? usual;
  if (Number.isSafeInteger(seconds) && seconds >= shortest && seconds <= longest) return done(seconds);
  return refuse("invalid_request", `ttl_seconds must be a whole number from ${shortest} to ${longest}.`);
}

export function foreignResource(
  resource: string,
  { publicUrl }: Addresses,
  granted: readonly string[] = [publicUrl],
): Refusal {
  const known = granted.includes(publicUrl)
    ? [publicUrl, ...Object.values(planePaths).map((path) => publicUrl + path)]
    : granted;
  return refuse("invalid_target", `The resource ${quoted(resource)} is not one of ${known.join(", ")}.`);
}

function decideScopes(client: ClientRow, text: string | null): Decision<Scope[]> {
  return decideSubset(narrow(client.scopes, ceiling(clientOwner(client))), text, "this client holds");
}

/** No text: all that is held. More than is held is an error, which names what is beyond. */
export function decideSubset(
  held: readonly Scope[],
  text: string | null,
  holds: "was granted" | "this client holds" | "this key holds",
): Decision<Scope[]> {
  if (held.length === 0) return refuse("invalid_scope", `Nothing is left of what ${holds}.`);
  if (text === null) return done([...held]);
  const parsed = parseScope(text);
  if (!parsed.ok) return refuse("invalid_scope", `Unknown scope: ${parsed.unknown.map(quoted).join(", ")}.`);
  const beyond = parsed.scopes.filter((scope) => !held.includes(scope));
  if (beyond.length > 0) {
    return refuse("invalid_scope", `Beyond what ${holds}: ${beyond.join(" ")}. It is ${held.join(" ")}.`);
  }
  return parsed.scopes.length === 0
    ? refuse("invalid_scope", "Name at least one scope, or leave `scope` out for all of them.")
    : done(narrow(parsed.scopes, held));
}

/**
 * Another project than the client's is `invalid_request`: RFC 8707 keeps `invalid_target` for the `resource` parameter,
 * and `project_id` is not one.
 */
function decideBinding(client: ClientRow, asked: Asked): Decision<Pick<Grant, "projectId" | "sessionId">> {
  const { projectId, sessionId } = asked;
  if (client.projectId === null && (projectId !== null || sessionId !== null)) {
    return refuse(
      "invalid_request",
      "This client is bound to no project, so it cannot name one, nor a session.",
    );
  }
  if (projectId !== null && projectId !== client.projectId) {
    return refuse("invalid_request", "This client is bound to another project. Leave project_id out.");
  }
  if (sessionId !== null && !isId("ses", sessionId)) {
    return refuse("invalid_request", "session_id must be `ses_` and 32 hexadecimal digits.");
  }
  return done({ projectId: client.projectId, sessionId });
}

/** RFC 6749 section 5.2 allows printable ASCII without quotes and backslashes in a description. */
const quoted = (text: string): string =>
  `'${text.slice(0, 200).replace(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "?")}'`;

const done = <T>(value: T): { ok: true; value: T } => ({ ok: true, value });
const refuse = (code: Refusal["code"], why: string): Refusal => ({ ok: false, code, why });
