/**
 * OAuth requests as they arrive: an urlencoded form, and a client that proves itself in one way, never in two.
 *
 * Repeated parameters, parameters in the URL and any other media type are refused (RFC 6749 section 3.2): two readers
 * that pick different values of one name are a way around both.
 */
import { Failure } from "../../platform/failure.ts";
import { mediaType, readUrlencoded } from "../../platform/form.ts";

const fieldCharsMax = 4_096;
/** RFC 8707 section 2: the one parameter that may stand more than once. */
const repeatable = "resource";

export type OAuthForm = {
  /** The value, or null when it is absent or empty (RFC 6749 section 3.2 treats both alike). */
  get(name: string): string | null;
  readonly resources: readonly string[];
};

/** Who a client says it is; `secret` is null for a public one, which has none. */
export type ClientProof = { readonly id: string; readonly secret: string | null };

export async function readForm(request: Request, url: URL): Promise<OAuthForm> {
  if (url.search !== "") throw invalidRequest("Send all parameters in the body, none in the URL.");
  if (mediaType(request) !== "application/x-www-form-urlencoded") {
    throw invalidRequest("Send the parameters as content-type: application/x-www-form-urlencoded.");
  }
  return checkFields(await readUrlencoded(request));
}

function checkFields(fields: URLSearchParams): OAuthForm {
  const seen = new Set<string>();
  for (const [name, value] of fields) {
    if (seen.has(name) && name !== repeatable) throw invalidRequest("A parameter stands more than once.");
    if (value.length > fieldCharsMax) throw invalidRequest("A parameter is too long.");
    seen.add(name);
  }
  return {
    get: (name) => fields.get(name) || null,
    resources: fields.getAll(repeatable).filter((value) => value !== ""),
  };
}

/** The client's id and secret, by `client_secret_basic` or `client_secret_post`; the id alone for a public client. */
export function clientProof(authorization: string | null, form: OAuthForm): ClientProof {
  const proof = readProof(authorization, form);
  // RFC 6749 appendix A.1: visible ASCII. Anything else names nobody, and some of it no database can even look up.
  if (proof === null || !/^[\x20-\x7e]+$/.test(proof.id)) throw invalidClient();
  return proof;
}

/** Null when the request names no client at all. */
export const optionalProof = (authorization: string | null, form: OAuthForm): ClientProof | null =>
  authorization === null && form.get("client_id") === null && form.get("client_secret") === null
    ? null
    : clientProof(authorization, form);

function readProof(authorization: string | null, form: OAuthForm): ClientProof | null {
  const id = form.get("client_id");
  const secret = form.get("client_secret");
  if (authorization === null) return id === null ? null : { id, secret };
  if (secret !== null)
    throw invalidRequest("Authenticate in the Authorization header or in the body, not in both.");
  const proof = parseBasic(authorization);
  if (id !== null && id !== proof.id) {
    throw invalidRequest("The client_id in the body is not the one in the Authorization header.");
  }
  return proof;
}

function parseBasic(authorization: string): ClientProof {
  const encoded = /^Basic +([A-Za-z0-9+/]+={0,2}) *$/i.exec(authorization)?.[1];
  const [id, ...rest] = encoded === undefined ? [] : Buffer.from(encoded, "base64").toString().split(":");
  if (id === undefined || rest.length === 0) throw invalidClient();
  return { id: formDecoded(id), secret: formDecoded(rest.join(":")) || null };
}

/** RFC 6749 section 2.3.1: both halves are form-encoded before they are joined. */
function formDecoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    throw invalidClient();
  }
}

const noCache = { pragma: "no-cache" };

/** A parameter that must be there. */
export function required(form: OAuthForm, name: string): string {
  const value = form.get(name);
  if (value === null) throw invalidRequest(`The parameter ${name} is missing.`);
  return value;
}

/** RFC 6749 section 5.2. One sentence for an unknown client, a wrong secret, a revoked client and a public one. */
export const invalidClient = (): Failure =>
  new Failure(
    "unauthenticated",
    "invalid_client",
    "Client authentication failed: send the client_id of a client that is not revoked, with its client_secret, by Basic or in the body; a public client has none.",
    { headers: { ...noCache, "www-authenticate": 'Basic realm="specgate", charset="UTF-8"' } },
  );

export const oauthRefusal = (code: string, why: string): Failure =>
  new Failure("invalid", code, why, { headers: noCache });

const invalidRequest = (why: string): Failure => oauthRefusal("invalid_request", why);
