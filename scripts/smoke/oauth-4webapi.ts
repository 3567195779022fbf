/** Every grant with the package `oauth4webapi`, which takes nothing for granted: default options throughout. */
import * as oauth from "oauth4webapi";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";
import type { Place } from "./identity.ts";
import { allow, connectDevice, personBehind } from "./people.ts";
import type { Browser } from "./people-browser.ts";

/** The one option: the gateway under test speaks http on loopback. */
const insecure = { [oauth.allowInsecureRequests]: true };
const desktop: oauth.Client = { client_id: "specgate-desktop" };
const nobody = oauth.None();
const callback = "http://127.0.0.1:49152/callback";
const tokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange";
const accessTokenType = "urn:ietf:params:oauth:token-type:access_token";

export async function oauth4webapi(check: Check, place: Place): Promise<void> {
  let server: oauth.AuthorizationServer | undefined;
  await check("oauth4webapi discovers the gateway from its URL", async () => {
    server = await discover(place.gateway.url);
  });
  if (server === undefined) return;
  await Promise.all([
    appGrants(check, place, server),
    deviceGrant(check, place, server),
    machineGrants(check, place, server),
    registration(check, place, server),
    resources(check, place),
  ]);
}

export async function discover(url: string): Promise<oauth.AuthorizationServer> {
  const issuer = new URL(url);
  const response = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure });
  return oauth.processDiscoveryResponse(issuer, response);
}

/** Authorization code with PKCE: through sign-in and consent in the browser to the first pair of tokens. */
export async function signInApp(
  server: oauth.AuthorizationServer,
  browser: Browser,
  { client = desktop, redirectUri = callback, unticked = [] as string[], scope = "" } = {},
): Promise<oauth.TokenEndpointResponse> {
  const [verifier, state] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState()];
  const url = new URL(server.authorization_endpoint ?? "");
  url.search = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: redirectUri,
    response_type: "code",
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
    ...(scope === "" ? {} : { scope }),
  }).toString();
  const answered = oauth.validateAuthResponse(server, client, await allow(browser, url, { unticked }), state);
  const response = await oauth.authorizationCodeGrantRequest(
    server,
    client,
    nobody,
    answered,
    redirectUri,
    verifier,
    insecure,
  );
  return oauth.processAuthorizationCodeResponse(server, client, response);
}

async function appGrants(
  check: Check,
  { gateway, browser, admin }: Place,
  server: oauth.AuthorizationServer,
): Promise<void> {
  let tokens: oauth.TokenEndpointResponse | undefined;
  await check(
    "oauth4webapi: authorization code with PKCE, and a scope that the person did not tick",
    async () => {
      tokens = await signInApp(server, browser, { unticked: ["llm:chat"] });
      expectEqual(await personBehind(gateway.url, tokens.access_token), admin.email, "the person");
      const scopes = tokens.scope?.split(" ") ?? [];
      expectEqual(
        [scopes.includes("control:read"), scopes.includes("llm:chat")],
        [true, false],
        tokens.scope ?? "",
      );
    },
  );
  if (tokens === undefined) return;
  const first = tokens;
  await check("oauth4webapi: token exchange narrows", async () => {
    const parameters = {
      subject_token: first.access_token,
      subject_token_type: accessTokenType,
      scope: "usage:read",
    };
    const response = await oauth.genericTokenEndpointRequest(
      server,
      desktop,
      nobody,
      tokenExchange,
      parameters,
      insecure,
    );
    const narrower = await oauth.processGenericTokenEndpointResponse(server, desktop, response);
    expectEqual(narrower.scope, "usage:read", "scope");
    expectEqual(await personBehind(gateway.url, narrower.access_token), admin.email, "the person");
  });
  await check("oauth4webapi: a refresh gives the next pair, and revoking it ends both", async () => {
    const refreshed = await refresh(server, first.refresh_token ?? "");
    expect(refreshed.refresh_token !== first.refresh_token, "the refresh token is the old one");
    expectEqual(await personBehind(gateway.url, refreshed.access_token), admin.email, "the person");
    const token = refreshed.refresh_token ?? "";
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(server, desktop, nobody, token, insecure),
    );
    for (const bearer of [first.access_token, refreshed.access_token]) {
      const ask = (): Promise<string> => errorOf(gateway.url, bearer);
      const error = await eventually(ask, (found) => found !== "", 1_000);
      expectEqual(error, "invalid_token", "the challenge's error");
    }
    const refused = await refresh(server, token).catch((error: unknown) => error);
    expect(refused instanceof oauth.ResponseBodyError, `it answers ${String(refused)}`);
    expectEqual(refused.error, "invalid_grant", "error");
  });
}

