/** The MCP SDK's own client, which is given a URL that answers 401 and has to find everything else by itself. */
import {
  type AuthOptions,
  auth,
  extractWWWAuthenticateParams,
  type OAuthClientMetadata,
  type OAuthClientProvider,
  type OAuthDiscoveryState,
  type StoredOAuthClientInformation,
  type StoredOAuthTokens,
} from "@modelcontextprotocol/client";
import { type Check, expect, expectEqual } from "./checks.ts";
import type { Place } from "./identity.ts";
import { allow, personBehind } from "./people.ts";
import type { Browser } from "./people-browser.ts";

const callback = "http://127.0.0.1:49154/callback";

export async function mcpClient(check: Check, place: Place): Promise<void> {
  const { gateway, browser, admin } = place;
  const addresses = { "its URL": gateway.url, "its alias": `http://localhost:${gateway.port}` };
  for (const [name, origin] of Object.entries(addresses)) {
    await check(
      `the MCP SDK's client: from a 401 at ${name} to a person's token and its refresh`,
      async () => {
        const serverUrl = `${origin}/api/v1/me`;
        const options = { serverUrl, ...(await challenged(serverUrl)) };
        const app = await signInto(browser, options);
        const before = app.kept;
        expectEqual(await personBehind(origin, before.access_token), admin.email, "the person");
        expectEqual(await auth(app, options), "AUTHORIZED", "the refresh");
        expect(app.kept.refresh_token !== before.refresh_token, "the refresh token is the old one");
        expectEqual(await personBehind(origin, app.kept.access_token), admin.email, "the person afterwards");
        expectEqual(audienceOf(app.kept.access_token), `${gateway.url}/api/v1`, "the token's audience");
      },
    );
  }
  await check("the MCP SDK's client: a token for /mcp is for /mcp alone", async () => {
    const serverUrl = `${gateway.url}/mcp`;
    const { access_token } = (await signInto(browser, { serverUrl })).kept;
    expectEqual(audienceOf(access_token), serverUrl, "the token's audience");
    const headers = { authorization: `Bearer ${access_token}` };
    expectEqual(
      (await fetch(`${gateway.url}/api/v1/me`, { headers })).status,
      401,
      "status on another plane",
    );
  });
}

/** Discovery, registration, consent and the code, all by the SDK. */
export async function signInto(
  browser: Browser,
  options: AuthOptions,
  consent: Parameters<typeof allow>[2] = {},
): Promise<App> {
  const app = new App();
  expectEqual(await auth(app, options), "REDIRECT", "the first step");
  const answered = (await allow(browser, app.asked, consent)).searchParams;
  const answer = { authorizationCode: answered.get("code") ?? "", iss: answered.get("iss") ?? "" };
  expectEqual(await auth(app, { ...options, ...answer }), "AUTHORIZED", "the second step");
  return app;
}

async function challenged(url: string): Promise<{ resourceMetadataUrl: URL; scope?: string }> {
  const response = await fetch(url);
  expectEqual(response.status, 401, "status without a credential");
  const { resourceMetadataUrl, scope } = extractWWWAuthenticateParams(response);
  if (resourceMetadataUrl === undefined) throw new Error("the challenge names no metadata");
  return { resourceMetadataUrl, ...(scope === undefined ? {} : { scope }) };
}

const audienceOf = (token: string): unknown =>
  (JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as { aud: unknown }).aud;

/** What an app keeps between the SDK's steps; nothing of it is known before. */
export class App implements OAuthClientProvider {
  readonly redirectUrl = callback;
  readonly clientMetadata: OAuthClientMetadata = { client_name: "An MCP client", redirect_uris: [callback] };
  #client: StoredOAuthClientInformation | undefined;
  #tokens: StoredOAuthTokens | undefined;
  #asked: URL | undefined;
  #verifier = "";
  #discovered: OAuthDiscoveryState | undefined;

  get asked(): URL {
    if (this.#asked === undefined) throw new Error("the SDK did not send anybody to the browser");
    return this.#asked;
  }

  get kept(): StoredOAuthTokens {
    if (this.#tokens === undefined) throw new Error("the SDK kept no tokens");
    return this.#tokens;
  }

  clientInformation = () => this.#client;
  saveClientInformation(client: StoredOAuthClientInformation): void {
    this.#client = client;
  }
  tokens = () => this.#tokens;
  saveTokens(tokens: StoredOAuthTokens): void {
    this.#tokens = tokens;
  }
  redirectToAuthorization(url: URL): void {
    this.#asked = url;
  }
  codeVerifier = () => this.#verifier;
  saveCodeVerifier(verifier: string): void {
    this.#verifier = verifier;
  }
  discoveryState = () => this.#discovered;
  saveDiscoveryState(state: OAuthDiscoveryState): void {
    this.#discovered = state;
  }
}
