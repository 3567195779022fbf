/**
 * The OAuth plane's endpoints: a form in, RFC 6749's JSON out. Which client may ask what is said here, in one table.
 */
import { type Actor, originOf, strangerFrom } from "../../db/audit-entry.ts";
import { type Call, callOf } from "../../platform/call.ts";
import { asFailure } from "../../platform/failure.ts";
import { readJson } from "../../platform/wire-body.ts";
import type { AppTokens } from "./app-tokens.ts";
import type { Authorizations } from "./authorizations.ts";
import type { ClientProofs, ProofKind } from "./client-proofs.ts";
import { type IssuedToken, registrationForm } from "./contract.ts";
import type { Devices } from "./devices.ts";
import { accessTokenType, type Exchanges } from "./exchange.ts";
import { clientProof, type OAuthForm, oauthRefusal, optionalProof, readForm, required } from "./form.ts";
import type { Asked } from "./grant.ts";
import { grantTypes } from "./metadata.ts";
import type { Registration } from "./registration.ts";
import type { ClientRow } from "./store.ts";
import type { Tokens } from "./tokens.ts";

export type OAuthParts = {
  tokens: Tokens;
  appTokens: AppTokens;
  authorizations: Authorizations;
  devices: Devices;
  exchanges: Exchanges;
  registration: Registration;
  clientProofs: ClientProofs;
};

type GrantType = (typeof grantTypes)[number];
type Answer = (parts: OAuthParts, form: OAuthForm, client: ClientRow, actor: Actor) => Promise<IssuedToken>;

/** Each grant, and whether its client has a secret. Token exchange stands apart: there the token itself is the proof. */
const grants: Record<Exclude<GrantType, typeof exchangeType>, { proof: ProofKind; answer: Answer }> = {
  client_credentials: {
    proof: "any",
    answer: ({ tokens }, form, client, actor) => tokens.issueTo(client, askedOf(form), actor),
  },
  authorization_code: {
    proof: "any",
    answer({ authorizations }, form, client, actor) {
      const redemption = {
        code: required(form, "code"),
        redirectUri: form.get("redirect_uri"),
        verifier: required(form, "code_verifier"),
        asked: { ...unboundOf(form), scope: null },
      };
      return authorizations.redeem(client, redemption, actor);
    },
  },
  refresh_token: {
    proof: "any",
    answer: ({ appTokens }, form, client, actor) =>
      appTokens.refresh(client, required(form, "refresh_token"), unboundOf(form), actor),
  },
  "urn:ietf:params:oauth:grant-type:device_code": {
    proof: "any",
    answer: ({ devices }, form, client, actor) =>
      devices.redeem(client, required(form, "device_code"), { ...unboundOf(form), scope: null }, actor),
  },
};

const exchangeType = "urn:ietf:params:oauth:grant-type:token-exchange";

/** RFC 6749 section 5, RFC 8628 section 3.4, RFC 8693 section 2. */
export async function answerToken(parts: OAuthParts, request: Request): Promise<Response> {
  const { form, call, authorization } = await read(request);
  const type = required(form, "grant_type");
  if (type === exchangeType) return noStore(await exchange(parts, form, call, authorization));
  const grant = Object.hasOwn(grants, type) ? grants[type as keyof typeof grants] : undefined;
  if (grant === undefined) {
    const known = grantTypes.join(", ");
    throw oauthRefusal("unsupported_grant_type", `This gateway has the grant types: ${known}.`);
  }
  const proof = clientProof(authorization, form);
  const issued = await parts.clientProofs.run(proof, grant.proof, originOf(call), (client, actor) =>
    grant.answer(parts, form, client, actor),
  );
  return noStore(issued);
}

