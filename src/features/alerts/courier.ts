/**
 * Carries alarms to the hooks: makes a delivery for each hook that asked for it, and sends each until it arrives or its
 * day is over.
 *
 * Any instance may do either. An alarm is handed to the hooks in one transaction; a delivery is claimed for a minute, in
 * which its sender gives up long before, so that no two ever send it at the same time. Whoever dies between sending and
 * writing it down leaves it to be sent once more, under the same id. Each hook has a lane of its own, so that one which
 * never answers holds up nobody else. Of what a receiver answers the status counts; its body is not read.
 */
import { hasAlarms, type TakenAlarm, takeAlarms } from "../../db/alarms.ts";
import type { Database, Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { newId } from "../../platform/ids.ts";
import type { Log } from "../../platform/log.ts";
import type { Message } from "./contract.ts";
import { delayAfter, triedForMs } from "./retries.ts";
import type { SendAlert, Sent } from "./sending.ts";
import type { SigningKeys } from "./signing.ts";
import { findHook, type HookRow, listLiveHooks, listUnsigned } from "./store.ts";
import {
  claimDelivery,
  type DeliveryRow,
  endDelivery,
  endUnsigned,
  insertDeliveries,
  listDueHooks,
  type NewDelivery,
  postponeDelivery,
  releaseDelivery,
} from "./store-deliveries.ts";

export type CourierNeeds = {
  database: Pick<Database, "db" | "transaction">;
  send: SendAlert;
  signing: SigningKeys;
  clock: Pick<Clock, "monotonic">;
  log: Log;
  terms?: Partial<CourierTerms>;
};

export type CourierTerms = {
  /** Between looks into the database. */
  pauseMs: number;
  /** How long a claim lasts. */
  leaseMs: number;
  /** After the `tries`th try. */
  delayAfter: (tries: number, random: number) => number;
  triedForMs: number;
};

const usualTerms: CourierTerms = { pauseMs: 1_000, leaseMs: 60_000, delayAfter, triedForMs };

const alarmsMax = 100;
const surveyMs = 60_000;
/** Whoever has a hook's key would have sent it long before. */
const unsignedMs = 600_000;
/** How long a stop waits for receivers. */
const partingMs = 2_000;

export class Courier {
  readonly #needs: CourierNeeds;
  readonly #terms: CourierTerms;
  readonly #lanes = new Map<string, Promise<void>>();
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #stopped = false;
  #failing = false;
  #wake: () => void = () => {};
  #unsigned: readonly string[] = [];
  #surveyedAt = Number.NEGATIVE_INFINITY;

  constructor(needs: CourierNeeds) {
    this.#needs = needs;
    this.#terms = { ...usualTerms, ...needs.terms };
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Looks at once, because there is something new. */
  wake(): void {
    this.#wake();
  }

  /** What an operator should know. */
  warnings(): string[] {
    if (this.#unsigned.length === 0) return [];
    return [
      `nothing can be sent to these alert hooks, because their signing secret is no longer in SPECGATE_JWT_SECRET: ${this.#unsigned.join(", ")}; make them anew`,
    ];
  }

  /** Looks for hooks that nothing can be signed for, and ends what is to be sent to them. */
  async survey(): Promise<void> {
    const { database, signing, log } = this.#needs;
    const kids = [...signing.keys.keys()];
    this.#unsigned = await listUnsigned(database.db, kids);
    const ended = await endUnsigned(database.db, kids, { overdueMs: unsignedMs, lastError: noKey });
    if (ended > 0) log.warn("alerts cannot be signed any more", { deliveries: ended, error: noKey });
  }

  /** What is on its way gets a moment to arrive; the rest is another's, or the next start's. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#running;
    const timer = setTimeout(() => this.#stopping.abort(new Error("the gateway stops")), partingMs);
    await Promise.all(this.#lanes.values());
    clearTimeout(timer);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#guarded(() => this.#look());
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, this.#terms.pauseMs);
      if (!this.#stopped) await promise;
      clearTimeout(timer);
    }
  }

  async #look(): Promise<void> {
    const { database, signing, clock } = this.#needs;
    while (await hasAlarms(database.db)) if ((await database.transaction(handAlarms)) < alarmsMax) break;
    for (const hookId of await listDueHooks(database.db, [...signing.keys.keys()])) {
      if (this.#lanes.has(hookId) || this.#stopped) continue;
      const lane = this.#guarded(() => this.#serve(hookId)).finally(() => this.#lanes.delete(hookId));
      this.#lanes.set(hookId, lane);
    }
    if (clock.monotonic() - this.#surveyedAt < surveyMs) return;
    await this.survey();
    this.#surveyedAt = clock.monotonic();
  }

  /** Never rejects: without a database there is another look soon. */
  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#needs.log.warn("alerts cannot be sent right now", { error });
      this.#failing = true;
    }
  }

  /** One after the other, as long as something is due. */
  async #serve(hookId: string): Promise<void> {
    const { database, clock } = this.#needs;
    while (!this.#stopped) {
      const claimedAt = clock.monotonic();
      const delivery = await claimDelivery(database.db, hookId, this.#terms.leaseMs);
      if (delivery === undefined) return;
      const hook = await findHook(database.db, hookId);
      // Half of the lease is for sending. Whoever stood still until now has no right to it any more.
      if (clock.monotonic() - claimedAt > this.#terms.leaseMs / 2) return;
      if (hook === undefined)
        await endDelivery(database.db, delivery, { status: "dead", lastStatus: null, lastError: noHook });
      else await this.#deliver(hook, delivery);
    }
  }

  async #deliver(hook: HookRow, delivery: DeliveryRow): Promise<void> {
    const { database, send, signing } = this.#needs;
    const key = signing.keys.get(hook.kid);
    if (key === undefined) return;
    const { id, messageId, payload } = delivery;
    const alert = { hookId: hook.id, url: hook.url, messageId, message: payload as Message };
    const sent = await send(alert, key, this.#stopping.signal);
    if (sent.outcome === "stopped") return releaseDelivery(database.db, delivery);
    if (sent.outcome === "failed") return this.#postpone(delivery, sent);
    const status = sent.outcome === "delivered" ? "delivered" : "dead";
    const lastError = sent.outcome === "delivered" ? null : sent.error;
    await endDelivery(database.db, delivery, { status, lastStatus: sent.status, lastError });
    if (status === "dead") this.#mourn(hook.id, id, sent.status, lastError);
  }

  async #postpone(delivery: DeliveryRow, { status, error }: Sent & { outcome: "failed" }): Promise<void> {
    const { tries, hookId, id } = delivery;
    const became = await postponeDelivery(this.#needs.database.db, delivery, {
      lastStatus: status,
      lastError: error,
      delayMs: this.#terms.delayAfter(tries, Math.random()),
      triedForMs: this.#terms.triedForMs,
    });
    if (became === "dead") this.#mourn(hookId, id, status, error);
  }

  /** Whoever was to be told has not been: the log is what remains. */
  #mourn(hookId: string, deliveryId: string, status: number | null, error: string | null): void {
    const fields = { hook_id: hookId, delivery_id: deliveryId, status, error };
    this.#needs.log.warn("an alert was given up", fields);
  }
}

const noKey =
  "The signing secret that this hook's own is made from is no longer in SPECGATE_JWT_SECRET. Make the hook anew.";
const noHook = "The hook was deleted.";

/** How many alarms were taken. One that nobody asked for is taken too. */
async function handAlarms(tx: Db): Promise<number> {
  const taken = await takeAlarms(tx, alarmsMax);
  if (taken.length === 0) return 0;
  const hooks = await listLiveHooks(tx);
  await insertDeliveries(
    tx,
    taken.flatMap((alarm) => deliveriesOf(alarm, hooks)),
  );
  return taken.length;
}

function deliveriesOf({ type, payload, at }: TakenAlarm, hooks: readonly HookRow[]): NewDelivery[] {
  const messageId = newId("evt");
  const message: Message = { type, timestamp: at.toISOString(), data: payload };
  return hooks
    .filter(({ events }) => events.includes(type))
    .map(({ id }) => ({ id: newId("dlv"), hookId: id, messageId, type, payload: message }));
}
