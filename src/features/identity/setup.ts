/**
 * The very first administrator: made with a one-time link that `serve` prints, or from the configuration. There is no
 * default password, and once anybody exists this door is closed for good.
 */
import { type Origin, type RecordAudit, strangerFrom } from "../../db/audit-entry.ts";
import type { Database } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { sha256 } from "../../platform/digest.ts";
import { Failure } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import type { Login } from "./login.ts";
import type { Passwords } from "./passwords.ts";
import {
  countUsers,
  deleteSetupLinks,
  hasSetupLink,
  insertSetupLink,
  insertUser,
  lockSetup,
} from "./store.ts";
import { parseEmail, taken } from "./users.ts";

export const setupLinkMs = 30 * 60_000;

export type SetupNeeds = {
  database: Database;
  record: RecordAudit;
  passwords: Passwords;
  login: Login;
  clock: Clock;
};

export class Setup {
  readonly #needs: SetupNeeds;

  constructor(needs: SetupNeeds) {
    this.#needs = needs;
  }

  async isNeeded(): Promise<boolean> {
    return (await countUsers(this.#needs.database.db)) === 0;
  }

  /** A new secret for `/setup?token=`, good for 30 minutes. */
  async link(): Promise<string> {
    const { database, clock } = this.#needs;
    const secret = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
    const expiresAt = new Date(clock.now() + setupLinkMs);
    await insertSetupLink(database.db, { hash: sha256(secret), expiresAt });
    return secret;
  }

  /** Throws 403 `setup_closed` for anything but a link that is good now. */
  async check(secret: string): Promise<void> {
    const { database, clock } = this.#needs;
    const good = await hasSetupLink(database.db, sha256(secret), new Date(clock.now()));
    if (!good || !(await this.isNeeded())) throw closed();
  }

  /** Makes the first administrator and signs their browser in. Returns the cookie. */
  async use(secret: string, person: { email: string; password: string }, origin: Origin): Promise<string> {
    const { database, login, record } = this.#needs;
    await this.check(secret);
    const user = await this.#prepare(person);
    return database.transaction(async (tx) => {
      await lockSetup(tx);
      if ((await countUsers(tx)) > 0) throw closed();
      if (!(await insertUser(tx, user))) throw taken(user.email);
      await deleteSetupLinks(tx);
      const details = { email: user.email, role: user.role, password: true, setup: true };
      await record(tx, { actor: strangerFrom(origin), action: "user.created", subject: user.id, details });
      return login.openWithin(tx, user, "setup", origin, null);
    });
  }

  /** From the configuration; does nothing when anybody exists. True when it made the administrator. */
  async fromConfiguration(person: { email: string; password: string }): Promise<boolean> {
    const { database, record } = this.#needs;
    if (!(await this.isNeeded())) return false;
    const user = await this.#prepare(person);
    return database.transaction(async (tx) => {
      await lockSetup(tx);
      if ((await countUsers(tx)) > 0) return false;
      await insertUser(tx, user);
      const details = { email: user.email, role: user.role, password: true };
      const actor = { ...strangerFrom(nowhere), id: "configuration", kind: "system" as const };
      await record(tx, { actor, action: "user.created", subject: user.id, details });
      return true;
    });
  }

  async #prepare({ email, password }: { email: string; password: string }) {
    const parsed = parseEmail(email);
    const passwordHash = await this.#needs.passwords.hash(password);
    return { id: newId("usr"), email: parsed, role: "admin" as const, passwordHash };
  }
}

const nowhere: Origin = { ip: null, userAgent: null, requestId: null };

const closed = (): Failure =>
  new Failure(
    "forbidden",
    "setup_closed",
    "This setup link is not good any more: it was used, or is more than 30 minutes old. The gateway prints a new one while nobody exists; it is also in setup-url in its data dir.",
  );
