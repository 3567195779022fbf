/**
 * Alert hooks: who is told of what happens to budgets, providers, prices and the meter, and what became of telling them.
 *
 * Only administrators come here. A hook's secret is shown when it is made and never again; a lost one means a new hook.
 * The audit says which host is told, not the whole URL: a path or a query is often a secret of its own. A hook that is
 * deleted is gone at once, with everything that was still to be sent to it.
 */
import type { Actor } from "../../db/audit-entry.ts";
import type { Change, Changes } from "../../db/changes.ts";
import type { Database, Db } from "../../db/database.ts";
import { differenceOf } from "../../platform/difference.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import { requireVersion } from "../../platform/versions.ts";
import type {
  DeliveryStatus,
  DeliveryView,
  HookChange,
  HookView,
  Message,
  NewHook,
  NewHookView,
} from "./contract.ts";
import { judgeDestination } from "./destination.ts";
import { type SigningKeys, secretOf } from "./signing.ts";
import {
  endHook,
  findHook,
  type HookRow,
  insertHook,
  listHooks,
  listLiveHooks,
  lockHook,
  lockHooks,
  updateHook,
} from "./store.ts";
import {
  type DeliveryRow,
  endDelivery,
  endPending,
  insertDeliveries,
  listDeliveries,
  lockDelivery,
} from "./store-deliveries.ts";

export type AlertHooksNeeds = {
  database: Pick<Database, "db">;
  changes: Changes;
  cursors: Cursors;
  signing: SigningKeys;
  /** What specgate.yaml says right now. */
  allowsPrivateNetwork: () => boolean;
};

type Query = { limit: number; cursor?: string | undefined };

/** Each is sent to at its own pace, and so many of them can wait at once. */
const hooksMax = 50;

export class AlertHooks {
  readonly #needs: AlertHooksNeeds;

  constructor(needs: AlertHooksNeeds) {
    this.#needs = needs;
  }

  /** Asks DNS, so it is done before a transaction begins. Throws 422 `url_not_allowed`. */
  judge(url: string): Promise<string> {
    return judgeDestination(url, this.#needs.allowsPrivateNetwork());
  }

  /** `url` has been judged. Throws 409 `too_many_hooks`. */
  async create(change: Change, { events }: NewHook, url: string): Promise<NewHookView> {
    const { kid, keys } = this.#needs.signing;
    await lockHooks(change.tx);
    if ((await listLiveHooks(change.tx)).length >= hooksMax) throw tooMany();
    const fresh = { id: newId("hok"), url, events, kid, createdBy: change.actor.id };
    const row = await insertHook(change.tx, fresh);
    await change.record({
      action: "alert_hook.created",
      subject: row.id,
      details: { host: hostOf(url), events },
    });
    const key = keys.get(kid);
    if (key === undefined) throw new Error("new hooks' signing key is missing");
    return { ...this.#view(row), secret: secretOf(key, row.id) };
  }

  async get(id: string): Promise<HookView> {
    return this.#view(found(await findHook(this.#needs.database.db, id)));
  }

  /** Newest first. */
  async page(query: Query): Promise<Page<HookView>> {
    const { cursors, database } = this.#needs;
    const [after = null] = query.cursor === undefined ? [] : cursors.open("alert hooks", query.cursor);
    const rows = await listHooks(database.db, { after, rowsMax: query.limit + 1 });
    const page = pageOf(rows, query.limit, ({ id }) => cursors.seal("alert hooks", [id]));
    return { ...page, data: page.data.map((row) => this.#view(row)) };
  }

  /** What is still to be sent goes to the new URL. Throws `url_not_allowed`, `stale_version`. */
  async change(actor: Actor, id: string, asked: HookChange, seen: number | null): Promise<HookView> {
    const url = asked.url === undefined ? undefined : await this.judge(asked.url);
    return this.#needs.changes.make(actor, async (change) => {
      const row = found(await lockHook(change.tx, id));
      requireVersion(row, seen);
      const difference = differenceOf(row, { url, events: asked.events });
      if (Object.keys(difference).length === 0) return this.#view(row);
      const changed = await updateHook(change.tx, id, difference);
      const { events } = changed;
      const details = { fields: Object.keys(difference), host: hostOf(changed.url), events };
      await change.record({ action: "alert_hook.updated", subject: id, details });
      return this.#view(changed);
    });
  }

  /** Throws `stale_version`. */
  end(actor: Actor, id: string, seen: number | null): Promise<HookView> {
    return this.#needs.changes.make(actor, async (change) => {
      const row = found(await lockHook(change.tx, id));
      requireVersion(row, seen);
      const ended = await endHook(change.tx, id);
      await endPending(change.tx, id, "The hook was deleted.");
      const details = { host: hostOf(row.url) };
      await change.record({ action: "alert_hook.deleted", subject: id, details });
      return this.#view(ended);
    });
  }

