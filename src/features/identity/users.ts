/**
 * People: who exists, with which role, and whether they still may.
 *
 * Every change writes its audit entry in its own transaction. Disabling ends every sign-in and whatever else acts for the
 * person, at once, on every instance. Users are never deleted: the books name them. Over HTTP the last administrator
 * cannot be removed; whoever sits at the machine can make another.
 */
import type { Actor, RecordAudit } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import { requireVersion } from "../../platform/versions.ts";
import { emailForm, type UserLine, type UserRole, type UserView } from "./contract.ts";
import type { Passwords } from "./passwords.ts";
import type { Revocations, SignIns } from "./sign-ins.ts";
import {
  findUser,
  findUserByEmail,
  insertUser,
  listUsers,
  lockAdmins,
  lockUser,
  type UserChange,
  type UserRow,
  updateUser,
} from "./store.ts";

export type UsersNeeds = {
  database: Database;
  record: RecordAudit;
  passwords: Passwords;
  signIns: SignIns;
  revocations: Revocations;
  clock: Clock;
};

export type NewUser = { email: string; role: UserRole; password?: string | undefined };
export type AskedChange = {
  email?: string | undefined;
  role?: UserRole | undefined;
  disabled?: boolean | undefined;
  password?: string | undefined;
};

const list = "users";

export class Users {
  readonly #needs: UsersNeeds;

  constructor(needs: UsersNeeds) {
    this.#needs = needs;
  }

  /** Throws `email_taken`, `invalid_email` or `invalid_password`. */
  async create(
    actor: Actor,
    user: NewUser,
    within: Pick<Database, "transaction"> = this.#needs.database,
  ): Promise<UserView> {
    const email = parseEmail(user.email);
    const passwordHash = user.password === undefined ? null : await this.#needs.passwords.hash(user.password);
    const id = newId("usr");
    await within.transaction(async (tx) => {
      if (!(await insertUser(tx, { id, email, role: user.role, passwordHash }))) throw taken(email);
      const details = { email, role: user.role, password: passwordHash !== null };
      await this.#needs.record(tx, { actor, action: "user.created", subject: id, details });
    });
    return { id, email, role: user.role };
  }

