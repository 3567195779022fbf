/**
 * Clients prove themselves here, for every endpoint that asks them to.
 *
 * The work and the answer are the same whether a client exists or not. Failures are counted by client and address, and
 * each leaves an audit entry that never holds what was sent as a secret, nor an id that is not spelled like a client's
 * (it might be a secret in the wrong field). A device that asks whether its person has decided is no failure.
 */
import { type Actor, type Origin, type RecordAudit, strangerFrom } from "../../db/audit-entry.ts";
import type { Database } from "../../db/database.ts";
import type { Attempts } from "../../platform/attempts.ts";
import { sha256 } from "../../platform/digest.ts";
import { asFailure, type Failure } from "../../platform/failure.ts";
import { isId } from "../../platform/ids.ts";
import { desktopClientId } from "./clients.ts";
import { type ClientProof, invalidClient } from "./form.ts";
import { type ClientRow, findClient } from "./store.ts";

/** Which clients an endpoint is for: with a secret, without one, or either. */
export type ProofKind = "secret" | "public" | "any";

export type ClientProofsNeeds = { database: Database; record: RecordAudit; attempts: Attempts };

export class ClientProofs {
  readonly #needs: ClientProofsNeeds;

  constructor(needs: ClientProofsNeeds) {
    this.#needs = needs;
  }

  /**
   * Throws `invalid_client`, 429 after too many failures, and whatever `work` throws. A right secret is never slowed,
   * however often others failed from the same address: with 256 random bits nobody guesses one.
   */
  async run<T>(
    proof: ClientProof,
    kind: ProofKind,
    origin: Origin,
    work: (client: ClientRow, actor: Actor) => Promise<T>,
  ): Promise<T> {
    const actor = actorOf(proof, origin);
    if (proof.secret === null)
      return this.counted(actor, async () => work(await this.#prove(proof, kind), actor));
    const client = await this.#find(proof, kind);
    if (client === null) return this.counted(actor, () => Promise.reject(invalidClient()), proof.id);
    try {
      return await work(client, actor);
    } catch (error) {
      const failure = asFailure(error);
      if (failure.status < 500 && !patience.has(failure.code)) await this.#recordRefusal(actor, failure);
      throw error;
    }
  }

  /** Counts and records failures of `work`, by address and, when a secret was tried, by client and address. */
  async counted<T>(actor: Actor, work: () => Promise<T>, account: string | null = null): Promise<T> {
    const ip = actor.ip ?? "unknown";
    await this.#needs.attempts.check(account, ip);
    try {
      return await work();
    } catch (error) {
      const failure = asFailure(error);
      if (failure.status >= 500) throw error;
      if (!patience.has(failure.code)) {
        await this.#needs.attempts.failed(account, ip);
        await this.#recordRefusal(actor, failure);
      }
      throw failure;
    }
  }

  async #prove(proof: ClientProof, kind: ProofKind): Promise<ClientRow> {
    const client = await this.#find(proof, kind);
    if (client === null) throw invalidClient();
    return client;
  }

  async #find(proof: ClientProof, kind: ProofKind): Promise<ClientRow | null> {
    const client = await findClient(this.#needs.database.db, proof.id);
    const stored = client?.secretHash ?? nobodysHash;
    const equal = crypto.timingSafeEqual(sha256(proof.secret ?? ""), stored);
    if (client === undefined || client.revokedAt !== null) return null;
    const isPublic = client.secretHash === null;
    const proved = isPublic ? proof.secret === null : equal;
    const fits = kind === "any" || isPublic === (kind === "public");
    return proved && fits ? client : null;
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

/** RFC 8628 section 3.5: answers that mean "not yet". */
const patience = new Set(["authorization_pending", "slow_down"]);
const nobodysHash = crypto.getRandomValues(new Uint8Array(32));

function actorOf({ id }: ClientProof, origin: Origin): Actor {
  const spelledRight = isId("cli", id) || id === desktopClientId || /^https:\/\/[^\s?#]{1,200}$/.test(id);
  if (!spelledRight) return { ...strangerFrom(origin), kind: "client" };
  return { id, kind: "client", clientId: id, ...origin };
}
