/**
 * An identity provider as people meet it: a real one, with one person before its page, who is signed in without being
 * asked. What it answers can be changed on the way out, its keys can be changed, and it can go down and come back.
 */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import Provider from "oidc-provider";

export type Person = { subject: string; email?: string; email_verified?: unknown };
type Answer = Record<string, unknown>;

export type TestIdentityProvider = {
  readonly issuer: string;
  /** Who sits before its page; null: somebody who declines. */
  person: Person | null;
  /** Whether the ID token tells the e-mail address too; otherwise only userinfo does. */
  tellsInToken: boolean;
  /** What becomes of an answer, by its path. */
  change: Record<string, (answer: Answer) => Answer>;
  /** Where a path sends whoever asks for it. */
  redirects: Record<string, string>;
  /** The paths that it was asked for. */
  asked: string[];
  /** Signs an ID token with other claims, or another header or key. */
  forge(idToken: unknown, forgery: Forgery): string;
  /** Signs with a new key from now on; the answer is the one that it gave up. */
  rotate(): Key;
  down(): Promise<void>;
  up(): Promise<void>;
};

export type Forgery = { claims?: Answer; header?: Answer; key?: KeyObject | "none" | string };

export const testClient = { id: "gate", secret: "a client's secret: + % &" } as const;

export async function startIdentityProvider(redirectUri: () => string): Promise<TestIdentityProvider> {
  const server = createServer((request, response) => void answer(request, response));
  let port = 0;
  const up = async () => {
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    port = (server.address() as AddressInfo).port;
  };
  await up();
  let key = newKey();
  let provider: Provider | null = null;
  const idp: TestIdentityProvider = {
    issuer: `http://127.0.0.1:${port}`,
    person: null,
    tellsInToken: false,
    change: {},
    redirects: {},
    asked: [],
    forge: (idToken, forgery) => forge(String(idToken), { key: key.privateKey, ...forgery }),
    rotate() {
      const old = key;
      key = newKey();
      provider = null;
      return old;
    },
    async down() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
    up,
  };
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { pathname } = new URL(request.url ?? "/", idp.issuer);
    idp.asked.push(pathname);
    const elsewhere = idp.redirects[pathname];
    if (elsewhere !== undefined) return response.writeHead(302, { location: elsewhere }).end();
    provider ??= providerOf(idp, key, redirectUri());
    if (!pathname.startsWith("/interaction/")) return provider.callback()(request, response);
    const result =
      idp.person === null ? { error: "access_denied" } : { login: { accountId: idp.person.subject } };
    await provider.interactionFinished(request, response, result);
  };
  return idp;
}

type Key = { kid: string; privateKey: KeyObject };

const newKey = (): Key => ({
  kid: crypto.randomUUID(),
  privateKey: generateKeyPairSync("rsa", { modulusLength: 2_048 }).privateKey,
});

function providerOf(idp: TestIdentityProvider, { kid, privateKey }: Key, redirectUri: string): Provider {
  const provider = new Provider(idp.issuer, {
    jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid, use: "sig", alg: "RS256" }] },
    cookies: { keys: ["a key of the tests"] },
    clients: [{ client_id: testClient.id, client_secret: testClient.secret, redirect_uris: [redirectUri] }],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    conformIdTokenClaims: !idp.tellsInToken,
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    ttl: { AccessToken: 60, IdToken: 60, Interaction: 60, Session: 60, Grant: 60 },
    findAccount: (_: unknown, accountId: string) => {
      const { subject: _person, ...claims } = idp.person ?? { subject: accountId };
      return { accountId, claims: () => ({ ...claims, sub: accountId }) };
    },
    async loadExistingGrant(ctx: { oidc: { client: { clientId: string }; session: { accountId: string } } }) {
      const { client, session } = ctx.oidc;
      const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope("openid email profile");
      await grant.save();
      return grant;
    },
  });
  return provider.use(async (ctx, next) => {
    await next();
    const change = idp.change[ctx.path];
    if (change !== undefined) ctx.body = change(ctx.body as Answer);
  });
}

function forge(idToken: string, { claims, header, key }: Forgery): string {
  const [head = "", body = ""] = idToken.split(".");
  const read = (part: string): Answer => JSON.parse(Buffer.from(part, "base64url").toString());
  const write = (part: Answer) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const signed = `${write({ ...read(head), ...header })}.${write({ ...read(body), ...claims })}`;
  return `${signed}.${signatureOf(signed, key)}`;
}

function signatureOf(signed: string, key: Forgery["key"]): string {
  if (key === undefined || key === "none") return "";
  if (typeof key === "string") return createHmac("sha256", key).update(signed).digest("base64url");
  return sign("sha256", Buffer.from(signed), key).toString("base64url");
}
