/**
 * The OpenID provider that the operator named, met as one of its clients: authorization code, PKCE, nonce, and an ID
 * token whose signature is checked against the keys that the provider publishes at that moment.
 *
 * Nothing is asked of it before the first sign-in, so the gateway starts without it; what it says of itself is asked
 * anew each hour, and after every failure. Answers are small and quick or refused; redirects are not followed. What it
 * names outside its own origin has to be on the public internet.
 */
import {
  AuthorizationResponseError,
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  type ClientAuth,
  ClientError,
  ClientSecretBasic,
  ClientSecretPost,
  Configuration,
  type CustomFetchOptions,
  calculatePKCECodeChallenge,
  customFetch,
  discovery,
  enableNonRepudiationChecks,
  fetchUserInfo,
  ResponseBodyError,
  type ServerMetadata,
  WWWAuthenticateChallengeError,
} from "openid-client";
import { z } from "zod";
import type { Reach } from "../../platform/addresses.ts";
import type { Clock } from "../../platform/clock.ts";
import type { OidcConfig } from "../../platform/config.ts";
import { addressKind } from "../../platform/config-address.ts";
import { Failure } from "../../platform/failure.ts";
import type { GuardedFetch } from "../../platform/guarded-fetch.ts";
import type { Flow } from "./oidc-flow.ts";

/** Somebody, as the provider knows them. */
export type Vouched = {
  issuer: string;
  subject: string;
  email: string | null;
  isEmailVerified: boolean;
};

/** `denied`: there, by the person or by the provider. `unproven`: the answer is no proof of anything. */
export type Redemption =
  | { vouched: Vouched }
  | { refused: "denied" | "spent" }
  | { refused: "unproven"; cause: Error };

export type IdentityProviderNeeds = {
  config: OidcConfig;
  redirectUri: () => string;
  fetch: GuardedFetch;
  clock: Pick<Clock, "monotonic">;
};

const freshMs = 3_600_000;
const timeoutSeconds = 10;
const bytesMax = 262_144;

export class IdentityProvider {
  /** As people see it. */
  readonly host: string;
  readonly #needs: IdentityProviderNeeds;
  readonly #issuer: URL;
  #known: { metadata: Promise<ServerMetadata>; at: number } | null = null;

  constructor(needs: IdentityProviderNeeds) {
    this.#needs = needs;
    this.#issuer = new URL(needs.config.issuer);
    this.host = this.#issuer.host;
  }

