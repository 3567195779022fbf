/**
 * The gateway's OAuth endpoints as a public client meets them: found by RFC 8414, spoken to in forms.
 *
 * Nothing is sent to another origin than the issuer's, and no redirect is followed: either would hand a code or a
 * refresh token to whoever wrote the answer. A refusal is returned, because polling and refreshing live on it.
 */
import { z } from "zod";
import { rfc3339 } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import type { Credential } from "./credentials.ts";
import { isSameGateway, unreachable } from "./sign-in-gateway.ts";

/** Always there, with no secret, as RFC 8252 has it. */
export const clientId = "specgate-desktop";

const requestTimeoutMs = 10_000;

const serverForm = z.object({
  issuer: z.string(),
  token_endpoint: z.string(),
  authorization_endpoint: z.string().optional(),
  device_authorization_endpoint: z.string().optional(),
  revocation_endpoint: z.string().optional(),
});

export type AuthorizationServer = z.infer<typeof serverForm>;

const headerText = z.string().regex(/^[\x21-\x7e]+$/);
const tokensForm = z.object({
  access_token: headerText,
  token_type: z.string().regex(/^bearer$/i),
  expires_in: z.number().positive(),
  scope: z.string().optional(),
  refresh_token: headerText.optional(),
});

export type Granted = z.infer<typeof tokensForm>;
export type Refused = { readonly refused: string; readonly description: string };
export type Answer = { readonly granted: unknown } | Refused;

export async function discover(url: string): Promise<AuthorizationServer> {
  const response = await send(url, `${url}/.well-known/oauth-authorization-server`, {});
  const parsed = serverForm.safeParse(await jsonOf(response));
  if (response.status !== 200 || !parsed.success)
    throw strange(`${url} does not answer as a SpecGate gateway with sign-in (status ${response.status})`);
  const server = parsed.data;
  // RFC 8414 section 3.3: else one gateway could answer in another's name.
  if (!isSameGateway(server.issuer, url))
    throw strange(
      `${url} says that it is ${server.issuer}; if you trust that, name it: --url ${server.issuer}`,
    );
  for (const [name, endpoint] of Object.entries(server)) {
    if (endpoint !== undefined && !isAt(server.issuer, endpoint))
      throw strange(`${url} names a ${name} elsewhere; nothing was sent there`);
  }
  return server;
}

/** True for what lies at the issuer's own origin. */
export const isAt = (issuer: string, url: string): boolean =>
  URL.canParse(issuer) && URL.canParse(url) && new URL(url).origin === new URL(issuer).origin;

/** Throws `unreachable` for what may pass: no answer, 429 and 5xx. */
export async function post(endpoint: string, form: Record<string, string>): Promise<Answer> {
  const { origin } = new URL(endpoint);
  const response = await send(origin, endpoint, { method: "POST", body: new URLSearchParams(form) });
  if (response.status === 429 || response.status >= 500)
    throw new Failure("unavailable", "unreachable", `${origin} answered ${response.status}; try again`);
  const body = await jsonOf(response);
  if (response.status === 200) return { granted: body };
  const refusal = z.object({ error: z.string(), error_description: z.string().default("") }).safeParse(body);
  if (!refusal.success) throw strange(`${origin} answered ${response.status} without a reason`);
  return { refused: refusal.data.error, description: refusal.data.error_description };
}

export function grantedOf(answer: Answer): Granted {
  if ("refused" in answer) throw refusal("The gateway refused the sign-in", answer);
  const parsed = tokensForm.safeParse(answer.granted);
  if (!parsed.success) throw strange("The gateway's answer holds no usable token");
  return parsed.data;
}

/** `before` is the credential that was refreshed; RFC 6749 section 6 lets an answer leave out what stays the same. */
export function credentialOf(granted: Granted, asked: string | undefined, before?: Credential): Credential {
  const now = Date.now();
  return {
    ...before,
    access_token: granted.access_token,
    expires_at: rfc3339(now + granted.expires_in * 1_000),
    refresh_token: granted.refresh_token ?? before?.refresh_token ?? null,
    scope: granted.scope ?? asked ?? before?.scope ?? "",
    client_id: before?.client_id ?? clientId,
    signed_in_at: before?.signed_in_at ?? rfc3339(now),
  };
}

export const refusal = (what: string, { refused, description }: Refused): Failure =>
  strange(`${what}: ${description === "" ? refused : `${description} (${refused})`}`);

export const strange = (message: string): Failure => new Failure("upstream", "sign_in_failed", message);

export const isUnreachable = (error: unknown): boolean =>
  error instanceof Failure && error.code === "unreachable";

async function send(url: string, address: string, init: RequestInit): Promise<Response> {
  const signal = AbortSignal.timeout(requestTimeoutMs);
  const headers = { accept: "application/json" };
  try {
    return await fetch(address, { ...init, headers, signal, redirect: "manual" });
  } catch (cause) {
    throw unreachable(url, cause);
  }
}

/** Undefined for what is not JSON: a proxy's page, say. */
async function jsonOf(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch {
    return undefined;
  }
}
