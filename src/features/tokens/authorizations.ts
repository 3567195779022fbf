/**
 * The authorization code grant (RFC 6749 section 4.1 with PKCE): an app asks, a person decides, the app redeems.
 *
 * Nothing is given without a click on a page of this gateway, by the browser that was shown it, for this one request. A
 * code lives a minute and is good once; used again it takes back what came of it.
 */
import type { Actor, RecordAudit } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { sha256 } from "../../platform/digest.ts";
import { Failure } from "../../platform/failure.ts";
import type { Principal } from "../../platform/principal.ts";
import { narrow, type Scope } from "../../platform/scopes.ts";
import type { AppSignIns, AppTokens } from "./app-tokens.ts";
import type { Addresses } from "./audiences.ts";
import { type AskedConsent, answerLocation, clientIdOf, judgeRequest } from "./authorize.ts";
import type { IssuedToken } from "./contract.ts";
import { oauthRefusal } from "./form.ts";
import type { Asked } from "./grant.ts";
import { mintAuthorizationCode } from "./minting.ts";
import type { Revocations } from "./revocations.ts";
import { type ClientRow, findClient } from "./store.ts";
import { type CodeRow, insertCode, lockCode, lockPerson, useCode } from "./store-apps.ts";
import { nothingTicked, Tickets } from "./tickets.ts";

export type AuthorizationsNeeds = {
  database: Database;
  record: RecordAudit;
  revocations: Revocations;
  appTokens: AppTokens;
  signIns: Pick<AppSignIns, "end">;
  /** Finds a client, one that is known by its own document (an https `client_id`) included. */
  findApp: (clientId: string) => Promise<ClientRow | undefined>;
  addresses: () => Addresses;
  clock: Clock;
};

/** A person at a browser, whose sign-in a decision is bound to. */
export type Decider = Principal & { readonly signInId: string; readonly userId: string };

export type Redemption = { code: string; redirectUri: string | null; verifier: string; asked: Asked };

const codeLifeMs = 60_000;

export class Authorizations {
  readonly #needs: AuthorizationsNeeds;
  readonly #tickets: Tickets<AskedConsent>;

  constructor(needs: AuthorizationsNeeds) {
    this.#needs = needs;
    this.#tickets = new Tickets("consent", needs);
  }

  /** Throws what a stranger's browser is to see; answers at the redirect address are for `begin`. */
  async check(params: URLSearchParams): Promise<void> {
    const { database, addresses } = this.#needs;
    const id = clientIdOf(params);
    const client = await findClient(database.db, id);
    // No document is fetched because a stranger says so.
    if (client === undefined && id.startsWith("https://")) return;
    judgeRequest(params, client, "user", addresses());
  }