  /** Where the browser is sent. Throws `identity_provider_unavailable`. */
  async authorizationUrl({ state, nonce, verifier }: Flow): Promise<string> {
    const url = buildAuthorizationUrl(await this.#client(), {
      redirect_uri: this.#needs.redirectUri(),
      scope: "openid email profile",
      state,
      nonce,
      code_challenge: await calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
    });
    return url.href;
  }

  /** Who the answer's code stands for; `search` is the answer's query. Throws `identity_provider_unavailable`. */
  async redeem(search: string, { state, nonce, verifier }: Flow): Promise<Redemption> {
    const client = await this.#client();
    const answer = new URL(this.#needs.redirectUri() + search);
    const checks = { expectedState: state, expectedNonce: nonce, pkceCodeVerifier: verifier };
    try {
      const tokens = await authorizationCodeGrant(client, answer, checks);
      const signed = signedClaims.parse(tokens.claims());
      // Many providers tell the e-mail address here alone (OpenID Connect Core section 5.4).
      const isTold = signed.email !== undefined || client.serverMetadata().userinfo_endpoint === undefined;
      const { email, email_verified } = isTold
        ? signed
        : emailClaims.parse(await fetchUserInfo(client, tokens.access_token, signed.sub));
      const isEmailVerified = email !== undefined && email_verified === true;
      return { vouched: { issuer: signed.iss, subject: signed.sub, email: email ?? null, isEmailVerified } };
    } catch (error) {
      return refusalOf(error, this.host);
    }
  }

  /** Made anew each time, and with it the memory of the provider's keys: one that it has withdrawn is worth nothing. */
  async #client(): Promise<Configuration> {
    const metadata = await this.#metadata();
    const { clientId } = this.#needs.config;
    const client = new Configuration(metadata, clientId, undefined, this.#authentication(metadata));
    client[customFetch] = this.#fetch;
    client.timeout = timeoutSeconds;
    // Without this openid-client trusts the ID token for the connection that it came by.
    enableNonRepudiationChecks(client);
    for (const allow of this.#leave()) allow(client);
    return client;
  }

  #metadata(): Promise<ServerMetadata> {
    const now = this.#needs.clock.monotonic();
    if (this.#known !== null && now - this.#known.at < freshMs) return this.#known.metadata;
    const asked = { metadata: this.#discover(), at: now };
    this.#known = asked;
    asked.metadata.catch(() => {
      if (this.#known === asked) this.#known = null;
    });
    return asked.metadata;
  }

  async #discover(): Promise<ServerMetadata> {
    try {
      const options = { [customFetch]: this.#fetch, timeout: timeoutSeconds, execute: this.#leave() };
      const found = await discovery(this.#issuer, this.#needs.config.clientId, undefined, undefined, options);
      const metadata = found.serverMetadata();
      // openid-client makes exceptions for providers that answer in the name of many others.
      if (new URL(metadata.issuer).href !== this.#issuer.href)
        throw new Error(`it calls itself ${metadata.issuer}`);
      const wrong = endpoints.filter((name) => !this.#isPlace(metadata[name]));
      if (wrong.length > 0) throw new Error(`its discovery document has no usable ${wrong.join(", ")}`);
      return metadata;
    } catch (error) {
      throw unavailable(this.host, error);
    }
  }

  #isPlace(text: string | undefined): boolean {
    const protocol = URL.parse(text ?? "")?.protocol;
    return protocol === "https:" || (protocol === "http:" && this.#issuer.protocol === "http:");
  }

  /** OpenID Connect Core section 9: Basic is what a client uses when nothing else was agreed. */
  #authentication({ token_endpoint_auth_methods_supported: known }: ServerMetadata): ClientAuth {
    const secret = this.#needs.config.clientSecret.reveal();
    const isPostOnly = known?.includes("client_secret_post") && !known.includes("client_secret_basic");
    return isPostOnly ? ClientSecretPost(secret) : ClientSecretBasic(secret);
  }

  /** Plain http is for loopback alone: the configuration refuses any other such issuer. */
  #leave(): ((client: Configuration) => void)[] {
    return this.#issuer.protocol === "http:" ? [allowInsecureRequests] : [];
  }

  readonly #fetch = async (url: string, options: CustomFetchOptions): Promise<Response> => {
    const { method, headers, body, signal } = options;
    const init = { method, headers: new Headers(headers), body: bodyOf(body), ...(signal && { signal }) };
    return await this.#needs.fetch(url, init, { reach: this.#reachOf(url), bytesMax });
  };

  /** The operator wrote the issuer and nothing else, so his leave is for its origin. */
  #reachOf(url: string): Reach {
    if (URL.parse(url)?.origin !== this.#issuer.origin) return "public";
    return addressKind(this.#issuer.hostname) === "private" ? "private" : "operator";
  }
}

const endpoints = ["authorization_endpoint", "token_endpoint", "jwks_uri"] as const;

const emailClaims = z.object({
  email: z.string().optional(),
  email_verified: z.unknown().optional(),
});
/** OpenID Connect Core section 2: at most 255 signs of ASCII. */
const signedClaims = emailClaims.extend({
  iss: z.string(),
  sub: z.string().regex(/^[\x20-\x7e]{1,255}$/),
});

function bodyOf(body: CustomFetchOptions["body"]): string | null {
  if (body === null || body === undefined) return null;
  if (typeof body === "string" || body instanceof URLSearchParams) return body.toString();
  throw new TypeError("a form or nothing is sent to an identity provider");
}

/** The provider's own trouble, as openid-client tells it. */
const troubles = new Set(["OAUTH_RESPONSE_IS_NOT_CONFORM", "OAUTH_RESPONSE_IS_NOT_JSON", "OAUTH_TIMEOUT"]);

function refusalOf(error: unknown, host: string): Redemption {
  if (error instanceof AuthorizationResponseError && error.error === "access_denied")
    return { refused: "denied" };
  // RFC 6749 section 5.2: the code was used before, has expired, or was never one.
  if (error instanceof ResponseBodyError && error.error === "invalid_grant") return { refused: "spent" };
  const isTrouble =
    error instanceof AuthorizationResponseError ||
    error instanceof ResponseBodyError ||
    error instanceof WWWAuthenticateChallengeError ||
    (error instanceof ClientError && (error.cause instanceof Failure || troubles.has(error.code ?? "")));
  if (isTrouble) throw unavailable(host, error);
  return { refused: "unproven", cause: new Error(wordsOf(error)) };
}

const unavailable = (host: string, error: unknown): Failure =>
  new Failure(
    "upstream",
    "identity_provider_unavailable",
    `${host} cannot be reached right now, or does not answer as an identity provider should. Try again in a moment, or sign in with a password.`,
    { cause: new Error(wordsOf(error)) },
  );

/** An error's words without what hangs on it: openid-client attaches whole answers, and tokens with them. */
function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  return [error.message, codeOf(error), wordsOf(error.cause)].filter((part) => part !== "").join(": ");
}

function codeOf(error: Error): string {
  if (error instanceof ResponseBodyError) return `${error.status} ${error.error}`;
  if (!(error instanceof WWWAuthenticateChallengeError)) return "";
  return [error.status, ...error.cause.map(({ parameters }) => parameters.error ?? "")].join(" ").trim();
}
