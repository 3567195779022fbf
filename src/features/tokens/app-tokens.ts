/**
 * The tokens of an app that a person signed in to: the first pair, and each next one (RFC 6749 section 6).
 *
 * A refresh token is used once. Its successor is a keyed hash of it, so that the same request, sent again within ten
 * seconds because an answer got lost, gets the very same pair from any instance and nothing is stored in clear. A token
 * used after that, or one older still, is in two hands: the sign-in ends, with everything that came from it.
 */
import type { Actor, Origin, RecordAudit } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { sha256 } from "../../platform/digest.ts";
import { ceiling, narrow, type Scope } from "../../platform/scopes.ts";
import type { AccessTokens } from "./access-token.ts";
import type { Addresses } from "./audiences.ts";
import type { IssuedToken } from "./contract.ts";
import { oauthRefusal } from "./form.ts";
import { type Asked, decideNarrower, type Granted } from "./grant.ts";
import { appTokenId } from "./lineage.ts";
import { mintRefreshToken, refreshTokenOf } from "./minting.ts";
import type { Revocations } from "./revocations.ts";
import type { ClientRow, UserRow } from "./store.ts";
import { insertRefreshToken, lockRefresh, type RefreshHolder, useRefreshToken } from "./store-apps.ts";

const refreshLifeMs = 30 * 86_400_000;
const graceMs = 10_000;

/** Where sign-ins are kept: elsewhere, with those of browsers. */
export type AppSignIns = {
  openApp(
    tx: Db,
    signIn: {
      userId: string;
      clientId: string;
      method: "code" | "device";
      granted: Granted;
      origin: Origin;
      expiresAt: Date;
    },
  ): Promise<string>;
  /** Seen in use, and good until then. */
  prolong(tx: Db, id: string, expiresAt: Date): Promise<void>;
  /** With its revocation; false when it had ended. Announce after the commit. */
  end(tx: Db, id: string): Promise<boolean>;
};

export type AppTokensNeeds = {
  database: Database;
  record: RecordAudit;
  revocations: Revocations;
  accessTokens: AccessTokens;
  signIns: AppSignIns;
  addresses: () => Addresses;
  clock: Clock;
  /** The first derives successors; all are tried to find one again. The same on every instance. */
  refreshKeys: readonly Uint8Array[];
};

export type Consent = {
  user: UserRow;
  client: ClientRow;
  method: "code" | "device";
  granted: Granted;
  asked: Asked;
  actor: Actor;
};

type Pair = { refreshToken: string; tokenId: string; issuedAt: number };
type Refreshed = { kind: "pair"; issued: IssuedToken } | { kind: "refused"; why: string };

export class AppTokens {
  readonly #needs: AppTokensNeeds;

  constructor(needs: AppTokensNeeds) {
    this.#needs = needs;
  }

