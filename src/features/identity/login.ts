/**
 * People signing in and out of a browser, and changing their password.
 *
 * An unknown person, a wrong password, a disabled person and one who has no password get one answer, after the same
 * work. Failures are counted by person and address. What was typed is never written down: a password in the wrong field
 * looks like an e-mail address to nobody but its owner.
 */
import { type Actor, actorOf, type Origin, type RecordAudit, strangerFrom } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import type { Attempts } from "../../platform/attempts.ts";
import type { Call } from "../../platform/call.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import type { Principal } from "../../platform/principal.ts";
import { networkOf } from "../../platform/proxies.ts";
import type { Passwords } from "./passwords.ts";
import type { Revocations, SignIns } from "./sign-ins.ts";
import { findUser, findUserByEmail, lockUser, type UserRow, updateUser } from "./store.ts";

export type LoginNeeds = {
  database: Database;
  record: RecordAudit;
  passwords: Passwords;
  attempts: Attempts;
  signIns: SignIns;
  revocations: Revocations;
};

/** `cookie` goes to the browser; `previous`: the sign-in that the browser came with, which ends. */
export type SignedIn = { user: UserRow; cookie: string };

export class Login {
  readonly #needs: LoginNeeds;
  /** Passwords that are being checked, by network: one caller must not fill the line for everybody. */
  readonly #underway = new Map<string, number>();

  constructor(needs: LoginNeeds) {
    this.#needs = needs;
  }

