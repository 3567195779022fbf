/**
 * People with passwords, their browsers and their apps, without the work that is meant to slow strangers down: a real
 * password takes a core for 150 ms, these are hashed with the least that argon2id allows.
 */
import type { Database } from "../db/database.ts";
import { desktopClientId } from "../features/tokens/clients.ts";
import { appTokenId } from "../features/tokens/lineage.ts";
import type { Identity } from "../wiring-identity.ts";
import { localActor } from "./desk.ts";

type Place = Identity & { readonly database: Database };
type Role = "admin" | "user";
export type Member = { readonly id: string; readonly email: string; readonly password: string };

const usualPassword = "correct horse battery";
const origin = { ip: null, userAgent: null, requestId: null };

/** `cost`: passes over 64 MB, about 80 ms each on a quiet core; none by default. */
export async function newMember(
  { users, database }: Place,
  {
    role = "user",
    password = usualPassword,
    cost = 0,
  }: { role?: Role; password?: string; cost?: number } = {},
): Promise<Member> {
  const email = `${crypto.randomUUID()}@example.com`;
  const { id } = await users.create(localActor, { email, role });
  const work = cost === 0 ? { memoryCost: 8, timeCost: 1 } : { memoryCost: 65_536, timeCost: cost };
  const hash = await Bun.password.hash(password, { algorithm: "argon2id", ...work });
  await database.sql`update users set password_hash = ${hash} where id = ${id}`;
  return { id, email, password };
}

/** A new browser of the person's: its cookie. */
export async function newCookie({ signIns, database }: Place, userId: string): Promise<string> {
  const { cookie } = await database.transaction((tx) =>
    signIns.openBrowser(tx, { userId, method: "password", origin }),
  );
  return cookie;
}

/** An app that the person let do this much: its access token and its sign-in. */
export async function newApp(
  { signIns, database, accessTokens }: Place,
  person: { id: string; role?: Role },
  asked: { scope: string; aud: string; now?: number },
): Promise<{ token: string; signInId: string }> {
  const { scope, aud, now = Date.now() } = asked;
  const granted = { scopes: scope.split(" "), audiences: [aud] };
  const app = { userId: person.id, clientId: desktopClientId, method: "code", granted, origin } as const;
  const signInId = await database.transaction((tx) =>
    signIns.openApp(tx, { ...app, expiresAt: new Date(now + 3_600_000) }),
  );
  const token = await accessTokens.sign({
    sub: person.id,
    client_id: desktopClientId,
    role: person.role ?? "user",
    scope,
    aud: [aud],
    projectId: null,
    sessionId: null,
    ttlSeconds: 900,
    jti: appTokenId(signInId, crypto.randomUUID()),
    issuedAt: Math.floor(now / 1_000),
  });
  return { token, signInId };
}

/** What the answer puts into the browser's cookie; "" when it takes it away, null when it says nothing of it. */
export const cookieOf = (response: Response): string | null =>
  /^(?:__Host-)?specgate=([^;]*);/.exec(response.headers.getSetCookie()[0] ?? "")?.[1] ?? null;

/** A JSON body. */
export const json = (
  method: string,
  body: unknown,
  headers: Record<string, string> = {},
): RequestInit & { headers: Record<string, string> } => ({
  method,
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(body),
});

export const bodyOf = async <Body>(answer: Response | Promise<Response>): Promise<Body> =>
  (await (await answer).json()) as Body;

/** What `/api/v1/me` says. */
export type Me = {
  principal: { id: string; role: string; email: string; expires_at: string; project_id: string | null };
  scopes: string[];
  memberships: { project_id: string; name: string; role: string }[];
};

/** Status and code, by which refusals are told apart. */
export async function refusalOf(answer: Response | Promise<Response>): Promise<string> {
  const response = await answer;
  const { code = "" } = (await response.json().catch(() => ({}))) as { code?: string };
  return `${response.status} ${code}`.trim();
}
