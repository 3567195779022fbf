/**
 * People: who exists, with which role, and whether they still may.
 *
 * Every change writes its audit entry in its own transaction; disabling also writes a revocation, so that whatever
 * acts for the person stops at once on every instance. Users are never deleted: the books name them.
 */
import type { Actor, RecordAudit } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { emailForm, type UserLine, type UserRole, type UserView } from "./contract.ts";
import type { Passwords } from "./passwords.ts";
import {
  disableUser,
  findUserByEmail,
  insertUser,
  listUsers,
  type UserRow,
  updatePassword,
} from "./store.ts";

export type UsersNeeds = {
  database: Database;
  record: RecordAudit;
  passwords: Passwords;
  /** Writes that `subject` stopped being valid, in the change's transaction; `announce` tells it after the commit. */
  revocations: { record(tx: Db, subject: string): Promise<void>; announce(): Promise<void> };
};

export type NewUser = { email: string; role: UserRole; password?: string };

export class Users {
  readonly #needs: UsersNeeds;

  constructor(needs: UsersNeeds) {
    this.#needs = needs;
  }

  /** Throws `email_taken`, `invalid_email` or `invalid_password`. */
  async create(actor: Actor, user: NewUser): Promise<UserView> {
    const email = parseEmail(user.email);
    const passwordHash = user.password === undefined ? null : await this.#needs.passwords.hash(user.password);
    const id = newId("usr");
    await this.#needs.database.transaction(async (tx) => {
      if (!(await insertUser(tx, { id, email, role: user.role, passwordHash }))) throw taken(email);
      await this.#needs.record(tx, {
        actor,
        action: "user.created",
        subject: id,
        details: { email, role: user.role, password: passwordHash !== null },
      });
    });
    return { id, email, role: user.role };
  }

  async list(): Promise<UserLine[]> {
    return (await listUsers(this.#needs.database.db)).map(lineOf);
  }

  /** Again is no error and changes nothing. */
  async disable(actor: Actor, email: string): Promise<UserView> {
    const user = await this.#get(email);
    await this.#needs.database.transaction(async (tx) => {
      if (!(await disableUser(tx, user.id))) return;
      await this.#needs.revocations.record(tx, user.id);
      await this.#needs.record(tx, { actor, action: "user.disabled", subject: user.id });
    });
    await this.#needs.revocations.announce();
    return viewOf(user);
  }

  /** Throws `invalid_password`. */
  async setPassword(actor: Actor, email: string, password: string): Promise<UserView> {
    const user = await this.#get(email);
    const passwordHash = await this.#needs.passwords.hash(password);
    await this.#needs.database.transaction(async (tx) => {
      await updatePassword(tx, user.id, passwordHash);
      await this.#needs.record(tx, { actor, action: "user.password_changed", subject: user.id });
    });
    return viewOf(user);
  }

  async #get(email: string): Promise<UserRow> {
    const user = await findUserByEmail(this.#needs.database.db, email);
    if (user === undefined) throw notFound(`There is no user with the e-mail address ${email}.`);
    return user;
  }
}

function parseEmail(text: string): string {
  const parsed = emailForm.safeParse(text);
  if (parsed.success) return parsed.data;
  const why = parsed.error.issues[0]?.message ?? "";
  throw new Failure("unprocessable", "invalid_email", `The e-mail address is not valid. ${why}`);
}

const taken = (email: string): Failure =>
  new Failure("conflict", "email_taken", `There already is a user with the e-mail address ${email}.`);

const viewOf = (row: UserRow): UserView => ({ id: row.id, email: row.email, role: row.role });

const lineOf = (row: UserRow): UserLine => ({
  ...viewOf(row),
  created_at: row.createdAt.toISOString(),
  disabled_at: row.disabledAt?.toISOString() ?? null,
});
