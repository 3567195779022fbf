/**
 * What an app asks a person for (RFC 6749 section 4.1.1, RFC 7636, RFC 8707), read and judged. Pure.
 *
 * Until the client and its redirect address are known to belong together, nothing is sent to that address: a mistake is
 * shown to the person instead. After that every mistake goes to the app, which is the one that can mend it.
 */
import { Failure } from "../../platform/failure.ts";
import { ceiling, narrow, parseScope, type Scope } from "../../platform/scopes.ts";
import { type Addresses, decideAudiences } from "./audiences.ts";
import { decideSubset, foreignResource } from "./grant.ts";
import { isRegistered, withParameters } from "./redirects.ts";
import type { ClientRow } from "./store.ts";

/** A well-formed request of a known client, to be shown to a person. Kept in a ticket, so plain data. */
export type AskedConsent = {
  clientId: string;
  redirectUri: string;
  /** False when the client left it out because it has only one. */
  redirectSent: boolean;
  state: string | null;
  /** What the person may give: never more than the client is registered for, or than the person holds. */
  scopes: Scope[];
  /** Those that the app named one by one. */
  named: Scope[];
  audiences: string[];
  challenge: string;
};

type Judged =
  | { ok: true; asked: AskedConsent }
  /** Where the app is to hear of its mistake. */
  | { ok: false; location: string; client: ClientRow };

/** RFC 6749 appendix A.5. */
const stateForm = /^[\x20-\x7e]{0,2048}$/;

/** The client that a request names, before anything else of it is believed. Throws what a person is to see. */
export function clientIdOf(params: URLSearchParams): string {
  return once(params, "client_id") ?? unfit("The app did not say which one it is (client_id is missing).");
}

/** Throws for a request that must not be answered at its redirect address. */
export function judgeRequest(
  params: URLSearchParams,
  client: ClientRow | undefined,
  person: "admin" | "user",
  addresses: Addresses,
): Judged {
  const known = knownClient(client);
  const sent = once(params, "redirect_uri");
  const redirectUri = redirectOf(sent, known);
  const answer = (parameters: Record<string, string | null>) =>
    withParameters(redirectUri, { ...parameters, iss: addresses.publicUrl });
  const state = params.getAll("state").length === 1 ? params.get("state") : null;
  const refuse = (error: string, error_description: string): Judged => ({
    ok: false,
    client: known,
    location: answer({ error, error_description, state }),
  });
  const wrong = whatIsWrong(params);
  if (wrong !== null) return refuse(...wrong);
  const scopes = scopesOf(ownScopes(params.get("scope") || null), known, person);
  if ("why" in scopes) return refuse(scopes.error, scopes.why);
  const audiences = decideAudiences(params.getAll("resource").filter(Boolean), addresses);
  if (!audiences.ok) return refuse("invalid_target", foreignResource(audiences.resource, addresses).why);
  return {
    ok: true,
    asked: {
      clientId: known.id,
      redirectUri,
      redirectSent: sent !== null,
      state,
      ...scopes,
      audiences: audiences.value,
      challenge: params.get("code_challenge") ?? "",
    },
  };
}

/** Where the person's browser goes after the decision (RFC 6749 section 4.1.2, RFC 9207 section 2). */
export const answerLocation = (
  { redirectUri, state }: AskedConsent,
  answer: { code: string } | { error: "access_denied" },
  { publicUrl }: Addresses,
): string => withParameters(redirectUri, { ...answer, state, iss: publicUrl });

function knownClient(client: ClientRow | undefined): ClientRow {
  if (client !== undefined && client.kind === "desktop" && client.revokedAt === null) return client;
  return unfit("The app that sent you here is not registered with this gateway, or was revoked.");
}

