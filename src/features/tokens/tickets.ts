/**
 * Tickets: the right of one browser to make one decision once. A form carries the ticket, so that another site, another
 * browser or a second click decides nothing.
 */
import type { Database, Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { sha256 } from "../../platform/digest.ts";
import { Failure } from "../../platform/failure.ts";
import { mintTicket } from "./minting.ts";
import { findTicket, insertTicket, type TicketRow, takeTicket } from "./store-apps.ts";

const lifeMs = 10 * 60_000;

export class Tickets<Details> {
  constructor(
    private readonly kind: TicketRow["kind"],
    private readonly needs: { database: Database; clock: Clock },
  ) {}

  async issue(signInId: string, details: Details): Promise<string> {
    const ticket = mintTicket();
    const expiresAt = new Date(this.needs.clock.now() + lifeMs);
    await insertTicket(this.needs.database.db, {
      hash: sha256(ticket),
      signInId,
      kind: this.kind,
      details,
      expiresAt,
    });
    return ticket;
  }

  /** What the ticket is about; throws 400 when it decides nothing any more. */
  async get(signInId: string, ticket: string): Promise<Details> {
    return detailsOf(await findTicket(this.needs.database.db, this.#asked(signInId, ticket)));
  }

  /** As `get`, and nobody gets it again. */
  async take(tx: Db, signInId: string, ticket: string): Promise<Details> {
    return detailsOf(await takeTicket(tx, this.#asked(signInId, ticket)));
  }

  #asked(signInId: string, ticket: string) {
    return { hash: sha256(ticket), signInId, kind: this.kind, now: new Date(this.needs.clock.now()) };
  }
}

/** A decision for an app that gives it nothing is a mistake: there is a button for that. */
export const nothingTicked = (): Failure =>
  new Failure("invalid", "nothing_ticked", "Nothing was ticked. Go back and tick something, or deny.");

function detailsOf<Details>(row: TicketRow | undefined): Details {
  if (row === undefined) {
    throw new Failure(
      "invalid",
      "ticket_spent",
      "This page is out of date: it was answered already, is more than ten minutes old, or belongs to another sign-in. Begin again in the app.",
    );
  }
  return row.details as Details;
}