  /** What a person just consented to, as the first pair. Throws `invalid_scope`, `invalid_target`, `invalid_request`. */
  async first(
    tx: Db,
    { user, client, method, granted, asked, actor }: Consent,
  ): Promise<{ issued: IssuedToken; signInId: string }> {
    const now = this.#needs.clock.now();
    const expiresAt = new Date(now + refreshLifeMs);
    const signInId = await this.#needs.signIns.openApp(tx, {
      userId: user.id,
      clientId: client.id,
      method,
      granted,
      origin: actor,
      expiresAt,
    });
    const refreshToken = mintRefreshToken();
    await insertRefreshToken(tx, { hash: sha256(refreshToken), signInId, number: 1, expiresAt });
    const tokenId = appTokenId(signInId, crypto.randomUUID());
    const pair = { refreshToken, tokenId, issuedAt: Math.floor(now / 1000) };
    const issued = await this.#sign({ user, client, granted }, asked, pair);
    await this.#record(tx, "token.issued", actor, { user, signInId, pair, issued });
    return { issued, signInId };
  }

  /** Throws `invalid_grant`, `invalid_scope`, `invalid_target`, `invalid_request`. */
  async refresh(client: ClientRow, token: string, asked: Asked, actor: Actor): Promise<IssuedToken> {
    const outcome = await this.#needs.database.transaction((tx) =>
      this.#refresh(tx, { client, token, asked, actor }),
    );
    if (outcome.kind === "pair") return outcome.issued;
    // A reuse has ended the sign-in: the word goes out after the commit.
    await this.#needs.revocations.announce();
    throw oauthRefusal("invalid_grant", outcome.why);
  }

  async #refresh(
    tx: Db,
    { client, token, asked, actor }: { client: ClientRow; token: string; asked: Asked; actor: Actor },
  ): Promise<Refreshed> {
    const holder = await lockRefresh(tx, sha256(token));
    const now = this.#needs.clock.now();
    if (holder === undefined || holder.client.id !== client.id) return refuse(unknownToken);
    if (!isAlive(holder, now)) return refuse(endedSignIn);
    const requestHash = hashOf(asked);
    if (holder.token.number === holder.head.number) return this.#rotate(tx, holder, token, asked, actor);
    const { usedAt } = holder.token;
    const isParent = holder.token.number === holder.head.number - 1;
    const isFresh = isParent && usedAt !== null && now - usedAt.getTime() <= graceMs;
    if (!isFresh) return this.#reused(tx, holder, actor);
    if (!equal(holder.token.requestHash, requestHash)) return refuse(anotherRequest);
    return this.#again(holder, token, asked);
  }

  async #rotate(
    tx: Db,
    holder: RefreshHolder,
    token: string,
    asked: Asked,
    actor: Actor,
  ): Promise<Refreshed> {
    const { signIns, clock, refreshKeys } = this.#needs;
    const now = clock.now();
    const pair = pairOf(holder, token, refreshKeys[0] ?? noKey(), Math.floor(now / 1000));
    const { user, client, signIn } = holder;
    // Before anything is written: a mistyped scope must not cost the sign-in.
    const issued = await this.#sign({ user, client, granted: grantedBy(holder) }, asked, pair);
    const expiresAt = new Date(now + refreshLifeMs);
    await useRefreshToken(tx, holder.token.hash, { at: new Date(now), requestHash: hashOf(asked) });
    const number = holder.head.number + 1;
    await insertRefreshToken(tx, { hash: sha256(pair.refreshToken), signInId: signIn.id, number, expiresAt });
    await signIns.prolong(tx, signIn.id, expiresAt);
    await this.#record(tx, "token.refreshed", actor, { user, signInId: signIn.id, pair, issued });
    return { kind: "pair", issued };
  }

  /** The pair that the same request got a moment ago. */
  async #again(holder: RefreshHolder, token: string, asked: Asked): Promise<Refreshed> {
    const issuedAt = Math.floor((holder.token.usedAt?.getTime() ?? 0) / 1000);
    const pair = this.#needs.refreshKeys
      .map((key) => pairOf(holder, token, key, issuedAt))
      .find(({ refreshToken }) => equal(holder.head.hash, sha256(refreshToken)));
    if (pair === undefined) return refuse(endedSignIn);
    const { user, client } = holder;
    return {
      kind: "pair",
      issued: await this.#sign({ user, client, granted: grantedBy(holder) }, asked, pair),
    };
  }

  async #reused(tx: Db, { signIn, user, client }: RefreshHolder, actor: Actor): Promise<Refreshed> {
    await this.#needs.signIns.end(tx, signIn.id);
    await this.#needs.record(tx, {
      actor,
      action: "token.reused",
      subject: signIn.id,
      outcome: "refused",
      details: { user_id: user.id, client_id: client.id },
    });
    return refuse("This refresh token was used before. Its sign-in has ended; sign in again.");
  }

  async #sign(
    to: { user: UserRow; client: ClientRow; granted: Granted },
    asked: Asked,
    { refreshToken, tokenId, issuedAt }: Pair,
  ): Promise<IssuedToken> {
    const { user, client } = to;
    const allowed = narrow(client.scopes, ceiling({ kind: "user", role: user.role }));
    const granted = { scopes: narrow(to.granted.scopes, allowed), audiences: to.granted.audiences };
    const decision = decideNarrower(granted, asked, this.#needs.addresses());
    if (!decision.ok) throw oauthRefusal(decision.code, decision.why);
    const { scopes, audiences, ttlSeconds } = decision.value;
    const scope = scopes.join(" ");
    const token = await this.#needs.accessTokens.sign({
      sub: user.id,
      client_id: client.id,
      role: user.role,
      scope,
      aud: audiences,
      projectId: null,
      sessionId: null,
      ttlSeconds,
      jti: tokenId,
      issuedAt,
    });
    return {
      access_token: token,
      token_type: "Bearer",
      expires_in: ttlSeconds,
      refresh_token: refreshToken,
      scope,
    };
  }

  async #record(
    tx: Db,
    action: "token.issued" | "token.refreshed",
    actor: Actor,
    { user, signInId, pair, issued }: { user: UserRow; signInId: string; pair: Pair; issued: IssuedToken },
  ): Promise<void> {
    const details = { jti: pair.tokenId, scope: issued.scope, sign_in: signInId, user_id: user.id };
    await this.#needs.record(tx, { actor, action, subject: actor.clientId, details });
  }
}

const grantedBy = ({ signIn }: RefreshHolder): Granted => ({
  scopes: signIn.scopes as Scope[],
  audiences: signIn.audiences,
});

const isAlive = ({ token, signIn, user, client }: RefreshHolder, now: number): boolean =>
  signIn.endedAt === null &&
  user.disabledAt === null &&
  client.revokedAt === null &&
  token.expiresAt.getTime() > now;

function pairOf({ signIn }: RefreshHolder, parent: string, key: Uint8Array, issuedAt: number): Pair {
  const derive = (what: string) => new Bun.CryptoHasher("sha256", key).update(`${what} ${parent}`).digest();
  const own = Buffer.from(derive("access token")).toString("hex").slice(0, 32);
  return {
    refreshToken: refreshTokenOf(derive("refresh token")),
    tokenId: appTokenId(signIn.id, own),
    issuedAt,
  };
}

/** Two requests are the same when they ask for the same. */
const hashOf = ({ scope, resources, ttlSeconds }: Asked): Uint8Array =>
  sha256(JSON.stringify([scope, resources, ttlSeconds]));

const equal = (one: Uint8Array | null, other: Uint8Array): boolean =>
  one !== null && one.length === other.length && crypto.timingSafeEqual(one, other);

const refuse = (why: string): Refreshed => ({ kind: "refused", why });
const unknownToken = "This refresh token is not one of this client's.";
const endedSignIn = "This sign-in has ended. Sign in again.";
const anotherRequest = "This refresh token was used a moment ago for another request. Use the new one.";

function noKey(): never {
  throw new Error("no key for refresh tokens was given");
}
