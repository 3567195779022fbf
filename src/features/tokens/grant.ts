/**
 * What one access token may hold, decided from the client and from what was asked. Pure: no clock, no database.
 *
 * A token is never more than its client: scopes are a subset, the project is the client's own, a session narrows it.
 * Asking for more is an error and not a smaller token, so that a caller never runs with less than it believes.
 */
import { isId } from "../../platform/ids.ts";
import { ceiling, narrow, parseScope, type Scope } from "../../platform/scopes.ts";
import { lifeSeconds } from "./access-token.ts";
import { type Addresses, audienceOf } from "./audiences.ts";
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

type Refusal = { ok: false; code: "invalid_request" | "invalid_scope" | "invalid_target"; why: string };
type Decision<T> = { ok: true; value: T } | Refusal;

export function decideGrant(client: ClientRow, asked: Asked, addresses: Addresses): Decision<Grant> {
  const scopes = decideScopes(client, asked.scope);
  if (!scopes.ok) return scopes;
  const binding = decideBinding(client, asked);
  if (!binding.ok) return binding;
  const audiences = decideAudiences(asked.resources, addresses);
  if (!audiences.ok) return audiences;
  const ttlSeconds = asked.ttlSeconds ?? lifeSeconds.usual;
  const { shortest, longest } = lifeSeconds;
  if (!Number.isSafeInteger(ttlSeconds) || ttlSeconds < shortest || ttlSeconds > longest) {
    return refuse("invalid_request", `ttl_seconds must be a whole number from ${shortest} to ${longest}.`);
  }
  return done({ scopes: scopes.value, ...binding.value, ttlSeconds, audiences: audiences.value });
}

function decideScopes(client: ClientRow, text: string | null): Decision<Scope[]> {
  const held = narrow(client.scopes, ceiling(clientOwner(client)));
  if (text === null) return done(held);
  const parsed = parseScope(text);
  if (!parsed.ok) return refuse("invalid_scope", `Unknown scope: ${parsed.unknown.map(quoted).join(", ")}.`);
  const beyond = parsed.scopes.filter((scope) => !held.includes(scope));
  if (beyond.length > 0) {
    return refuse(
      "invalid_scope",
      `This client does not hold ${beyond.join(" ")}; it holds ${held.join(" ")}.`,
    );
  }
  return parsed.scopes.length === 0
    ? refuse("invalid_scope", "Name at least one scope, or leave `scope` out for all of the client's.")
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

function decideAudiences(resources: readonly string[], addresses: Addresses): Decision<string[]> {
  if (resources.length === 0) return done([addresses.publicUrl]);
  const audiences = new Set<string>();
  for (const resource of resources) {
    const audience = audienceOf(resource, addresses);
    if (audience === null) {
      const { publicUrl } = addresses;
      return refuse(
        "invalid_target",
        `The resource ${quoted(resource)} is not one of ${publicUrl}, ${publicUrl}/mcp, ${publicUrl}/v1, ${publicUrl}/api/v1.`,
      );
    }
    audiences.add(audience);
  }
  return done([...audiences]);
}

/** RFC 6749 section 5.2 allows printable ASCII without quotes and backslashes in a description. */
const quoted = (text: string): string =>
  `'${text.slice(0, 200).replace(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "?")}'`;

const done = <T>(value: T): { ok: true; value: T } => ({ ok: true, value });
const refuse = (code: Refusal["code"], why: string): Refusal => ({ ok: false, code, why });
