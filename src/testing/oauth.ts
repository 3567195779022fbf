/**
 * Who meets in an OAuth flow: a person at a browser, signed in without a password because checking one takes a core's
 * time, and a public app that asks with PKCE as RFC 8252 has it.
 */
import type { Database } from "../db/database.ts";
import type { IssuedToken, StartedDevice } from "../features/tokens/contract.ts";
import type { Identity } from "../wiring-identity.ts";
import { testDatabase } from "./cluster.ts";
import { type Desk, deskUrl, localActor, movableClock, openDesk } from "./desk.ts";
import { newCookie } from "./people.ts";

export type Send = Desk["send"];
type Place = Identity & { readonly database: Database; readonly send: Send };
type Fields = Record<string, string | readonly string[]>;

/** A desk whose clock can be moved, and which hears each request from another address. */
export async function openOAuth() {
  const clock = movableClock();
  const desk = await openDesk((await testDatabase()).database, clock);
  return { ...desk, clock, send: elsewhere(desk.send) };
}

/** Each request comes from an address of its own, because failures are counted by address. */
export function elsewhere(send: Send): Send {
  let sent = 0;
  return (path, init = {}, origin) => {
    sent++;
    const headers = new Headers(init.headers);
    if (!headers.has("x-forwarded-for"))
      headers.set("x-forwarded-for", `10.${sent >> 16}.${(sent >> 8) & 255}.${sent & 255}`);
    return send(path, { ...init, headers }, origin);
  };
}

export type Browser = {
  readonly id: string;
  readonly email: string;
  readonly cookie: string;
  get(path: string): Promise<Response>;
  /** Sends a form of the gateway's own page. */
  post(path: string, fields: Fields): Promise<Response>;
};

/** A new person at a browser. */
export async function newPerson(place: Place, role: "admin" | "user" = "user"): Promise<Browser> {
  const email = `${crypto.randomUUID()}@example.com`;
  return browserOf(place, await place.users.create(localActor, { email, role }));
}

/** Another browser of the same person. */
export async function browserOf(
  place: Place,
  { id, email }: { id: string; email: string },
): Promise<Browser> {
  const { send } = place;
  const cookie = await newCookie(place, id);
  const headers = { cookie: `specgate=${cookie}`, "sec-fetch-site": "same-origin" };
  return {
    id,
    email,
    cookie,
    get: (path) => send(path, { headers }),
    post: (path, fields) => send(path, { method: "POST", headers, body: formOf(fields) }),
  };
}

const formOf = (fields: Fields): URLSearchParams =>
  new URLSearchParams(
    Object.entries(fields).flatMap(([name, values]) =>
      [values].flat().map((value): [string, string] => [name, value]),
    ),
  );

export const challengeOf = (verifier: string): string =>
  new Bun.CryptoHasher("sha256").update(verifier).digest("base64url");

/** What came back from a consent; `verifier` is the one that its challenge was made of. */
export type Code = { code: string; verifier: string; location: URL };
export type Pair = IssuedToken & { refresh_token: string };
export type App = ReturnType<typeof appOf>;