  /** Throws `invalid_credentials`, 429 after too many failures, 503 when too many sign in at once. */
  async withPassword(
    asked: { email: string; password: string },
    origin: Origin,
    previous: Principal | null,
  ): Promise<SignedIn> {
    const { database, attempts, passwords } = this.#needs;
    const [account, ip] = [asked.email.toLowerCase(), origin.ip ?? "unknown"];
    await attempts.check(account, ip);
    const user = await this.#find(asked.email);
    const equal = await this.#inTurn(ip, () => passwords.verify(asked.password, user?.passwordHash ?? null));
    // Of many at once all pass the first look: whoever finds the limit reached by now learns nothing.
    await attempts.check(account, ip);
    if (user === undefined || !equal || user.disabledAt !== null) {
      await attempts.failed(account, ip);
      await database.transaction((tx) => this.#recordFailure(tx, user, origin));
      throw wrongCredentials();
    }
    return this.open(user, "password", origin, previous);
  }

  async #inTurn(ip: string, work: () => Promise<boolean>): Promise<boolean> {
    const network = networkOf(ip);
    const underway = this.#underway.get(network) ?? 0;
    if (underway >= underwayMax) throw oneAtATime();
    this.#underway.set(network, underway + 1);
    try {
      return await work();
    } finally {
      const left = (this.#underway.get(network) ?? 1) - 1;
      if (left === 0) this.#underway.delete(network);
      else this.#underway.set(network, left);
    }
  }

  /** Addresses are ASCII: what the database would fold into one of them is nobody's. */
  async #find(email: string): Promise<UserRow | undefined> {
    const isAscii = Buffer.byteLength(email) === email.length;
    return isAscii ? findUserByEmail(this.#needs.database.db, email) : undefined;
  }

  /** For a person who has proved who they are. Throws `invalid_credentials` when they changed meanwhile. */
  async open(
    user: UserRow,
    method: "password" | "setup" | "oidc",
    origin: Origin,
    previous: Principal | null,
  ): Promise<SignedIn> {
    const { database, revocations } = this.#needs;
    const cookie = await database.transaction((tx) => this.openWithin(tx, user, method, origin, previous));
    if (previous !== null) await revocations.announce();
    return { user, cookie };
  }

  /** As `open`, as a part of another change. */
  async openWithin(
    tx: Db,
    user: Pick<UserRow, "id" | "passwordHash">,
    method: "password" | "setup" | "oidc",
    origin: Origin,
    previous: Principal | null,
  ): Promise<string> {
    const { record, signIns } = this.#needs;
    // A sign-in opened now would outlive what ended all others a moment ago.
    if (!(await lockUnchanged(tx, user))) throw wrongCredentials();
    if (previous?.signInId) await signIns.end(tx, previous.signInId);
    const { id, cookie } = await signIns.openBrowser(tx, { userId: user.id, method, origin });
    const actor: Actor = { id: user.id, kind: "user", clientId: null, ...origin };
    await record(tx, { actor, action: "login", subject: user.id, details: { method, sign_in: id } });
    return cookie;
  }

  /** Ends the sign-in that this credential came from. Again is no error. */
  async out(principal: Principal, call: Call): Promise<void> {
    const { database, record, signIns, revocations } = this.#needs;
    const { signInId } = principal;
    if (signInId === null) return;
    await database.transaction(async (tx) => {
      if (!(await signIns.end(tx, signInId))) return;
      const actor = actorOf(principal, call);
      const details = { sign_in: signInId };
      await record(tx, { actor, action: "logout", subject: principal.userId, details });
    });
    await revocations.announce();
  }

  /** Ends one of the person's own sign-ins, this very one perhaps. Throws `not_found`. */
  async end(principal: Principal, signInId: string, call: Call): Promise<void> {
    const { database, record, signIns, revocations } = this.#needs;
    await database.transaction(async (tx) => {
      if (!(await signIns.end(tx, signInId, principal.id))) throw notFound();
      const actor = actorOf(principal, call);
      await record(tx, { actor, action: "sign_in.ended", subject: signInId });
    });
    await revocations.announce();
  }

  /** Ends all other sign-ins of the person. Throws `invalid_credentials`, `invalid_password`, `no_password`, 429. */
  async changePassword(
    principal: Principal,
    asked: { current: string; next: string },
    call: Call,
  ): Promise<void> {
    const { database, record, passwords, attempts, signIns, revocations } = this.#needs;
    const [account, ip] = [principal.id, call.ip ?? "unknown"];
    await attempts.check(account, ip);
    const user = await findUser(database.db, principal.id);
    if (user === undefined || user.passwordHash === null) throw noPassword();
    const actor = actorOf(principal, call);
    const equal = await this.#inTurn(ip, () => passwords.verify(asked.current, user.passwordHash));
    await attempts.check(account, ip);
    if (!equal) {
      await attempts.failed(account, ip);
      await database.transaction((tx) => this.#recordFailure(tx, user, actor));
      throw notCurrent();
    }
    const passwordHash = await passwords.hash(asked.next);
    await database.transaction(async (tx) => {
      if (!(await lockUnchanged(tx, user))) throw notCurrent();
      await updateUser(tx, user.id, { passwordHash });
      await signIns.endAll(tx, user.id, principal.signInId);
      await record(tx, { actor, action: "user.password_changed", subject: user.id });
    });
    await revocations.announce();
  }

  async #recordFailure(tx: Db, user: UserRow | undefined, origin: Origin): Promise<void> {
    const { ip, userAgent, requestId } = origin;
    await this.#needs.record(tx, {
      actor: strangerFrom({ ip, userAgent, requestId }),
      action: "login.failed",
      subject: user?.id ?? null,
      outcome: "refused",
    });
  }
}

/** False when the person was disabled, or got another password, while theirs was being checked. */
async function lockUnchanged(
  tx: Db,
  { id, passwordHash }: Pick<UserRow, "id" | "passwordHash">,
): Promise<boolean> {
  const user = await lockUser(tx, id);
  return user !== undefined && user.disabledAt === null && user.passwordHash === passwordHash;
}

const underwayMax = 8;

const oneAtATime = (): Failure =>
  new Failure(
    "rate",
    "rate_limit_exceeded",
    "Too many passwords from this address are being checked right now. Try again.",
    { retryAfterSeconds: 2 },
  );

const wrongCredentials = (): Failure =>
  new Failure("unauthenticated", "invalid_credentials", "The e-mail address or the password is wrong.", {
    headers: { "www-authenticate": 'Bearer realm="specgate"' },
  });

const notCurrent = (): Failure =>
  new Failure("forbidden", "invalid_credentials", "That is not your current password.");

const noPassword = (): Failure =>
  new Failure(
    "conflict",
    "no_password",
    "This person has no password and signs in elsewhere. An administrator can set one.",
  );