function redirectOf(sent: string | null, client: ClientRow): string {
  const [only, ...more] = client.redirectUris;
  if (sent === null && only !== undefined && more.length === 0) return only;
  if (sent === null) return unfit("The app did not say where to send the answer (redirect_uri is missing).");
  if (isRegistered(sent, client.redirectUris)) return sent;
  return unfit(
    `The app asks for an answer to an address that is not registered for it. Register exactly that address with ${client.name}, or ask its maker.`,
  );
}

/** RFC 6749 section 3.1: no parameter stands more than once, `resource` aside. */
function whatIsWrong(params: URLSearchParams): [error: string, why: string] | null {
  for (const name of new Set(params.keys())) {
    if (name !== "resource" && params.getAll(name).length > 1)
      return ["invalid_request", `A parameter stands more than once: ${name.replace(/[^\w.-]/g, "?")}.`];
  }
  const responseType = params.get("response_type");
  if (!responseType) return ["invalid_request", "response_type is missing; it is code."];
  if (responseType !== "code") return ["unsupported_response_type", "response_type must be code."];
  if (params.has("request")) return ["request_not_supported", "Send the parameters themselves."];
  if (params.has("request_uri")) return ["request_uri_not_supported", "Send the parameters themselves."];
  if ((params.get("response_mode") || "query") !== "query")
    return ["invalid_request", "response_mode must be query."];
  if (!stateForm.test(params.get("state") ?? ""))
    return ["invalid_request", "state may have 2,048 characters, printable ASCII all of them."];
  return whatIsWrongWithPkce(params);
}

/** RFC 7636 section 4.3; OAuth 2.1 asks it of every client, and `plain` protects nothing. */
function whatIsWrongWithPkce(params: URLSearchParams): [error: string, why: string] | null {
  const challenge = params.get("code_challenge");
  if (!challenge) return ["invalid_request", "code_challenge is missing: this gateway requires PKCE."];
  if (params.get("code_challenge_method") !== "S256")
    return ["invalid_request", "code_challenge_method must be S256."];
  if (!/^[A-Za-z0-9_-]{43}$/.test(challenge))
    return [
      "invalid_request",
      "code_challenge must be the base64url SHA-256 of the verifier, 43 characters.",
    ];
  return null;
}

/**
 * What the person may tick: what was asked for, as far as the client is registered for it and the person holds it. What
 * is beyond is left out, as RFC 6749 section 3.3 allows: clients ask for all that a resource lists, whatever they were
 * registered for, and read in the answer what they got, because the person may leave out more.
 */
function scopesOf(
  text: string | null,
  client: ClientRow,
  person: "admin" | "user",
): { scopes: Scope[]; named: Scope[] } | { error: string; why: string } {
  const registered = narrow(client.scopes, ceiling({ kind: "user", role: "admin" }));
  const parsed = parseScope(text ?? "");
  const within = parsed.ok ? narrow(parsed.scopes, registered).join(" ") : "";
  // Where nothing is left, what was asked for says best why.
  const asked = decideSubset(registered, within || text, "this client holds");
  if (!asked.ok) return { error: asked.code, why: asked.why };
  const scopes = narrow(asked.value, ceiling({ kind: "user", role: person }));
  if (scopes.length === 0)
    return { error: "access_denied", why: "The person who signed in holds none of these scopes." };
  return { scopes, named: text === null ? [] : scopes };
}

/** Without OpenID Connect's own, which its clients ask everywhere: an app always gets a refresh token, never an ID token. */
export function ownScopes(text: string | null): string | null {
  if (text === null || text.trim() === "") return text;
  const rest = (text ?? "").split(" ").filter((name) => !foreignScopes.has(name));
  return rest.join(" ").trim() || null;
}

const foreignScopes = new Set(["openid", "profile", "email", "offline_access"]);

/** Null when it is absent or empty; a repeated one is no one's. */
function once(params: URLSearchParams, name: string): string | null {
  const values = params.getAll(name);
  if (values.length > 1) unfit(`The app sent ${name} more than once.`);
  return values[0] || null;
}

function unfit(why: string): never {
  throw new Failure("invalid", "invalid_request", why);
}
