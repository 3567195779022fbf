/**
 * Signing in through the browser of this machine: authorization code, PKCE S256, a loopback port (RFC 8252).
 *
 * No `resource` is sent: the token is for every plane of the gateway.
 */
import { Failure } from "../platform/failure.ts";
import { openCallback } from "./sign-in-callback.ts";
import {
  type AuthorizationServer,
  clientId,
  type Granted,
  grantedOf,
  post,
  strange,
} from "./sign-in-oauth.ts";
import type { World } from "./world.ts";

const waitMs = 5 * 60_000;

export async function signInByBrowser(
  world: World,
  server: AuthorizationServer,
  scope: string | undefined,
): Promise<Granted> {
  const state = randomText();
  const verifier = randomText();
  const callback = openCallback({ issuer: server.issuer, state });
  try {
    const { redirectUri } = callback;
    show(world, authorizationUrl(server, { redirectUri, state, verifier, scope }));
    const code = await Promise.race([callback.code, tooLate(world)]);
    const form = { client_id: clientId, code, redirect_uri: redirectUri, code_verifier: verifier };
    const granted = grantedOf(
      await post(server.token_endpoint, { grant_type: "authorization_code", ...form }),
    );
    await callback.close("signed in");
    return granted;
  } catch (error) {
    await callback.close("failed");
    throw error;
  }
}

type Attempt = { redirectUri: string; state: string; verifier: string; scope: string | undefined };

function authorizationUrl(server: AuthorizationServer, attempt: Attempt): string {
  if (server.authorization_endpoint === undefined)
    throw strange(`${server.issuer} offers no sign-in through a browser`);
  const url = new URL(server.authorization_endpoint);
  const query = {
    response_type: "code",
    client_id: clientId,
    redirect_uri: attempt.redirectUri,
    ...(attempt.scope === undefined ? {} : { scope: attempt.scope }),
    state: attempt.state,
    code_challenge: new Bun.CryptoHasher("sha256").update(attempt.verifier).digest("base64url"),
    code_challenge_method: "S256",
  };
  for (const [name, value] of Object.entries(query)) url.searchParams.append(name, value);
  return url.href;
}

function show(world: World, url: string): void {
  const opened = world.openBrowser(url);
  const words = opened
    ? "Your browser opens to sign you in. If it does not, open this address:"
    : "Open this address in a browser on this machine to sign in:";
  world.stderr(
    `${words}\n\n  ${url}\n\nNo browser here? Use specgate login --device. Ctrl+C ends the wait.\n`,
  );
}

async function tooLate(world: World): Promise<never> {
  await world.sleep(waitMs);
  throw new Failure(
    "upstream_timeout",
    "sign_in_timeout",
    "Nobody signed in within 5 minutes; run specgate login again",
  );
}

/** 256 bits, as RFC 7636 section 7.1 advises. */
const randomText = (): string =>
  Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
