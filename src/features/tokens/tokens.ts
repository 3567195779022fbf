/**
 * Issues access tokens, to clients that prove themselves over HTTP and to whoever sits at the machine's own shell.
 *
 * Every token leaves an audit entry, and no token leaves without one. Refused attempts leave one too; it never holds
 * what was sent as a secret, nor an id that is not spelled like a client's (it might be a secret in the wrong field).
 */
import type { Actor, RecordAudit } from "../../db/audit-entry.ts";
import type { Database } from "../../db/database.ts";
import { asFailure, type Failure, notFound } from "../../platform/failure.ts";
import { isId } from "../../platform/ids.ts";
import type { AccessTokens } from "./access-token.ts";
import type { Attempts } from "./attempts.ts";
import type { Addresses } from "./audiences.ts";
import type { IssuedToken } from "./contract.ts";
import { type ClientProof, invalidClient, oauthRefusal } from "./form.ts";
import { type Asked, decideGrant } from "./grant.ts";
import { sha256 } from "./minting.ts";
import type { Revocations } from "./revocations.ts";
import { type ClientRow, findClient, findProject } from "./store.ts";

export type TokensNeeds = {
  database: Database;
  record: RecordAudit;
  revocations: Revocations;
  accessTokens: AccessTokens;
  attempts: Attempts;
  addresses: () => Addresses;
};

/** Where a request came from, for the audit and for counting failures. */
export type Origin = { ip: string | null; userAgent: string | null; requestId: string };

export class Tokens {
  readonly #needs: TokensNeeds;

  constructor(needs: TokensNeeds) {
    this.#needs = needs;
  }

  /**
   * The client_credentials grant (RFC 6749 section 4.4). Throws `invalid_client`, `invalid_scope`, `invalid_request`,
   * `invalid_target`, or 429 after too many failures.
   */
  async grant(proof: ClientProof, asked: Asked, origin: Origin): Promise<IssuedToken> {
    return this.#attempt(proof, origin, async (client, actor) => this.#issue(client, asked, actor));
  }

  /** Without a secret: for a local command. Throws as `grant` does, and `not_found`. */
  async issue(actor: Actor, clientId: string, asked: Asked): Promise<IssuedToken> {
    const client = await findClient(this.#needs.database.db, clientId);
    if (client === undefined) throw notFound(`There is no client ${clientId}.`);
    if (client.revokedAt !== null) throw oauthRefusal("unauthorized_client", `${clientId} is revoked.`);
    if (client.kind === "desktop") {
      throw oauthRefusal(
        "unauthorized_client",
        `${clientId} is a desktop client: it acts for a person who signs in.`,
      );
    }
    return this.#issue(client, asked, actor);
  }

  /** RFC 7009: a token of this client stops at once. A token that is not this client's, or none at all, is no error. */
  async revoke(proof: ClientProof, token: string, origin: Origin): Promise<void> {
    await this.#attempt(proof, origin, async (client, actor) => {
      const claims = await this.#needs.accessTokens.verify(token);
      if (claims === null || claims.client_id !== client.id) return;
      await this.#needs.database.transaction(async (tx) => {
        await this.#needs.revocations.record(tx, claims.jti);
        await this.#needs.record(tx, {
          actor,
          action: "token.revoked",
          subject: claims.jti,
          projectId: client.projectId,
        });
      });
      await this.#needs.revocations.announce();
    });
  }

  async #issue(client: ClientRow, asked: Asked, actor: Actor): Promise<IssuedToken> {
    const decision = decideGrant(client, asked, this.#needs.addresses());
    if (!decision.ok) throw oauthRefusal(decision.code, decision.why);
    const { scopes, projectId, sessionId, ttlSeconds, audiences } = decision.value;
    const scope = scopes.join(" ");
    const { token, jti } = await this.#needs.accessTokens.sign({
      sub: client.id,
      client_id: client.id,
      scope,
      aud: audiences,
      projectId,
      sessionId,
      ttlSeconds,
    });
    await this.#needs.database.transaction(async (tx) => {
      if (projectId !== null && (await findProject(tx, projectId))?.archivedAt !== null) throw archived();
      const details = { jti, scope, audiences, ttl_seconds: ttlSeconds };
      await this.#needs.record(tx, {
        actor,
        action: "token.issued",
        subject: client.id,
        projectId,
        sessionId,
        details,
      });
    });
    return { access_token: token, token_type: "Bearer", expires_in: ttlSeconds, scope };
  }

  async #attempt<T>(
    proof: ClientProof,
    origin: Origin,
    work: (client: ClientRow, actor: Actor) => Promise<T>,
  ): Promise<T> {
    const ip = origin.ip ?? "unknown";
    const actor = actorOf(proof, origin);
    await this.#needs.attempts.check(proof.id, ip);
    try {
      return await work(await this.#prove(proof), actor);
    } catch (error) {
      const failure = asFailure(error);
      if (failure.status >= 500) throw error;
      await this.#needs.attempts.failed(proof.id, ip);
      await this.#recordRefusal(actor, failure);
      throw failure;
    }
  }

  /** The same work and the same answer whether the client exists or not. */
  async #prove(proof: ClientProof): Promise<ClientRow> {
    const client = await findClient(this.#needs.database.db, proof.id);
    const stored = client?.secretHash ?? nobodysHash;
    const equal = crypto.timingSafeEqual(sha256(proof.secret), stored);
    if (client === undefined || !equal || client.secretHash === null || client.revokedAt !== null) {
      throw invalidClient();
    }
    return client;
  }

  async #recordRefusal(actor: Actor, failure: Failure): Promise<void> {
    await this.#needs.database.transaction(async (tx) => {
      await this.#needs.record(tx, {
        actor,
        action: "token.refused",
        subject: actor.clientId,
        outcome: "refused",
        details: { error: failure.code },
      });
    });
  }
}

const nobodysHash = crypto.getRandomValues(new Uint8Array(32));

function actorOf(proof: ClientProof, origin: Origin): Actor {
  const clientId = isId("cli", proof.id) ? proof.id : null;
  return { id: clientId ?? "anonymous", kind: "client", clientId, ...origin };
}

const archived = (): Failure => oauthRefusal("invalid_request", "The project of this client is archived.");