  /** Newest first. */
  async deliveries(
    id: string,
    query: Query & { status?: DeliveryStatus | undefined },
  ): Promise<Page<DeliveryView>> {
    const { cursors, database } = this.#needs;
    found(await findHook(database.db, id));
    const list = `alert deliveries ${id}`;
    const [createdAt, last] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const after = createdAt === undefined || last === undefined ? null : { createdAt, id: last };
    const asked = { hookId: id, status: query.status, after, rowsMax: query.limit + 1 };
    const page = pageOf(await listDeliveries(database.db, asked), query.limit, (row) =>
      cursors.seal(list, [row.createdAt.toISOString(), row.id]),
    );
    return { ...page, data: page.data.map(deliveryView) };
  }

  /** The same message as a delivery of its own; one that still waited is not sent a second time. */
  async redeliver(change: Change, id: string): Promise<DeliveryView> {
    const { tx } = change;
    const row = await lockDelivery(tx, id);
    if (row === undefined) throw notFound();
    found(await findHook(tx, row.hookId));
    const { hookId, messageId, type, payload } = row;
    const fresh = { id: newId("dlv"), hookId, messageId, type, payload };
    await this.#supersede(tx, row, fresh.id);
    const [made] = await insertDeliveries(tx, [fresh]);
    if (made === undefined) throw new Error("a statement returned no row");
    const details = { hook_id: hookId, redelivery: fresh.id };
    await change.record({ action: "alert_delivery.repeated", subject: id, details });
    return deliveryView(made);
  }

  async #supersede(tx: Db, row: DeliveryRow, by: string): Promise<void> {
    const { lastStatus } = row;
    await endDelivery(tx, row, { status: "dead", lastStatus, lastError: `It was asked for again: ${by}.` });
  }

  #view(row: HookRow): HookView {
    return {
      id: row.id,
      url: row.url,
      events: row.events as HookView["events"],
      status: this.#needs.signing.keys.has(row.kid) ? "active" : "secret_missing",
      created_by: row.createdBy,
      created_at: row.createdAt.toISOString(),
      version: row.version,
    };
  }
}

const deliveryView = (row: DeliveryRow): DeliveryView => ({
  id: row.id,
  hook_id: row.hookId,
  webhook_id: row.messageId,
  type: row.type,
  payload: row.payload as Message,
  status: row.status,
  tries: row.tries,
  next_try_at: row.nextAt?.toISOString() ?? null,
  last_status: row.lastStatus,
  last_error: row.lastError,
  created_at: row.createdAt.toISOString(),
  ended_at: row.endedAt?.toISOString() ?? null,
});

const hostOf = (url: string): string => new URL(url).host;

function found(row: HookRow | undefined): HookRow {
  if (row === undefined) throw notFound();
  return row;
}

const tooMany = (): Failure =>
  new Failure(
    "conflict",
    "too_many_hooks",
    `There are ${hooksMax} alert hooks already. Delete one, or let one take more events.`,
  );
