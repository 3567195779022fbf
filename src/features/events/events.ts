/**
 * Who hears what of the event feed, and for how long.
 *
 * A stream shows what its credential may see at the moment it begins, and ends as soon as that may have changed: with a
 * revocation, a changed membership, or the credential's own end. The reader then comes back with its cursor and is judged
 * anew. Every 30 seconds it is looked whether a revocation went unheard.
 */
import type { Database } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { Failure } from "../../platform/failure.ts";
import type { Cursors } from "../../platform/page.ts";
import { isEndedBy, type Principal } from "../../platform/principal.ts";
import { isAdmin, rightsIn } from "../../platform/scopes.ts";
import type { EventFeed } from "./feed.ts";
import { type Position, reachesBack } from "./store.ts";
import { type Beginning, type Sight, Subscription } from "./subscription.ts";

export type EventsNeeds = {
  database: Database;
  feed: EventFeed;
  cursors: Cursors;
  clock: Clock;
  /** How long cursors are honoured, as the configuration says right now. The log keeps a little more. */
  keptMs: () => number;
  /** Counts clusters: the transaction ids in a cursor belong to one. */
  epoch: number;
  /** Calls back with the subject of each revocation; returns how to stop. */
  onRevoked: (listener: (subject: string) => void) => () => void;
  /** Whether anything was recorded since then that ends this credential or changes what it may. */
  isEnded: (principal: Principal, since: Date) => Promise<boolean>;
};

/** However short the setting is or was, the log keeps this much; beyond it a cursor is held against the log. */
const alwaysKeptMs = 3_600_000;
const recheckMs = 30_000;
/** How much the database's clock, by which revocations are dated, may be behind. */
const clocksApartMs = 10_000;
const streamsPerCredential = 100;
const list = "events";

export class Events {
  readonly #needs: EventsNeeds;
  readonly #open = new Map<Subscription, { principal: Principal; since: Date }>();
  readonly #stop: () => void;
  readonly #timer: Timer;

  constructor(needs: EventsNeeds) {
    this.#needs = needs;
    this.#stop = needs.onRevoked((subject) => this.#endWith(subject));
    this.#timer = setInterval(() => void this.#recheck(), recheckMs);
  }

  /** `projectId` null: all projects that the caller may see. Throws 429 beyond a hundred streams of one credential. */
  async stream(
    principal: Principal,
    projectId: string | null,
    lastEventId: string | null,
  ): Promise<ReadableStream<Uint8Array>> {
    const { database, feed } = this.#needs;
    let isOver = false;
    const stop = this.#needs.onRevoked((subject) => {
      isOver ||= concerns(principal, subject);
    });
    // What was written before the reader came is not news to it; what ends it meanwhile is.
    const asked = Promise.all([this.#beginning(lastEventId), feed.read()]);
    const [beginning] = await asked.finally(stop);
    this.#requireRoom(principal);
    const sight = { ...sightOf(principal, projectId), sessionId: principal.sessionId };
    const seal = (position: Position, atMs: number) => this.#seal(position, atMs);
    const close = () => {
      clearTimeout(end);
      this.#open.delete(subscription);
    };
    const needs = { db: database.db, feed, seal };
    const subscription = new Subscription(needs, sight, beginning, close);
    const end = setTimeout(() => subscription.end(), lifeMs(principal, this.#needs.clock.now()));
    this.#open.set(subscription, { principal, since: new Date(Date.now() - clocksApartMs) });
    if (isOver) subscription.end();
    return subscription.body;
  }

  /** Ends them all: whoever reads comes back, elsewhere if this instance is going. */
  close(): void {
    this.#stop();
    clearInterval(this.#timer);
    for (const subscription of this.#open.keys()) subscription.end();
  }

  #requireRoom(principal: Principal): void {
    let streams = 0;
    for (const held of this.#open.values()) if (held.principal.holderId === principal.holderId) streams += 1;
    if (streams < streamsPerCredential) return;
    throw new Failure(
      "rate",
      "too_many_streams",
      `This credential holds ${streamsPerCredential} event streams already. Close one first.`,
      { retryAfterSeconds: 10 },
    );
  }

  #seal({ xid, id }: Position, atMs: number): string {
    return this.#needs.cursors.seal(list, [String(this.#needs.epoch), xid, String(id), String(atMs)]);
  }

  /** A cursor that is too old, of another cluster, or none of ours at all: the reader begins anew and is told so. */
  async #beginning(lastEventId: string | null): Promise<Beginning> {
    if (lastEventId === null || lastEventId === "") return { from: null, reset: false };
    const from = await this.#kept(lastEventId);
    return { from, reset: from === null };
  }

  async #kept(cursor: string): Promise<Position | null> {
    const [epoch, xid = "0", id, atMs] = this.#opened(cursor);
    const position = { xid, id: Number(id) };
    const ageMs = this.#needs.clock.now() - Number(atMs);
    if (epoch !== String(this.#needs.epoch) || !(ageMs <= this.#needs.keptMs())) return null;
    // When cursors were honoured for a shorter time until now, some of what followed this one may be gone already.
    const isWhole = ageMs <= alwaysKeptMs || (await reachesBack(this.#needs.database.db, position));
    return isWhole ? position : null;
  }

  #opened(cursor: string): string[] {
    try {
      return this.#needs.cursors.open(list, cursor);
    } catch (error) {
      if (error instanceof Failure) return [];
      throw error;
    }
  }

  #endWith(subject: string): void {
    for (const [subscription, { principal }] of this.#open)
      if (concerns(principal, subject)) subscription.end();
  }

  async #recheck(): Promise<void> {
    for (const [subscription, held] of [...this.#open]) {
      // A database that is away says nothing; the next look, or the log when it is back, does.
      const isEnded = await this.#needs.isEnded(held.principal, held.since).catch(() => false);
      if (isEnded) subscription.end();
    }
  }
}

/** Any changed membership of theirs: what they see is fixed when a stream begins. */
function concerns(principal: Principal, subject: string): boolean {
  if (isEndedBy(principal, subject)) return true;
  return principal.userId !== null && subject.startsWith(`${principal.userId} `);
}

function sightOf(principal: Principal, projectId: string | null): Pick<Sight, "projectIds"> {
  if (projectId !== null) return { projectIds: [projectId] };
  if (principal.projectId !== null) return { projectIds: [principal.projectId] };
  if (isAdmin(principal)) return { projectIds: null };
  const ids = [...principal.memberships.keys()];
  return { projectIds: ids.filter((id) => rightsIn(principal, id)?.scopes.has("control:read")) };
}

/** setTimeout's own limit is below a key's year. */
const lifeMs = ({ expiresAt }: Principal, now: number): number =>
  Math.min(Math.max(0, expiresAt - now), 2_147_483_647);
