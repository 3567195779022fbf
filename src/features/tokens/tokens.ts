/**
 * Issues access tokens, to clients that prove themselves over HTTP and to whoever sits at the machine's own shell, and
 * takes back and explains any token to whom it belongs.
 *
 * Every token leaves an audit entry, and no token leaves without one.
 */
import type { Actor, RecordAudit } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { sha256 } from "../../platform/digest.ts";
import { type Failure, notFound } from "../../platform/failure.ts";
import type { Principal } from "../../platform/principal.ts";
import type { AccessTokens } from "./access-token.ts";
import type { AppSignIns } from "./app-tokens.ts";
import type { Addresses } from "./audiences.ts";
import type { Introspection, IssuedToken } from "./contract.ts";
import { oauthRefusal } from "./form.ts";
import { type Asked, decideGrant } from "./grant.ts";
import { clientTokenId } from "./lineage.ts";
import { looksLikeRefreshToken } from "./minting.ts";
import type { Revocations } from "./revocations.ts";
import { requireSession } from "./sessions.ts";
import { type ClientRow, findClient, findProject } from "./store.ts";
import { lockRefresh } from "./store-apps.ts";

export type TokensNeeds = {
  database: Database;
  record: RecordAudit;
  revocations: Revocations;
  accessTokens: AccessTokens;
  signIns: Pick<AppSignIns, "end">;
  /** Who holds a token that stands now; null when it does not. */
  examine: (bearer: string) => Promise<Principal | null>;
  addresses: () => Addresses;
  clock: Clock;
};

export class Tokens {
  readonly #needs: TokensNeeds;

  constructor(needs: TokensNeeds) {
    this.#needs = needs;
  }

  /** Without a secret: for a local command. Throws as `issueTo` does, and `not_found`. */
  async issue(actor: Actor, clientId: string, asked: Asked): Promise<IssuedToken> {
    const client = await findClient(this.#needs.database.db, clientId);
    if (client === undefined) throw notFound(`There is no client ${clientId}.`);
    if (client.revokedAt !== null) throw oauthRefusal("unauthorized_client", `${clientId} is revoked.`);
    return this.issueTo(client, asked, actor);
  }

  /**
   * The client_credentials grant (RFC 6749 section 4.4), for a client that has proved itself. Throws
   * `unauthorized_client`, `invalid_scope`, `invalid_request`, `invalid_target`.
   */
  async issueTo(client: ClientRow, asked: Asked, actor: Actor): Promise<IssuedToken> {
    if (client.kind === "desktop") {
      throw oauthRefusal(
        "unauthorized_client",
        `${client.id} is a desktop client: it acts for a person who signs in.`,
      );
    }
    const decision = decideGrant(client, asked, this.#needs.addresses());
    if (!decision.ok) throw oauthRefusal(decision.code, decision.why);
    const { scopes, projectId, sessionId, ttlSeconds, audiences } = decision.value;
    const scope = scopes.join(" ");
    const jti = clientTokenId();
    const token = await this.#needs.accessTokens.sign({
      sub: client.id,
      client_id: client.id,
      role: "runner",
      scope,
      aud: audiences,
      projectId,
      sessionId,
      ttlSeconds,
      jti,
      issuedAt: Math.floor(this.#needs.clock.now() / 1000),
    });
    await this.#needs.database.transaction(async (tx) => {
      if (projectId !== null && (await findProject(tx, projectId))?.archivedAt !== null) throw archived();
      await requireSession(tx, { projectId, sessionId });
      await this.#needs.record(tx, {
        actor,
        action: "token.issued",
        subject: client.id,
        projectId,
        sessionId,
        details: { jti, scope, audiences, ttl_seconds: ttlSeconds },
      });
    });
    return { access_token: token, token_type: "Bearer", expires_in: ttlSeconds, scope };
  }

  /**
   * RFC 7009: a token of this client stops at once, a refresh token with everything that came from its sign-in. A token
   * that is not this client's, or none at all, is no error.
   */
  async revoke(client: ClientRow, token: string, actor: Actor): Promise<void> {
    const subject = await this.#needs.database.transaction(async (tx) => {
      const ended = looksLikeRefreshToken(token)
        ? await this.#endSignIn(tx, client, token)
        : await this.#endToken(tx, client, token);
      if (ended === null) return null;
      const { projectId } = client;
      await this.#needs.record(tx, { actor, action: "token.revoked", subject: ended, projectId });
      return ended;
    });
    if (subject !== null) await this.#needs.revocations.announce();
  }

  /**
   * RFC 7662, for clients with a secret: their own tokens and keys, and those of their project. About all others it says
   * what it says about garbage.
   */
  async introspect(client: ClientRow, token: string): Promise<Introspection> {
    const principal = await this.#needs.examine(token);
    const own = principal?.clientId === client.id;
    const ofProject = principal?.projectId !== null && principal?.projectId === client.projectId;
    if (principal === null || !(own || ofProject)) return { active: false };
    const claims = await this.#needs.accessTokens.verify(token);
    const { publicUrl } = this.#needs.addresses();
    return {
      active: true,
      scope: [...principal.scopes].join(" "),
      ...(principal.clientId === null ? {} : { client_id: principal.clientId }),
      ...(principal.email === null ? {} : { username: principal.email }),
      token_type: "Bearer",
      exp: Math.floor(principal.expiresAt / 1000),
      sub: principal.id,
      aud: claims?.aud ?? [publicUrl],
      iss: publicUrl,
      ...(claims === null ? {} : { jti: claims.jti }),
      ...(principal.projectId === null ? {} : { project_id: principal.projectId }),
      ...(principal.sessionId === null ? {} : { session_id: principal.sessionId }),
    };
  }

  async #endSignIn(tx: Db, client: ClientRow, token: string): Promise<string | null> {
    const holder = await lockRefresh(tx, sha256(token));
    if (holder === undefined || holder.client.id !== client.id) return null;
    return (await this.#needs.signIns.end(tx, holder.signIn.id)) ? holder.signIn.id : null;
  }

  async #endToken(tx: Db, client: ClientRow, token: string): Promise<string | null> {
    const claims = await this.#needs.accessTokens.verify(token);
    if (claims === null || claims.client_id !== client.id) return null;
    // A revoked one again is no news, and no row.
    if ((await this.#needs.examine(token)) === null) return null;
    await this.#needs.revocations.record(tx, claims.jti);
    return claims.jti;
  }
}

const archived = (): Failure => oauthRefusal("invalid_request", "The project of this client is archived.");
