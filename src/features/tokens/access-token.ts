/**
 * Access tokens: JWTs (RFC 9068, `typ: at+jwt`) that this gateway signs for itself with HS256.
 *
 * Only what this file itself could have written is accepted: the exact three header members, a `kid` of ours, one
 * algorithm, canonical base64url, the issuer, an audience of ours, integer times, and a life of an hour at most. A
 * header that names keys, lists critical members or picks another algorithm is refused before any key is touched.
 */
import { jwt } from "@elysiajs/jwt";
import { SignJWT } from "jose";
import { z } from "zod";
import type { Clock } from "../../platform/clock.ts";
import { isId } from "../../platform/ids.ts";
import type { Role } from "../../platform/scopes.ts";
import { allAudiences } from "./audiences.ts";
import { isTokenId, signInOf } from "./lineage.ts";
import type { SigningSecret } from "./secrets.ts";

export const lifeSeconds = { shortest: 60, usual: 900, longest: 3_600 } as const;
const skewSeconds = 30;
/** The longest token this gateway signs is well under this; nothing longer is looked at. */
export const tokenCharsMax = 4_096;

const visible = z.string().regex(/^[\x20-\x7e]+$/);
const claimsForm = z.object({
  iss: z.string(),
  sub: visible,
  aud: z.union([z.string().transform((one) => [one]), z.array(z.string())]),
  client_id: visible,
  scope: z.string(),
  role: z.enum(["admin", "user", "runner"]),
  project_id: z
    .string()
    .refine((id) => isId("prj", id))
    .optional(),
  session_id: z
    .string()
    .refine((id) => isId("ses", id))
    .optional(),
  jti: z.string().refine(isTokenId),
  iat: z.int().positive(),
  nbf: z.int().positive(),
  exp: z.int().positive(),
});
const headerForm = z.strictObject({ alg: z.literal("HS256"), typ: z.literal("at+jwt"), kid: z.string() });

export type Claims = z.infer<typeof claimsForm>;

/** What is decided elsewhere; the issuer is added here. */
export type Grantable = {
  sub: string;
  client_id: string;
  role: Role;
  scope: string;
  aud: readonly string[];
  projectId: string | null;
  sessionId: string | null;
  ttlSeconds: number;
  jti: string;
  /** Seconds since the epoch. */
  issuedAt: number;
};

export type AccessTokens = {
  /** The same grant gives the same token. */
  sign(grant: Grantable): Promise<string>;
  /** Null for everything that is not a token of this gateway, valid now. Says nothing about revocation. */
  verify(token: string): Promise<Claims | null>;
};

type Signer = ReturnType<typeof signerOf>;

export function createAccessTokens(needs: {
  /** The first signs, all verify. */
  secrets: readonly SigningSecret[];
  clock: Clock;
  publicUrl: () => string;
}): AccessTokens {
  const signers = new Map(needs.secrets.map((secret) => [secret.kid, signerOf(secret)]));
  const [first] = needs.secrets;
  if (first === undefined) throw new Error("no signing secret was given");
  return {
    sign: (grant) => signToken(first, grant, needs.publicUrl()),
    async verify(token) {
      const kid = kidOf(token);
      const known = kid === null ? undefined : signers.get(kid);
      return known === undefined ? null : verifyToken(known, token, needs.publicUrl(), needs.clock);
    },
  };
}

function signerOf({ kid, key }: SigningSecret) {
  return jwt({ name: "jwt", secret: key, alg: "HS256", typ: "at+jwt", kid }).decorator.jwt;
}

/** Not by the plugin: it puts its own time into `iat`, and a repeated refresh has to give the very same token. */
function signToken({ kid, key }: SigningSecret, grant: Grantable, issuer: string): Promise<string> {
  const { projectId, sessionId, ttlSeconds, aud, issuedAt, ...claims } = grant;
  const payload = {
    ...claims,
    iss: issuer,
    aud: aud.length === 1 && aud[0] !== undefined ? aud[0] : [...aud],
    ...(projectId === null ? {} : { project_id: projectId }),
    ...(sessionId === null ? {} : { session_id: sessionId }),
    iat: issuedAt,
    nbf: issuedAt,
    exp: issuedAt + ttlSeconds,
  };
  return new SignJWT(payload).setProtectedHeader({ alg: "HS256", typ: "at+jwt", kid }).sign(key);
}

/** The `kid` of a token whose header is one of ours, else null. */
function kidOf(token: string): string | null {
  const parts = token.length > tokenCharsMax ? [] : token.split(".");
  if (parts.length !== 3 || !parts.every(isCanonical)) return null;
  const header = headerForm.safeParse(parseSegment(parts[0] ?? ""));
  return header.success ? header.data.kid : null;
}

async function verifyToken(signer: Signer, token: string, issuer: string, clock: Clock) {
  const now = clock.now();
  const payload: unknown = await signer.verify(token, {
    algorithms: ["HS256"],
    typ: "at+jwt",
    issuer,
    audience: allAudiences(issuer),
    requiredClaims: ["sub", "client_id", "jti", "iat", "nbf", "exp"],
    clockTolerance: skewSeconds,
    currentDate: new Date(now),
  });
  const claims = claimsForm.safeParse(payload);
  if (!claims.success) return null;
  const { exp, nbf } = claims.data;
  // The skew is for clocks that run ahead; an end is an end.
  const lives = exp * 1000 > now && exp > nbf && exp - nbf <= lifeSeconds.longest;
  return lives && isHeldRightly(claims.data) ? claims.data : null;
}

/** A client acts for itself, as a runner; or a person does, with the role of one, from a sign-in to an app. */
function isHeldRightly({ sub, client_id, role, jti, project_id, session_id }: Claims): boolean {
  if (session_id !== undefined && project_id === undefined) return false;
  const isClients = signInOf(jti) === null;
  return role === "runner" ? isClients && sub === client_id : !isClients && isId("usr", sub);
}

/** One spelling for one token: base64url without padding and without stray bits in its last character. */
function isCanonical(segment: string): boolean {
  return segment !== "" && Buffer.from(segment, "base64url").toString("base64url") === segment;
}

function parseSegment(segment: string): unknown {
  try {
    return JSON.parse(Buffer.from(segment, "base64url").toString());
  } catch {
    return null;
  }
}
