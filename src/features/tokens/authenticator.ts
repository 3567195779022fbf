/**
 * From a credential, a bearer or the console's cookie, to the one who holds it.
 *
 * First sight: checksum or signature, then one look-up. After that the answer comes from memory, at once, for 15 minutes
 * at most, never past expiry, and only until a revocation is heard of. A credential in use is looked up again each minute
 * in the background, so that a database that goes away finds it verified a moment ago. While the database is away,
 * what was verified in the last 15 minutes goes on and everything else is 503 `auth_unavailable`.
 * Refused credentials are not remembered: nobody can fill memory with them.
 */
import type { Database, Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { sha256 } from "../../platform/digest.ts";
import { asFailure, Failure } from "../../platform/failure.ts";
import { unauthenticated } from "../../platform/guard.ts";
import type { Authenticate, AuthenticateCookie, Plane, Principal } from "../../platform/principal.ts";
import { type AccessTokens, type Claims, tokenCharsMax } from "./access-token.ts";
import { planesOf } from "./audiences.ts";
import { endsWith } from "./lineage.ts";
import { isKey, looksLikeKey } from "./minting.ts";
import { type CachedPrincipal, PrincipalCache } from "./principal-cache.ts";
import { type Standing, standingOfCookie, standingOfKey, standingOfToken } from "./standing.ts";
import { type CookieHolder, findKeyHolder, findTokenHolder, findUserWithMemberships } from "./store.ts";

/** Finds the sign-in behind a console cookie and notes that it is in use; undefined when it has ended. */
export type TouchSignIn = (
  db: Db,
  cookieHash: Uint8Array,
) => Promise<{ signInId: string; userId: string; expiresAt: Date } | undefined>;

export type AuthenticatorNeeds = {
  database: Pick<Database, "db">;
  touchSignIn: TouchSignIn;
  accessTokens: AccessTokens;
  clock: Clock;
  publicUrl: () => string;
};

export type Authenticator = {
  readonly authenticate: Authenticate;
  readonly authenticateCookie: AuthenticateCookie;
  /** As `authenticate`, for whatever plane, and never from memory; null when it does not stand. */
  examine(bearer: string): Promise<Principal | null>;
  /** Forgets everything of this user, client, key or token. */
  forget(subject: string): void;
  forgetAll(): void;
};

const cacheEntriesMax = 10_000;
const trustedMs = 15 * 60_000;
const recheckMs = 60_000;
const retryMs = 5_000;
const lookUpsMax = 3;

/** What a credential turned out to be before anyone asked the database. */
type Presented =
  | { kind: "key"; hash: Uint8Array }
  | { kind: "token"; claims: Claims }
  | { kind: "cookie"; hash: Uint8Array };

/** Keeps cookies apart from bearers in memory: neither is ever taken for the other, because no bearer holds a space. */
const cookieKey = "cookie ";

export function createAuthenticator(needs: AuthenticatorNeeds): Authenticator {
  const lookUp = new LookUp(needs);
  return {
    authenticate(bearer, plane) {
      if (bearer.includes(" ")) throw garbage();
      return lookUp.cached(bearer, plane) ?? lookUp.first(bearer, plane);
    },
    authenticateCookie(cookie) {
      // Whatever is not spelled like one is not worth a question to the database.
      if (!/^sgc_[\w-]{43}$/.test(cookie)) return null;
      const credential = cookieKey + cookie;
      const cached = lookUp.cached(credential, "control");
      return cached ?? lookUp.first(credential, "control").catch(nullWhenUnauthenticated);
    },
    examine: (bearer) =>
      bearer.includes(" ") ? Promise.resolve(null) : lookUp.anew(bearer).catch(nullWhenUnauthenticated),
    // `usr_… prj_…` is a changed membership: whatever acts for the person is looked up again.
    forget: (subject) => lookUp.cache.dropSubject(subject.split(" ", 1)[0] ?? subject),
    forgetAll: () => lookUp.cache.dropAll(),
  };
}

class LookUp {
  readonly cache = new PrincipalCache(cacheEntriesMax);
  readonly #needs: AuthenticatorNeeds;
  /** A thousand first calls with one token are one look-up. */
  readonly #pending = new Map<string, Promise<CachedPrincipal>>();

  constructor(needs: AuthenticatorNeeds) {
    this.#needs = needs;
  }

  cached(bearer: string, plane: Plane): Principal | undefined {
    const entry = this.cache.find(bearer);
    if (entry === undefined) return undefined;
    const now = this.#needs.clock.now();
    if (now >= entry.principal.expiresAt || now - entry.verifiedAt >= trustedMs) {
      this.cache.drop(bearer);
      return undefined;
    }
    if (now >= entry.recheckAt) this.#recheck(bearer, entry, now);
    return forPlane(entry, plane);
  }

  async anew(bearer: string): Promise<Principal> {
    if (bearer.length > tokenCharsMax) throw garbage();
    return (await this.#ask(await this.#present(bearer))).principal;
  }

  async first(bearer: string, plane: Plane): Promise<Principal> {
    if (bearer.length > tokenCharsMax) throw garbage();
    const pending = this.#pending.get(bearer) ?? this.#begin(bearer);
    return forPlane(await pending, plane);
  }

  #begin(bearer: string): Promise<CachedPrincipal> {
    const pending = this.#verify(bearer).finally(() => this.#pending.delete(bearer));
    this.#pending.set(bearer, pending);
    return pending;
  }

  async #verify(bearer: string): Promise<CachedPrincipal> {
    const presented = await this.#present(bearer);
    for (let attempt = 1; ; attempt++) {
      const { generation } = this.cache;
      const entry = await this.#ask(presented);
      // Something was revoked while the database was answering: the answer may be older than that, so ask again.
      const settled = generation === this.cache.generation;
      if (settled) this.cache.put(bearer, entry);
      if (settled || attempt === lookUpsMax) return entry;
    }
  }

  async #present(bearer: string): Promise<Presented> {
    if (bearer.startsWith(cookieKey)) return { kind: "cookie", hash: sha256(bearer.slice(cookieKey.length)) };
    if (looksLikeKey(bearer)) {
      if (!isKey(bearer))
        throw unauthenticated("This API key is mistyped or cut: its checksum does not fit.");
      return { kind: "key", hash: sha256(bearer) };
    }
    const claims = await this.#needs.accessTokens.verify(bearer);
    if (claims === null) throw garbage();
    return { kind: "token", claims };
  }

  async #ask(presented: Presented): Promise<CachedPrincipal> {
    const verifiedAt = this.#needs.clock.now();
    const standing = await this.#standing(presented, verifiedAt);
    if (!standing.ok) throw unauthenticated(reasons[standing.why]);
    const audiences = presented.kind === "token" ? presented.claims.aud : [this.#needs.publicUrl()];
    return {
      principal: standing.principal,
      planes: planesOf(audiences, this.#needs.publicUrl()),
      verifiedAt,
      recheckAt: verifiedAt + recheckMs,
      used: false,
    };
  }

  async #standing(presented: Presented, now: number): Promise<Standing> {
    const { db } = this.#needs.database;
    try {
      if (presented.kind === "key") return standingOfKey(await findKeyHolder(db, presented.hash), now);
      if (presented.kind === "cookie") return standingOfCookie(await this.#cookieHolder(presented.hash));
      const { claims } = presented;
      const token = {
        clientId: claims.client_id,
        subject: claims.sub,
        projectId: claims.project_id ?? null,
        endsWith: endsWith(claims.jti),
      };
      return standingOfToken(claims, await findTokenHolder(db, token));
    } catch (error) {
      if (asFailure(error).kind !== "unavailable") throw error;
      throw authUnavailable(error);
    }
  }

  async #cookieHolder(hash: Uint8Array): Promise<CookieHolder | undefined> {
    const { db } = this.#needs.database;
    const signIn = await this.#needs.touchSignIn(db, hash);
    if (signIn === undefined) return undefined;
    const person = await findUserWithMemberships(db, signIn.userId);
    return person === undefined ? undefined : { ...signIn, ...person };
  }

  /** The same object stays in use for as long as nothing about it changed: limits and streams hang on it. */
  #recheck(bearer: string, entry: CachedPrincipal, now: number): void {
    entry.recheckAt = now + retryMs;
    const { generation } = this.cache;
    const asked = this.#present(bearer).then((presented) => this.#ask(presented));
    asked.then(
      (fresh) => {
        if (this.cache.find(bearer) !== entry || this.cache.generation !== generation) return;
        if (!sameRights(fresh.principal, entry.principal)) entry.principal = fresh.principal;
        entry.verifiedAt = fresh.verifiedAt;
        entry.recheckAt = fresh.recheckAt;
      },
      (error: unknown) => {
        if (asFailure(error).kind === "unauthenticated") this.cache.drop(bearer);
      },
    );
  }
}

function forPlane(entry: CachedPrincipal, plane: Plane): Principal {
  if (!entry.planes.has(plane)) {
    throw unauthenticated("This access token was issued for another resource of this gateway (its `aud`).");
  }
  return entry.principal;
}

const sameRights = (one: Principal, other: Principal): boolean => Bun.deepEquals(one, other);

function nullWhenUnauthenticated(error: unknown): null {
  if (asFailure(error).kind === "unauthenticated") return null;
  throw error;
}

const reasons = {
  unknown: "This credential is not one of this gateway's.",
  revoked: "This credential is revoked.",
  expired: "This credential has expired.",
  owner_gone: "Whoever this credential acts for is disabled or revoked.",
  project_archived: "The project that this credential is bound to is archived.",
  not_a_member: "Whoever this credential acts for has no part in its project any more.",
} as const;

const garbage = (): Failure =>
  unauthenticated(
    "This is neither an API key nor a valid access token of this gateway. Tokens end; get a new one.",
  );

const authUnavailable = (cause: unknown): Failure =>
  new Failure(
    "unavailable",
    "auth_unavailable",
    "The database is away, and this credential was not verified here in the last 15 minutes. Try again.",
    { cause, retryAfterSeconds: 1 },
  );
