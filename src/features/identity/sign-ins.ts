/**
 * Sign-ins: the browsers and apps that act for a person, in one list that the person can see and end.
 *
 * A browser's is a cookie: 30 minutes without use or 12 hours in all end it, and each sign-in makes a new one. An app's
 * lives as long as its refresh tokens. Ending one writes a revocation in the same transaction, so that everything that
 * came from it stops at once on every instance.
 */
import type { Origin } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import type { SweepTerms } from "../../db/sweep.ts";
import type { Clock } from "../../platform/clock.ts";
import { sha256 } from "../../platform/digest.ts";
import { newId } from "../../platform/ids.ts";
import {
  endSignIn,
  endSignInsOf,
  insertSignIn,
  listSignIns,
  prolongSignIn,
  type SignInLine,
  sweepSignIns,
  touchSignIn,
} from "./store.ts";

const appsKeptMs = 90 * 86_400_000;
export const browserLife = { idleMs: 30 * 60_000, totalMs: 12 * 3_600_000 } as const;

/** Writes that something stopped being valid, in the change's transaction; `announce` tells it after the commit. */
export type Revocations = { record(tx: Db, subject: string): Promise<void>; announce(): Promise<void> };

export type SignInsNeeds = {
  database: Database;
  revocations: Revocations;
  clock: Clock;
  /** Drops what the person has allowed and no app has taken yet. */
  dropGrants: (tx: Db, userId: string) => Promise<void>;
};
export type Granted = { scopes: readonly string[]; audiences: readonly string[] };

export class SignIns {
  readonly #needs: SignInsNeeds;

  constructor(needs: SignInsNeeds) {
    this.#needs = needs;
  }

  /** `cookie` is shown once, to the browser. */
  async openBrowser(
    tx: Db,
    signIn: { userId: string; method: "password" | "setup" | "oidc"; origin: Origin },
  ): Promise<{ id: string; cookie: string }> {
    const id = newId("sgn");
    const cookie = `sgc_${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url")}`;
    const { userId, method, origin } = signIn;
    const browser = { clientId: null, cookieHash: sha256(cookie), scopes: [], audiences: [] };
    await insertSignIn(tx, {
      id,
      userId,
      method,
      ...browser,
      ...this.#times(browserLife.totalMs),
      ...from(origin),
    });
    return { id, cookie };
  }

  async openApp(
    tx: Db,
    signIn: {
      userId: string;
      clientId: string;
      method: "code" | "device";
      granted: Granted;
      origin: Origin;
      expiresAt: Date;
    },
  ): Promise<string> {
    const id = newId("sgn");
    const { granted, origin, expiresAt, ...who } = signIn;
    const app = { cookieHash: null, scopes: [...granted.scopes], audiences: [...granted.audiences] };
    await insertSignIn(tx, { id, ...who, ...app, ...this.#times(0), expiresAt, ...from(origin) });
    return id;
  }

  /** The sign-in behind a cookie, noted as in use; undefined when it has ended. `expiresAt`: if it is not used again. */
  async touch(
    db: Db,
    cookieHash: Uint8Array,
  ): Promise<{ signInId: string; userId: string; expiresAt: Date } | undefined> {
    const now = this.#needs.clock.now();
    const idleSince = new Date(now - browserLife.idleMs);
    const row = await touchSignIn(db, { cookieHash, now: new Date(now), idleSince });
    if (row === undefined) return undefined;
    const expiresAt = new Date(Math.min(row.expiresAt.getTime(), now + browserLife.idleMs));
    return { signInId: row.id, userId: row.userId, expiresAt };
  }

  async prolong(tx: Db, id: string, expiresAt: Date): Promise<void> {
    await prolongSignIn(tx, id, { usedAt: new Date(this.#needs.clock.now()), expiresAt });
  }

  /** False when it had ended. Announce after the commit. */
  async end(tx: Db, id: string, userId?: string): Promise<boolean> {
    if (!(await endSignIn(tx, { id, userId, at: new Date(this.#needs.clock.now()) }))) return false;
    await this.#needs.revocations.record(tx, id);
    return true;
  }

  /** All of a person's, or all but one, and those that are about to begin. Announce after the commit. */
  async endAll(tx: Db, userId: string, exceptId: string | null = null): Promise<void> {
    await this.#needs.dropGrants(tx, userId);
    const at = new Date(this.#needs.clock.now());
    for (const id of await endSignInsOf(tx, { userId, exceptId, at })) {
      await this.#needs.revocations.record(tx, id);
    }
  }

  /** Those that have not ended, the latest first. */
  list(userId: string): Promise<SignInLine[]> {
    const now = this.#needs.clock.now();
    const idleSince = new Date(now - browserLife.idleMs);
    return listSignIns(this.#needs.database.db, { userId, now: new Date(now), idleSince });
  }

  /** Drops browsers that have been over since `before`, and apps that have been for three months. */
  sweep(before: Date, terms: SweepTerms) {
    const appsBefore = new Date(before.getTime() - appsKeptMs);
    return sweepSignIns(this.#needs.database.db, { before, appsBefore }, terms);
  }

  #times(lifeMs: number): { createdAt: Date; usedAt: Date; expiresAt: Date } {
    const now = this.#needs.clock.now();
    return { createdAt: new Date(now), usedAt: new Date(now), expiresAt: new Date(now + lifeMs) };
  }
}

const from = ({ ip, userAgent }: Origin) => ({ ip, userAgent });