function exchange(
  { exchanges, clientProofs }: OAuthParts,
  form: OAuthForm,
  call: Call,
  authorization: string | null,
): Promise<IssuedToken> {
  const origin = originOf(call);
  const run = (client: ClientRow | null) => {
    for (const name of ["actor_token", "actor_token_type", "audience"]) {
      if (form.get(name) !== null)
        throw oauthRefusal("invalid_request", `${name} is not supported; name a place with resource.`);
    }
    const [given, wanted] = [required(form, "subject_token_type"), form.get("requested_token_type")];
    if (given !== accessTokenType || (wanted !== null && wanted !== accessTokenType)) {
      throw oauthRefusal("invalid_request", `The token types are ${accessTokenType}.`);
    }
    return exchanges.exchange(required(form, "subject_token"), client?.id ?? null, askedOf(form), origin);
  };
  const proof = optionalProof(authorization, form);
  if (proof !== null) return clientProofs.run(proof, "any", origin, run);
  return clientProofs.counted({ ...strangerFrom(origin), kind: "client" }, () => run(null));
}

/** RFC 7009. */
export async function answerRevoke(
  { tokens, clientProofs }: OAuthParts,
  request: Request,
): Promise<Response> {
  const { form, call, authorization } = await read(request);
  const token = required(form, "token");
  const proof = clientProof(authorization, form);
  await clientProofs.run(proof, "any", originOf(call), (client, actor) =>
    tokens.revoke(client, token, actor),
  );
  return noStore({});
}

/** RFC 7662: for clients with a secret alone, so that nobody can try out strings here. */
export async function answerIntrospect(
  { tokens, clientProofs }: OAuthParts,
  request: Request,
): Promise<Response> {
  const { form, call, authorization } = await read(request);
  const token = required(form, "token");
  const proof = clientProof(authorization, form);
  return noStore(
    await clientProofs.run(proof, "secret", originOf(call), (client) => tokens.introspect(client, token)),
  );
}

/** RFC 8628 section 3.1. */
export async function answerDeviceAuthorization(
  { devices, clientProofs }: OAuthParts,
  request: Request,
): Promise<Response> {
  const { form, call, authorization } = await read(request);
  const proof = clientProof(authorization, form);
  const started = await clientProofs.run(proof, "any", originOf(call), (client, actor) =>
    devices.start(client, askedOf(form), actor),
  );
  return noStore(started);
}

/** RFC 7591 section 3. */
export async function answerRegister({ registration }: OAuthParts, request: Request): Promise<Response> {
  const asked = await readJson(request, registrationForm).catch((error: unknown) => {
    const failure = asFailure(error);
    if (failure.status >= 500) throw error;
    const where = failure.errors?.map(({ path, message }) => `${path}: ${message}`).join(" ");
    const about = failure.errors?.every(({ path }) => path.startsWith("redirect_uris"));
    throw oauthRefusal(
      about ? "invalid_redirect_uri" : "invalid_client_metadata",
      printable(where ?? failure.message),
    );
  });
  return noStore(await registration.register(asked, originOf(callOf(request))), 201);
}

async function read(request: Request) {
  const call = callOf(request);
  const form = await readForm(request, call.url);
  return { form, call, authorization: request.headers.get("authorization") };
}

/** An app is told that it is not narrowed like this, so that it never runs with more than it believes. */
function unboundOf(form: OAuthForm): Asked {
  const asked = askedOf(form);
  if (asked.projectId === null && asked.sessionId === null) return asked;
  throw oauthRefusal(
    "invalid_request",
    "project_id and session_id bind a client's own token; bind an app's by token exchange.",
  );
}

function askedOf(form: OAuthForm): Asked {
  const ttl = form.get("ttl_seconds");
  return {
    scope: form.get("scope"),
    projectId: form.get("project_id"),
    sessionId: form.get("session_id"),
    ttlSeconds: ttl === null ? null : /^\d{1,6}$/.test(ttl) ? Number(ttl) : Number.NaN,
    resources: form.resources,
  };
}

/** RFC 6749 section 5.2 allows printable ASCII without quotes and backslashes in a description. */
const printable = (text: string): string =>
  text.replaceAll('"', "'").replace(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "?");

/** RFC 6749 section 5.1. */
const noStore = (body: object, status = 200): Response =>
  Response.json(body, { status, headers: { "cache-control": "no-store", pragma: "no-cache" } });
