/**
 * The device flow (RFC 8628): an app without a browser shows a code, a person types it here and decides.
 *
 * The page says which app asks, for what, from which address: whoever is talked into typing a stranger's code sees it. A
 * code is decided once and redeemed once; whoever polls too fast is told so and has to slow down.
 */
import type { Actor, RecordAudit } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { sha256 } from "../../platform/digest.ts";
import { Failure } from "../../platform/failure.ts";
import { createQuota } from "../../platform/quota.ts";
import { ceiling, narrow, type Scope } from "../../platform/scopes.ts";
import type { AppTokens } from "./app-tokens.ts";
import { type Addresses, decideAudiences } from "./audiences.ts";
import type { Decider } from "./authorizations.ts";
import { ownScopes } from "./authorize.ts";
import type { IssuedToken, StartedDevice } from "./contract.ts";
import { oauthRefusal } from "./form.ts";
import { type Asked, decideSubset, foreignResource } from "./grant.ts";
import { mintDeviceCode, mintUserCode, showUserCode } from "./minting.ts";
import type { ClientRow } from "./store.ts";
import {
  type DeviceRow,
  decideDevice,
  findPendingDevice,
  insertDeviceCode,
  lockDevice,
  lockPerson,
  updateDevice,
} from "./store-apps.ts";
import { nothingTicked, Tickets } from "./tickets.ts";

export type DevicesNeeds = {
  database: Database;
  record: RecordAudit;
  appTokens: AppTokens;
  addresses: () => Addresses;
  clock: Clock;
};

type AskedDevice = { userCode: string; scopes: Scope[] };
/** What the page shows. */
export type ShownDevice = { device: DeviceRow; client: ClientRow; scopes: Scope[]; ticket: string };

const perMinute = 60;
const lifeSeconds = 600;
const intervalSeconds = 5;
/** Clients may be this much early: their clocks and the network are not exact. */
const earlyMs = 500;