async function refresh(
  server: oauth.AuthorizationServer,
  token: string,
): Promise<oauth.TokenEndpointResponse> {
  const response = await oauth.refreshTokenGrantRequest(server, desktop, nobody, token, insecure);
  return oauth.processRefreshTokenResponse(server, desktop, response);
}

/** Empty while the token is good. */
async function errorOf(url: string, token: string): Promise<string> {
  const me = new URL("/api/v1/me", url);
  const asked = oauth.protectedResourceRequest(token, "GET", me, undefined, undefined, insecure);
  const answer = await asked.catch((error: unknown) => error);
  if (answer instanceof Response) return "";
  expect(answer instanceof oauth.WWWAuthenticateChallengeError, `it answers ${String(answer)}`);
  return answer.cause[0]?.parameters.error ?? "";
}

async function deviceGrant(
  check: Check,
  { gateway, browser, admin }: Place,
  server: oauth.AuthorizationServer,
): Promise<void> {
  await check("oauth4webapi: the device flow, pending at first", async () => {
    const asked = await oauth.deviceAuthorizationRequest(server, desktop, nobody, {}, insecure);
    const device = await oauth.processDeviceAuthorizationResponse(server, desktop, asked);
    const redeem = async (): Promise<oauth.TokenEndpointResponse> => {
      const response = await oauth.deviceCodeGrantRequest(
        server,
        desktop,
        nobody,
        device.device_code,
        insecure,
      );
      return oauth.processDeviceCodeResponse(server, desktop, response);
    };
    const pending = await redeem().catch((error: unknown) => error);
    expect(pending instanceof oauth.ResponseBodyError, `it answers ${String(pending)}`);
    expectEqual(pending.error, "authorization_pending", "error");
    await connectDevice(browser, device.verification_uri_complete ?? "");
    await Bun.sleep((device.interval ?? 5) * 1_000);
    expectEqual(await personBehind(gateway.url, (await redeem()).access_token), admin.email, "the person");
  });
}

async function machineGrants(
  check: Check,
  { machine }: Place,
  server: oauth.AuthorizationServer,
): Promise<void> {
  const client = { client_id: machine.client_id };
  const proofs = {
    client_secret_basic: oauth.ClientSecretBasic(machine.client_secret),
    client_secret_post: oauth.ClientSecretPost(machine.client_secret),
  };
  for (const [name, proof] of Object.entries(proofs)) {
    await check(`oauth4webapi: client credentials by ${name}, and introspection`, async () => {
      const parameters = { scope: "usage:read" };
      const response = await oauth.clientCredentialsGrantRequest(server, client, proof, parameters, insecure);
      const { access_token, scope } = await oauth.processClientCredentialsResponse(server, client, response);
      expectEqual(scope, "usage:read", "scope");
      const seen = await introspect(server, client, proof, access_token);
      const { active, client_id, sub, iss } = seen;
      const { client_id: id } = client;
      expectEqual([active, client_id, sub, iss], [true, id, id, server.issuer], "what introspection says");
      expectEqual(await introspect(server, client, proof, "garbage"), { active: false }, "about garbage");
    });
  }
}

async function introspect(
  server: oauth.AuthorizationServer,
  client: oauth.Client,
  proof: oauth.ClientAuth,
  token: string,
): Promise<oauth.IntrospectionResponse> {
  const response = await oauth.introspectionRequest(server, client, proof, token, insecure);
  return oauth.processIntrospectionResponse(server, client, response);
}

async function registration(
  check: Check,
  { gateway, browser, admin }: Place,
  server: oauth.AuthorizationServer,
): Promise<void> {
  await check(
    "oauth4webapi: an app registers itself, asks for more than it registered for, and gets that",
    async () => {
      const redirect_uris = ["http://127.0.0.1/back"];
      const metadata = { client_name: "A new app", redirect_uris, scope: "control:read" };
      const response = await oauth.dynamicClientRegistrationRequest(server, metadata, insecure);
      const client = await oauth.processDynamicClientRegistrationResponse(response);
      const asked = { client, redirectUri: "http://127.0.0.1:50123/back", scope: "control:read usage:read" };
      const { access_token, scope } = await signInApp(server, browser, asked);
      expectEqual(scope, "control:read", "scope");
      expectEqual(await personBehind(gateway.url, access_token), admin.email, "the person");
    },
  );
}

/** RFC 9728, for the gateway itself and for each plane under it. */
async function resources(check: Check, { gateway }: Place): Promise<void> {
  await check("oauth4webapi: each plane's metadata leads to the gateway", async () => {
    for (const path of ["", "/mcp", "/v1", "/api/v1"]) {
      const resource = new URL(gateway.url + path);
      const response = await oauth.resourceDiscoveryRequest(resource, insecure);
      const { authorization_servers } = await oauth.processResourceDiscoveryResponse(resource, response);
      expectEqual(authorization_servers, [gateway.url], `the servers of ${path || "/"}`);
    }
  });
}