export function appOf(
  send: Send,
  clientId = "specgate-desktop",
  redirectUri = "http://127.0.0.1:49152/callback",
) {
  const post = (path: string, fields: Fields) =>
    send(path, { method: "POST", body: formOf({ client_id: clientId, ...fields }) });
  const token = (fields: Fields) => post("/oauth/token", fields);
  const app = {
    clientId,
    redirectUri,
    post,
    token,
    /** A good request, a new one each time, with these parameters put in place of its own. */
    asking(changes: Fields = {}): { params: URLSearchParams; verifier: string } {
      const verifier = crypto.randomUUID() + crypto.randomUUID();
      const params = formOf({
        response_type: "code",
        client_id: clientId,
        redirect_uri: redirectUri,
        scope: "llm:chat usage:read",
        state: crypto.randomUUID(),
        code_challenge: challengeOf(verifier),
        code_challenge_method: "S256",
        ...changes,
      });
      return { params, verifier };
    },
    /** The ticket of the page on which the person decides. */
    async ticket(browser: Browser, params: URLSearchParams): Promise<string> {
      const { headers } = await browser.get(`/oauth/authorize?${params}`);
      const page = new URL(headers.get("location") ?? "no page", deskUrl);
      return page.searchParams.get("ticket") ?? `no ticket but ${page}`;
    },
    /** The person ticks all that was asked for, or these. */
    async code(browser: Browser, changes: Fields = {}, ticked?: readonly string[]): Promise<Code> {
      const { params, verifier } = app.asking(changes);
      const scope = ticked ?? params.get("scope")?.split(" ") ?? [];
      const ticket = await app.ticket(browser, params);
      const { headers } = await browser.post("/oauth/consent", { ticket, decision: "allow", scope });
      const location = new URL(headers.get("location") ?? "no location");
      return { code: location.searchParams.get("code") ?? "", verifier, location };
    },
    redeem: ({ code, verifier }: Code, fields: Fields = {}) =>
      token({
        grant_type: "authorization_code",
        code,
        redirect_uri: redirectUri,
        code_verifier: verifier,
        ...fields,
      }),
    async signIn(browser: Browser, changes: Fields = {}, ticked?: readonly string[]): Promise<Pair> {
      return granted(await app.redeem(await app.code(browser, changes, ticked)));
    },
    refresh: (refreshToken: string, fields: Fields = {}) =>
      token({ grant_type: "refresh_token", refresh_token: refreshToken, ...fields }),
    startDevice: async (fields: Fields = {}): Promise<StartedDevice> =>
      granted(await post("/oauth/device_authorization", { scope: "llm:chat usage:read", ...fields })),
    poll: (deviceCode: string, fields: Fields = {}) =>
      token({
        grant_type: "urn:ietf:params:oauth:grant-type:device_code",
        device_code: deviceCode,
        ...fields,
      }),
    revoke: (revoked: string) => post("/oauth/revoke", { token: revoked }),
  };
  return app;
}

/** The ticket of the page that a person meets after typing the code of a device. */
export async function deviceTicket(browser: Browser, userCode: string): Promise<string> {
  const page = await (await browser.post("/device", { user_code: userCode })).text();
  return /name="ticket" value="(sgt_\w+)"/.exec(page)?.[1] ?? page;
}

/** The person ticks these, or says no to all. */
export async function decideDevice(
  browser: Browser,
  userCode: string,
  ticked: readonly string[] | null = ["llm:chat", "usage:read"],
): Promise<Response> {
  const ticket = await deviceTicket(browser, userCode);
  const decision = ticked === null ? "deny" : "allow";
  return browser.post("/device", { ticket, decision, scope: ticked ?? [] });
}

export const exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange";
export const accessTokenType = "urn:ietf:params:oauth:token-type:access_token";

/** The form that makes a narrower token of this one. */
export const exchanging = (subjectToken: string, fields: Fields = {}): URLSearchParams =>
  formOf({
    grant_type: exchangeGrant,
    subject_token: subjectToken,
    subject_token_type: accessTokenType,
    ...fields,
  });

/** The body of a good answer; throws what a refusal says. */
export async function granted<Answer = Pair>(response: Response | Promise<Response>): Promise<Answer> {
  const answer = await response;
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Answer;
}

export const claimsOf = (token: string): Record<string, unknown> =>
  JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());

/** Milliseconds until all of these are refused: word of what ended them takes a moment. */
export async function refusedAfter(send: Send, ...tokens: string[]): Promise<number> {
  const from = performance.now();
  for (const token of tokens) {
    const headers = { authorization: `Bearer ${token}` };
    while ((await send("/v1/door", { headers })).status !== 401) {
      if (performance.now() - from > 5_000) throw new Error("it still works");
      await Bun.sleep(1);
    }
  }
  return performance.now() - from;
}