export class Devices {
  readonly #needs: DevicesNeeds;
  readonly #tickets: Tickets<AskedDevice>;
  readonly #quota = createQuota({
    points: perMinute,
    seconds: 60,
    advice: `An address may begin ${perMinute} device sign-ins a minute.`,
  });

  constructor(needs: DevicesNeeds) {
    this.#needs = needs;
    this.#tickets = new Tickets("device", needs);
  }

  /** Throws `invalid_scope`, `invalid_target`, `unauthorized_client`. */
  async start(client: ClientRow, asked: Asked, actor: Actor): Promise<StartedDevice> {
    const { database, clock, addresses } = this.#needs;
    if (client.kind !== "desktop") throw notAnApp();
    await this.#quota.spend(actor.ip);
    const scopes = decideSubset(registered(client), ownScopes(asked.scope), "this client holds");
    if (!scopes.ok) throw oauthRefusal(scopes.code, scopes.why);
    const audiences = decideAudiences(asked.resources, addresses());
    if (!audiences.ok)
      throw oauthRefusal("invalid_target", foreignResource(audiences.resource, addresses()).why);
    const deviceCode = mintDeviceCode();
    const row = {
      hash: sha256(deviceCode),
      clientId: client.id,
      scopes: scopes.value,
      audiences: audiences.value,
      ip: actor.ip,
      userAgent: actor.userAgent,
      state: "pending" as const,
      intervalSeconds,
      expiresAt: new Date(clock.now() + lifeSeconds * 1_000),
    };
    let userCode = mintUserCode();
    while (!(await insertDeviceCode(database.db, { ...row, userCode }))) userCode = mintUserCode();
    return startedOf(deviceCode, showUserCode(userCode), addresses().publicUrl);
  }

  /** The device that waits for this code, and the ticket to decide with; undefined when none does. */
  async find(userCode: string, decider: Decider): Promise<ShownDevice | undefined> {
    const { database, clock } = this.#needs;
    const found = await findPendingDevice(database.db, userCode, new Date(clock.now()));
    if (found === undefined || found.client.revokedAt !== null) return undefined;
    const person = ceiling({ kind: "user", role: decider.role === "admin" ? "admin" : "user" });
    const scopes = narrow(found.device.scopes, person);
    const ticket = await this.#tickets.issue(decider.signInId, { userCode, scopes });
    return { ...found, scopes, ticket };
  }

  /** Throws 400 when it was decided already, or is too old. `ticked` null denies. */
  async decide(
    ticket: string,
    ticked: readonly string[] | null,
    decider: Decider,
    actor: Actor,
  ): Promise<void> {
    const { database, record, clock } = this.#needs;
    const now = new Date(clock.now());
    await database.transaction(async (tx) => {
      await lockPerson(tx, decider.userId);
      const { userCode, scopes } = await this.#tickets.take(tx, decider.signInId, ticket);
      const found = await findPendingDevice(tx, userCode, now);
      const given = narrow(ticked ?? [], scopes);
      if (ticked !== null && given.length === 0) throw nothingTicked();
      const state = ticked === null ? ("denied" as const) : ("approved" as const);
      const decision = { userCode, state, userId: decider.userId, scopes: given, now };
      if (found === undefined || !(await decideDevice(tx, decision))) throw tooLate();
      await record(tx, {
        actor,
        action: ticked === null ? "consent.denied" : "consent.granted",
        subject: found.client.id,
        outcome: ticked === null ? "refused" : "ok",
        details: { scope: given.join(" "), device: true, device_ip: found.device.ip },
      });
    });
  }

  /** Throws `authorization_pending`, `slow_down`, `access_denied`, `expired_token`, `invalid_grant`. */
  async redeem(client: ClientRow, deviceCode: string, asked: Asked, actor: Actor): Promise<IssuedToken> {
    const outcome = await this.#needs.database.transaction((tx) =>
      this.#redeem(tx, { client, deviceCode, asked, actor }),
    );
    if ("access_token" in outcome) return outcome;
    throw oauthRefusal(outcome.error, outcome.why);
  }

  async #redeem(
    tx: Db,
    {
      client,
      deviceCode,
      asked,
      actor,
    }: { client: ClientRow; deviceCode: string; asked: Asked; actor: Actor },
  ): Promise<IssuedToken | { error: string; why: string }> {
    const hash = sha256(deviceCode);
    const found = await lockDevice(tx, hash);
    const now = this.#needs.clock.now();
    if (found === undefined || found.device.clientId !== client.id) return unknownCode;
    const { device: row, user } = found;
    if (row.state === "used") return unknownCode;
    if (row.expiresAt.getTime() <= now) return expired;
    if (row.state === "denied") return denied;
    // Approved a moment ago, after the look at who had: the next poll finds it.
    if (row.state === "pending" || user === undefined) return this.#wait(tx, row, now);
    if (user.disabledAt !== null) return denied;
    const { issued } = await this.#needs.appTokens.first(tx, {
      user,
      client,
      method: "device",
      granted: { scopes: row.scopes as Scope[], audiences: row.audiences },
      asked,
      actor,
    });
    await updateDevice(tx, hash, { state: "used" });
    return issued;
  }

  /** RFC 8628 section 3.5: each poll that comes too soon makes the interval five seconds longer. */
  async #wait(tx: Db, row: DeviceRow, now: number): Promise<{ error: string; why: string }> {
    const sinceMs = row.polledAt === null ? Number.POSITIVE_INFINITY : now - row.polledAt.getTime();
    const tooSoon = sinceMs < row.intervalSeconds * 1_000 - earlyMs;
    const seconds = row.intervalSeconds + (tooSoon ? intervalSeconds : 0);
    await updateDevice(tx, row.hash, { polledAt: new Date(now), intervalSeconds: seconds });
    return tooSoon
      ? { error: "slow_down", why: `Ask again in ${seconds} s, and no sooner from now on.` }
      : { error: "authorization_pending", why: "The person has not decided yet." };
  }
}

const registered = (client: ClientRow): Scope[] =>
  narrow(client.scopes, ceiling({ kind: "user", role: "admin" }));

function startedOf(deviceCode: string, userCode: string, publicUrl: string): StartedDevice {
  return {
    device_code: deviceCode,
    user_code: userCode,
    verification_uri: `${publicUrl}/device`,
    verification_uri_complete: `${publicUrl}/device?user_code=${userCode}`,
    expires_in: lifeSeconds,
    interval: intervalSeconds,
  };
}

const unknownCode = { error: "invalid_grant", why: "This device code is not one of this client's." };
const expired = { error: "expired_token", why: "This device code has expired. Begin again." };
const denied = { error: "access_denied", why: "The person said no." };

const notAnApp = (): Failure =>
  oauthRefusal("unauthorized_client", "Only an app that a person signs in to may use the device flow.");
const tooLate = (): Failure =>
  new Failure("invalid", "ticket_spent", "This code was decided already, or is more than ten minutes old.");