  /** A ticket for the consent page, or where the app is to hear of its mistake. */
  async begin(
    params: URLSearchParams,
    decider: Decider,
  ): Promise<{ ticket: string } | { location: string; client: ClientRow }> {
    const { findApp, addresses } = this.#needs;
    const client = await findApp(clientIdOf(params));
    const person = decider.role === "admin" ? "admin" : "user";
    const judged = judgeRequest(params, client, person, addresses());
    if (!judged.ok) return judged;
    return { ticket: await this.#tickets.issue(decider.signInId, judged.asked) };
  }

  /** What the consent page shows. */
  async get(ticket: string, decider: Decider): Promise<{ asked: AskedConsent; client: ClientRow }> {
    const asked = await this.#tickets.get(decider.signInId, ticket);
    return { asked, client: await this.#client(this.#needs.database.db, asked) };
  }

  /** Where the browser goes. `ticked` beyond what was asked for is no more than what was asked for. */
  async allow(ticket: string, ticked: readonly string[], decider: Decider, actor: Actor): Promise<string> {
    const { database, record, clock, addresses } = this.#needs;
    const code = mintAuthorizationCode();
    const asked = await database.transaction(async (tx) => {
      await lockPerson(tx, decider.userId);
      const taken = await this.#tickets.take(tx, decider.signInId, ticket);
      const client = await this.#client(tx, taken);
      const scopes = narrow(ticked, taken.scopes);
      if (scopes.length === 0) throw nothingTicked();
      await insertCode(tx, {
        hash: sha256(code),
        clientId: client.id,
        userId: decider.userId,
        redirectUri: taken.redirectSent ? taken.redirectUri : null,
        scopes,
        audiences: taken.audiences,
        challenge: taken.challenge,
        expiresAt: new Date(clock.now() + codeLifeMs),
      });
      const details = { scope: scopes.join(" "), audiences: taken.audiences };
      await record(tx, { actor, action: "consent.granted", subject: client.id, details });
      return taken;
    });
    return answerLocation(asked, { code }, addresses());
  }

  async deny(ticket: string, decider: Decider, actor: Actor): Promise<string> {
    const asked = await this.#needs.database.transaction(async (tx) => {
      const taken = await this.#tickets.take(tx, decider.signInId, ticket);
      await this.#needs.record(tx, {
        actor,
        action: "consent.denied",
        subject: taken.clientId,
        outcome: "refused",
      });
      return taken;
    });
    return answerLocation(asked, { error: "access_denied" }, this.#needs.addresses());
  }

  /** Throws `invalid_grant`, and what the first pair may throw. */
  async redeem(client: ClientRow, redemption: Redemption, actor: Actor): Promise<IssuedToken> {
    const outcome = await this.#needs.database.transaction((tx) =>
      this.#redeem(tx, client, redemption, actor),
    );
    if ("access_token" in outcome) return outcome;
    // A second use has ended a sign-in: the word goes out after the commit.
    await this.#needs.revocations.announce();
    throw oauthRefusal("invalid_grant", outcome.why);
  }

  async #redeem(
    tx: Db,
    client: ClientRow,
    redemption: Redemption,
    actor: Actor,
  ): Promise<IssuedToken | { why: string }> {
    const hash = sha256(redemption.code);
    const found = await lockCode(tx, hash);
    const now = this.#needs.clock.now();
    if (found === undefined || found.code.clientId !== client.id) return { why: unknownCode };
    const { code: row, user } = found;
    if (row.usedAt !== null) return this.#usedAgain(tx, row, actor);
    const wrong = whatIsWrong(row, redemption, now);
    if (wrong !== null || user === undefined || user.disabledAt !== null) {
      // Whoever guessed at the verifier has had the one try.
      await useCode(tx, hash, { at: new Date(now), signInId: null });
      return { why: wrong ?? "The person who allowed this is disabled." };
    }
    const { issued, signInId } = await this.#needs.appTokens.first(tx, {
      user,
      client,
      method: "code",
      granted: { scopes: row.scopes as Scope[], audiences: row.audiences },
      asked: redemption.asked,
      actor,
    });
    await useCode(tx, hash, { at: new Date(now), signInId });
    return issued;
  }

  /** RFC 6749 section 4.1.2: a code used twice is in two hands. */
  async #usedAgain(tx: Db, { signInId, userId, clientId }: CodeRow, actor: Actor): Promise<{ why: string }> {
    if (signInId !== null) {
      await this.#needs.signIns.end(tx, signInId);
      const details = { user_id: userId, client_id: clientId };
      await this.#needs.record(tx, {
        actor,
        action: "token.reused",
        subject: signInId,
        outcome: "refused",
        details,
      });
    }
    return { why: "This code was used before. What came of it has ended; sign in again." };
  }

  async #client(db: Db, { clientId }: AskedConsent): Promise<ClientRow> {
    const client = await findClient(db, clientId);
    if (client !== undefined && client.revokedAt === null) return client;
    throw new Failure("invalid", "invalid_request", "The app that asked was revoked in the meantime.");
  }
}

function whatIsWrong(row: CodeRow, { redirectUri, verifier }: Redemption, now: number): string | null {
  if (row.expiresAt.getTime() <= now) return "This code has expired; codes live a minute.";
  if (row.redirectUri !== null && redirectUri !== row.redirectUri)
    return "redirect_uri is not the one that the code was asked for with.";
  // RFC 7636 section 4.1: 43 to 128 unreserved characters.
  if (!/^[A-Za-z0-9._~-]{43,128}$/.test(verifier)) return "code_verifier must have 43 to 128 characters.";
  const challenge = Buffer.from(sha256(verifier)).toString("base64url");
  if (!crypto.timingSafeEqual(Buffer.from(challenge), Buffer.from(row.challenge)))
    return "code_verifier does not fit the code_challenge.";
  return null;
}

const unknownCode = "This code is not one of this client's.";
