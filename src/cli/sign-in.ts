/**
 * The credential that a client command sends: `--token`, else SPECGATE_TOKEN, else the sign-in kept for the gateway.
 *
 * A kept one that is about to end is refreshed first, by one command at a time. The new pair is on disk before it is
 * used: a refresh token is good once, and to spend a lost one would end the whole sign-in.
 */
import { secretText } from "../platform/config-env.ts";
import { clientVariables } from "../platform/config-variables.ts";
import { Failure } from "../platform/failure.ts";
import { Secret } from "../platform/secret.ts";
import { type Credential, type Credentials, type Kept, openCredentials } from "./credentials.ts";
import { type GatewayFlags, gatewayUrl } from "./sign-in-gateway.ts";
import {
  type Answer,
  type AuthorizationServer,
  credentialOf,
  discover,
  grantedOf,
  isUnreachable,
  post,
} from "./sign-in-oauth.ts";
import { Misuse, type World } from "./world.ts";

export type SignedIn = {
  /** The gateway's address; the issuer's spelling when the credential is a kept one. */
  readonly url: string;
  readonly token: Secret;
  /** False for one that was given to this command. */
  readonly isKept: boolean;
  /** What a kept one was granted, separated by spaces; empty for one that was given: that is the gateway's to know. */
  readonly scope: string;
};

const spareMs = 60_000;

/** `refused` is a kept token that the gateway took no longer: it is refreshed, however fresh it looks. */
export async function signedIn(world: World, flags: GatewayFlags, refused?: Secret): Promise<SignedIn> {
  const url = gatewayUrl(world, flags);
  const given = givenToken(world, flags);
  if (given !== null) return { url, token: given, isKept: false, scope: "" };
  const { issuer, credential } = await keptSignIn(world, url, refused);
  const { access_token, scope } = credential;
  return { url: issuer, token: new Secret(access_token), isKept: true, scope };
}

/** What `specgate login` keeps for this gateway, good for a minute at least. */
export async function keptSignIn(world: World, url: string, refused?: Secret): Promise<Kept> {
  const credentials = openCredentials(world);
  const kept = credentials.find(url);
  if (kept === undefined) throw notSignedIn(url, credentials.list());
  const { issuer } = kept;
  const isGood = (one: Credential) => isFresh(one) && one.access_token !== refused?.reveal();
  const credential = isGood(kept.credential) ? kept.credential : await refresh(credentials, issuer, isGood);
  return { issuer, credential };
}

/** Null when none was given; throws a misuse when it can be none. */
export function givenToken(world: World, flags: GatewayFlags): Secret | null {
  const name = flags.token === undefined ? "SPECGATE_TOKEN" : "--token";
  const text =
    flags.token === undefined ? secretText(world.env, name, world.cwd) : { value: flags.token.trim() };
  if (text === null) return null;
  const parsed = "wrong" in text ? text : parseToken(text.value);
  if ("wrong" in parsed) throw new Misuse([`${name}: ${parsed.wrong}`]);
  return parsed.value;
}

const parseToken = (text: string) =>
  text === ""
    ? { wrong: "empty; give it a value or leave it out" }
    : clientVariables.SPECGATE_TOKEN.parse(text);

const isFresh = ({ expires_at }: Credential): boolean => Date.parse(expires_at) - Date.now() >= spareMs;

const refresh = (
  credentials: Credentials,
  issuer: string,
  isGood: (one: Credential) => boolean,
): Promise<Credential> =>
  credentials.change(async ({ find, keep, remove }) => {
    const before = find(issuer)?.credential;
    if (before === undefined) throw notSignedIn(issuer, []);
    // Another command was faster.
    if (isGood(before)) return before;
    const { refresh_token: token, client_id } = before;
    const answer: Answer =
      token === null ? cannotBeRenewed : await askTwice(await discover(issuer), token, client_id);
    if ("refused" in answer && answer.refused === "invalid_grant") {
      // Kept, it would stand in the way of a new one.
      remove(issuer);
      throw hasEnded(issuer);
    }
    const after = credentialOf(grantedOf(answer), undefined, before);
    keep(issuer, after);
    return after;
  });

const cannotBeRenewed: Answer = { refused: "invalid_grant", description: "" };

/** An answer that was lost on its way is given again to the same request for 10 s; after that the pair is gone. */
async function askTwice(
  server: AuthorizationServer,
  refresh_token: string,
  client_id: string,
): Promise<Answer> {
  const ask = () => post(server.token_endpoint, { grant_type: "refresh_token", refresh_token, client_id });
  try {
    return await ask();
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    return await ask();
  }
}

function notSignedIn(url: string, elsewhere: string[]): Failure {
  const hint =
    elsewhere.length === 0 ? "" : ` (you are signed in to ${elsewhere.join(", ")}: name it with --url)`;
  return unauthenticated(`You are not signed in to ${url}; run specgate login${loginOf(url)}${hint}`);
}

const hasEnded = (url: string): Failure =>
  unauthenticated(`Your sign-in has ended; run specgate login${loginOf(url)}`);

const loginOf = (url: string): string =>
  url === clientVariables.SPECGATE_URL.default ? "" : ` --url ${url}`;

const unauthenticated = (message: string): Failure => new Failure("unauthenticated", "signed_out", message);