  /** All of them, for the operator's own command. */
  async list(): Promise<UserLine[]> {
    return (await listUsers(this.#needs.database.db)).map(lineOf);
  }

  async page(
    cursors: Cursors,
    query: { limit: number; cursor?: string | undefined },
  ): Promise<Page<UserLine>> {
    const [after = null] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const rows = await listUsers(this.#needs.database.db, { after, rowsMax: query.limit + 1 });
    const page = pageOf(rows, query.limit, (last) => cursors.seal(list, [last.id]));
    return { ...page, data: page.data.map(lineOf) };
  }

  async get(id: string): Promise<UserLine> {
    return lineOf(found(await findUser(this.#needs.database.db, id)));
  }

  /** Throws `stale_version`, `email_taken`, `invalid_email`, `invalid_password`, `last_admin`. */
  async change(actor: Actor, id: string, asked: AskedChange, seen: number | null = null): Promise<UserLine> {
    const { database, passwords, revocations } = this.#needs;
    const email = asked.email === undefined ? undefined : parseEmail(asked.email);
    const passwordHash = asked.password === undefined ? undefined : await passwords.hash(asked.password);
    const row = await database.transaction(async (tx) => {
      const admins = actor.kind === "user" ? await lockAdmins(tx) : [];
      const user = found(await lockUser(tx, id));
      requireVersion(user, seen);
      const change = this.#changeOf(user, { ...asked, email, passwordHash });
      if (Object.keys(change).length === 0) return user;
      const stays = (change.role ?? user.role) === "admin" && (change.disabledAt ?? null) === null;
      if (admins.length === 1 && admins[0] === id && !stays) throw lastAdmin();
      const changed = await updateUser(tx, id, change);
      if (changed === undefined) throw taken(email ?? "");
      await this.#follow(tx, actor, change, changed);
      return changed;
    });
    await revocations.announce();
    return lineOf(row);
  }

  /** Throws `not_found`. */
  async idOf(email: string): Promise<string> {
    return (await this.#getByEmail(email)).id;
  }

  /** Again is no error and changes nothing. */
  async disable(actor: Actor, email: string): Promise<UserView> {
    const user = await this.#getByEmail(email);
    await this.change(actor, user.id, { disabled: true });
    return viewOf(user);
  }

  /** Ends every sign-in of the person. Throws `invalid_password`. */
  async setPassword(actor: Actor, email: string, password: string): Promise<UserView> {
    const user = await this.#getByEmail(email);
    await this.change(actor, user.id, { password });
    return viewOf(user);
  }

  /** Only what is really another value. */
  #changeOf(
    user: UserRow,
    { email, role, disabled, passwordHash }: AskedChange & { passwordHash: string | undefined },
  ): UserChange {
    const change: UserChange = {};
    if (email !== undefined && email !== user.email) change.email = email;
    if (role !== undefined && role !== user.role) change.role = role;
    if (passwordHash !== undefined) change.passwordHash = passwordHash;
    if (disabled === true && user.disabledAt === null) change.disabledAt = new Date(this.#needs.clock.now());
    if (disabled === false && user.disabledAt !== null) change.disabledAt = null;
    return change;
  }

  /** What a change brings with it: the audit, and the end of what it makes wrong. */
  async #follow(tx: Db, actor: Actor, change: UserChange, user: UserRow): Promise<void> {
    const { record, signIns, revocations } = this.#needs;
    const disabled = change.disabledAt !== undefined && change.disabledAt !== null;
    if (disabled || change.passwordHash !== undefined) await signIns.endAll(tx, user.id);
    if (disabled) await revocations.record(tx, user.id);
    // Other rights for the same credentials: they are looked up again, and nothing under way is cut.
    else if (change.role !== undefined) await revocations.record(tx, `${user.id} role`);
    for (const [action, details] of changesOf(change)) {
      await record(tx, { actor, action, subject: user.id, details });
    }
  }

  async #getByEmail(email: string): Promise<UserRow> {
    const user = await findUserByEmail(this.#needs.database.db, email);
    if (user === undefined) throw notFound(`There is no user with the e-mail address ${email}.`);
    return user;
  }
}

function* changesOf(change: UserChange): Generator<[action: string, details: Record<string, unknown>]> {
  if (change.disabledAt === null) yield ["user.enabled", {}];
  else if (change.disabledAt !== undefined) yield ["user.disabled", {}];
  if (change.passwordHash !== undefined) yield ["user.password_changed", {}];
  const { email, role } = change;
  if (email !== undefined || role !== undefined) {
    yield [
      "user.updated",
      { ...(email === undefined ? {} : { email }), ...(role === undefined ? {} : { role }) },
    ];
  }
}

export function parseEmail(text: string): string {
  const parsed = emailForm.safeParse(text);
  if (parsed.success) return parsed.data;
  const why = parsed.error.issues[0]?.message ?? "";
  throw new Failure("unprocessable", "invalid_email", `The e-mail address is not valid. ${why}`);
}

export const taken = (email: string): Failure =>
  new Failure("conflict", "email_taken", `There already is a user with the e-mail address ${email}.`);

const lastAdmin = (): Failure =>
  new Failure("conflict", "last_admin", "This is the last administrator. Make somebody else one first.");

function found(user: UserRow | undefined): UserRow {
  if (user === undefined) throw notFound();
  return user;
}

const viewOf = (row: UserRow): UserView => ({ id: row.id, email: row.email, role: row.role });

const lineOf = (row: UserRow): UserLine => ({
  ...viewOf(row),
  created_at: row.createdAt.toISOString(),
  disabled_at: row.disabledAt?.toISOString() ?? null,
  version: row.version,
});
