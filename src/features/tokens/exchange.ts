/**
 * Token exchange (RFC 8693): a narrower token for a helper, made from one's own.
 *
 * The subject token itself is the proof; it only ever narrows: scopes, audiences, project and session are within the
 * parent's, its life within what is left of the parent's, and whatever ends the parent ends it too (lineage.ts).
 */
import type { Actor, Origin, RecordAudit } from "../../db/audit-entry.ts";
import type { Database } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { isId } from "../../platform/ids.ts";
import type { Principal } from "../../platform/principal.ts";
import { rightsIn, type Scope } from "../../platform/scopes.ts";
import type { AccessTokens, Claims } from "./access-token.ts";
import type { Addresses } from "./audiences.ts";
import type { IssuedToken } from "./contract.ts";
import { oauthRefusal } from "./form.ts";
import { type Asked, decideNarrower } from "./grant.ts";
import { childTokenId } from "./lineage.ts";
import { requireSession } from "./sessions.ts";
import { findProject } from "./store.ts";

export const accessTokenType = "urn:ietf:params:oauth:token-type:access_token";

export type ExchangesNeeds = {
  database: Database;
  record: RecordAudit;
  accessTokens: AccessTokens;
  /** Who holds a token that stands now; null when it does not. */
  examine: (bearer: string) => Promise<Principal | null>;
  addresses: () => Addresses;
  clock: Clock;
};

export class Exchanges {
  readonly #needs: ExchangesNeeds;

  constructor(needs: ExchangesNeeds) {
    this.#needs = needs;
  }

  /** `clientId`: who authenticated, if anybody did. Throws `invalid_request`, `invalid_scope`, `invalid_target`. */
  async exchange(
    subjectToken: string,
    clientId: string | null,
    asked: Asked,
    origin: Origin,
  ): Promise<IssuedToken> {
    const { accessTokens, examine, addresses, clock } = this.#needs;
    const claims = await accessTokens.verify(subjectToken);
    const principal = claims === null ? null : await examine(subjectToken);
    if (claims === null || principal === null) throw invalidSubject();
    if (clientId !== null && clientId !== claims.client_id) throw foreignSubject();
    const binding = bindingOf(principal, asked);
    await this.#requireOpen(binding);
    const granted = { scopes: scopesIn(principal, binding), audiences: claims.aud };
    const decision = decideNarrower(granted, asked, addresses());
    if (!decision.ok) throw oauthRefusal(decision.code, decision.why);
    const jti = childTokenId(claims.jti);
    if (jti === null) throw oauthRefusal("invalid_request", "This token was exchanged too often already.");
    const issuedAt = Math.floor(clock.now() / 1000);
    const ttlSeconds = Math.min(decision.value.ttlSeconds, claims.exp - issuedAt);
    const { scopes, audiences } = decision.value;
    const token = await accessTokens.sign({
      sub: claims.sub,
      client_id: claims.client_id,
      role: claims.role,
      scope: scopes.join(" "),
      aud: audiences,
      ...binding,
      ttlSeconds,
      jti,
      issuedAt,
    });
    await this.#record({ principal, claims, jti, scopes, binding, ttlSeconds }, origin);
    return {
      access_token: token,
      issued_token_type: accessTokenType,
      token_type: "Bearer",
      expires_in: ttlSeconds,
      scope: scopes.join(" "),
    };
  }

  /** An administrator has rights in every project, and so in one that is archived or was never there. */
  async #requireOpen({ projectId, sessionId }: Binding): Promise<void> {
    if (projectId === null) return;
    await requireSession(this.#needs.database.db, { projectId, sessionId });
    const project = await findProject(this.#needs.database.db, projectId);
    if (project === undefined || project.archivedAt !== null) throw foreignProject();
  }

  async #record(
    made: {
      principal: Principal;
      claims: Claims;
      jti: string;
      scopes: Scope[];
      binding: Binding;
      ttlSeconds: number;
    },
    origin: Origin,
  ): Promise<void> {
    const { principal, claims, jti, scopes, binding, ttlSeconds } = made;
    const actor: Actor = { id: principal.id, kind: principal.kind, clientId: principal.clientId, ...origin };
    const details = { jti, parent: claims.jti, scope: scopes.join(" "), ttl_seconds: ttlSeconds };
    await this.#needs.database.transaction((tx) =>
      this.#needs.record(tx, {
        actor,
        action: "token.exchanged",
        subject: claims.client_id,
        ...binding,
        details,
      }),
    );
  }
}

type Binding = { projectId: string | null; sessionId: string | null };

/** What the role in the project leaves, so that a token never says more than it can do. */
function scopesIn(principal: Principal, { projectId }: Binding): Scope[] {
  const rights = projectId === null ? principal : rightsIn(principal, projectId);
  return [...(rights?.scopes ?? [])];
}

/** A binding may be added, never changed. */
function bindingOf(principal: Principal, { projectId, sessionId }: Asked): Binding {
  const project = projectId ?? principal.projectId;
  if (project !== null && (!isId("prj", project) || rightsIn(principal, project) === null)) {
    throw foreignProject();
  }
  if (principal.kind === "client" && project !== principal.projectId) {
    throw oauthRefusal("invalid_request", "project_id is not the client's project.");
  }
  if (sessionId !== null && !isId("ses", sessionId)) {
    throw oauthRefusal("invalid_request", "session_id must be `ses_` and 32 hexadecimal digits.");
  }
  if (sessionId !== null && project === null) {
    throw oauthRefusal("invalid_request", "session_id needs a token that is bound to a project.");
  }
  if (sessionId !== null && principal.sessionId !== null && sessionId !== principal.sessionId) {
    throw oauthRefusal("invalid_request", "session_id is not the session that this token is bound to.");
  }
  return { projectId: project, sessionId: sessionId ?? principal.sessionId };
}

/** RFC 8693 section 2.2.2. */
const invalidSubject = () =>
  oauthRefusal("invalid_request", "subject_token is no access token of this gateway that is valid now.");
const foreignProject = () =>
  oauthRefusal("invalid_request", "project_id is no project that this token may act in.");
const foreignSubject = () =>
  oauthRefusal("invalid_request", "subject_token was issued to another client than the one that asks.");
