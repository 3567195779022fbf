/**
 * Who of the people here the identity provider vouches for. Nobody, unless a rule says otherwise.
 *
 * Whoever is linked to this very subject is that person, whatever their e-mail address has become. Else a verified
 * address of a person who is here, enabled and not linked yet links the two, once. People are never made here, and
 * nobody becomes an administrator by anything that the provider says.
 */
import { type Actor, type Origin, type RecordAudit, strangerFrom } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import { emailForm } from "./contract.ts";
import type { Vouched } from "./identity-provider.ts";
import { findUserByEmail, findUserByOidc, linkUser, lockLinks, type UserRow } from "./store.ts";

export type Admission =
  | { user: UserRow }
  | { refused: "unverified" | "unknown"; user: null }
  | { refused: "disabled" | "linked_elsewhere"; user: UserRow };

export type FirstLoginsNeeds = { database: Database; record: RecordAudit };

export class FirstLogins {
  readonly #needs: FirstLoginsNeeds;

  constructor(needs: FirstLoginsNeeds) {
    this.#needs = needs;
  }

  async admit(vouched: Vouched, origin: Origin): Promise<Admission> {
    const { database } = this.#needs;
    const linked = await findUserByOidc(database.db, vouched.issuer, vouched.subject);
    if (linked !== undefined) return unlessDisabled(linked);
    return database.transaction((tx) => this.#link(tx, vouched, origin));
  }

  async #link(tx: Db, vouched: Vouched, origin: Origin): Promise<Admission> {
    await lockLinks(tx);
    const linked = await findUserByOidc(tx, vouched.issuer, vouched.subject);
    if (linked !== undefined) return unlessDisabled(linked);
    if (!vouched.isEmailVerified) return { refused: "unverified", user: null };
    // Other than ASCII is nobody's here, and folding its case could make it somebody's.
    const email = emailForm.safeParse(vouched.email);
    const user = email.success ? await findUserByEmail(tx, email.data) : undefined;
    if (user === undefined) return { refused: "unknown", user: null };
    if (user.disabledAt !== null) return { refused: "disabled", user };
    if (!(await linkUser(tx, user, vouched))) return { refused: "linked_elsewhere", user };
    const actor: Actor = { ...strangerFrom(origin), id: user.id };
    const { issuer, subject } = vouched;
    await this.#needs.record(tx, {
      actor,
      action: "user.linked",
      subject: user.id,
      details: { issuer, subject },
    });
    return { user };
  }
}

const unlessDisabled = (user: UserRow): Admission =>
  user.disabledAt === null ? { user } : { refused: "disabled", user };
