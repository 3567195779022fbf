/** Every grant with the package `openid-client`, found by either specification's address, with default options. */
import * as openid from "openid-client";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";
import type { Place } from "./identity.ts";
import { allow, connectDevice, type Person, personBehind } from "./people.ts";
import { Browser } from "./people-browser.ts";

/** The one option: the gateway under test speaks http on loopback. */
const insecure = { execute: [openid.allowInsecureRequests] };
const callback = "http://127.0.0.1:49153/callback";
const tokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange";
const accessTokenType = "urn:ietf:params:oauth:token-type:access_token";

export async function openidClient(check: Check, place: Place): Promise<void> {
  const url = new URL(place.gateway.url);
  let app: openid.Configuration | undefined;
  await check("openid-client discovers the gateway by OpenID Connect's address and by OAuth's", async () => {
    app = await openid.discovery(url, "specgate-desktop", undefined, openid.None(), insecure);
    const byOAuth = { ...insecure, algorithm: "oauth2" } as const;
    const again = await openid.discovery(url, "specgate-desktop", undefined, openid.None(), byOAuth);
    const [one, other] = [app, again].map((config) => JSON.stringify(config.serverMetadata()));
    expectEqual(one, other, "metadata");
  });
  if (app === undefined) return;
  await Promise.all([
    appGrants(check, place, app),
    deviceGrant(check, place, app),
    machineGrant(check, place),
    registration(check, place),
  ]);
}

async function signIn(
  app: openid.Configuration,
  browser: Browser,
  person?: Person,
): ReturnType<typeof openid.authorizationCodeGrant> {
  const pkceCodeVerifier = openid.randomPKCECodeVerifier();
  const expectedState = openid.randomState();
  const url = openid.buildAuthorizationUrl(app, {
    redirect_uri: callback,
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    state: expectedState,
  });
  const answered = await allow(browser, url, person === undefined ? {} : { person });
  return openid.authorizationCodeGrant(app, answered, { pkceCodeVerifier, expectedState });
}

async function appGrants(check: Check, { gateway, admin }: Place, app: openid.Configuration): Promise<void> {
  const me = new URL("/api/v1/me", gateway.url);
  let tokens: openid.TokenEndpointResponse | undefined;
  await check(
    "openid-client: authorization code with PKCE, by a person who has to sign in first",
    async () => {
      tokens = await signIn(app, new Browser(gateway.url), admin);
      const response = await openid.fetchProtectedResource(app, tokens.access_token, me, "GET");
      const { principal } = (await response.json()) as { principal: { email: string } };
      expectEqual([response.status, principal.email], [200, admin.email], "status and person");
    },
  );
  if (tokens === undefined) return;
  const first = tokens;
  await check("openid-client: token exchange narrows", async () => {
    const narrower = await openid.genericGrantRequest(app, tokenExchange, {
      subject_token: first.access_token,
      subject_token_type: accessTokenType,
      scope: "usage:read",
    });
    expectEqual(narrower.scope, "usage:read", "scope");
  });
  await check("openid-client: a refresh gives the next pair, and revoking it ends both", async () => {
    const refreshed = await openid.refreshTokenGrant(app, first.refresh_token ?? "");
    expectEqual(await personBehind(gateway.url, refreshed.access_token), admin.email, "the person");
    await openid.tokenRevocation(app, refreshed.refresh_token ?? "");
    const ask = (): Promise<unknown> =>
      openid.fetchProtectedResource(app, refreshed.access_token, me, "GET").catch((error: unknown) => error);
    const refused = await eventually(ask, (answer) => answer instanceof Error, 1_000);
    expect(refused instanceof openid.WWWAuthenticateChallengeError, `it answers ${String(refused)}`);
    expectEqual(refused.cause[0]?.parameters.error, "invalid_token", "the challenge's error");
  });
}

async function deviceGrant(
  check: Check,
  { gateway, browser, admin }: Place,
  app: openid.Configuration,
): Promise<void> {
  await check("openid-client: the device flow, pending at first", async () => {
    const device = await openid.initiateDeviceAuthorization(app, { scope: "control:read" });
    const polled = openid.pollDeviceAuthorizationGrant(app, device);
    // After the first poll, which finds it pending.
    await Bun.sleep((device.interval ?? 5) * 1_000 + 500);
    await connectDevice(browser, device.verification_uri_complete ?? "");
    const { access_token, scope } = await polled;
    expectEqual(scope, "control:read", "scope");
    expectEqual(await personBehind(gateway.url, access_token), admin.email, "the person");
  });
}

async function machineGrant(check: Check, { gateway, machine }: Place): Promise<void> {
  await check(
    "openid-client: client credentials with no more than id and secret, and introspection",
    async () => {
      const { client_id, client_secret } = machine;
      const config = await openid.discovery(
        new URL(gateway.url),
        client_id,
        client_secret,
        undefined,
        insecure,
      );
      const { access_token } = await openid.clientCredentialsGrant(config, { scope: "usage:read" });
      const { active, sub } = await openid.tokenIntrospection(config, access_token);
      expectEqual([active, sub], [true, client_id], "what introspection says");
      await openid.tokenRevocation(config, access_token);
      expectEqual(
        await openid.tokenIntrospection(config, access_token),
        { active: false },
        "about a revoked one",
      );
    },
  );
}

async function registration(check: Check, { gateway, browser, admin }: Place): Promise<void> {
  await check("openid-client: an app registers itself, and a person signs in to it", async () => {
    const metadata = {
      client_name: "Another app",
      redirect_uris: [callback],
      token_endpoint_auth_method: "none",
    };
    const url = new URL(gateway.url);
    const app = await openid.dynamicClientRegistration(url, metadata, openid.None(), insecure);
    const { access_token } = await signIn(app, browser);
    expectEqual(await personBehind(gateway.url, access_token), admin.email, "the person");
  });
}
