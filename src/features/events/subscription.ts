/**
 * One reader of the event feed, as server-sent events (WHATWG HTML, section 9.2).
 *
 * First what the log holds behind the reader's cursor, then what the feed hears from there on: no row twice, none left
 * out. A reader that is slower than the events is let go: it comes back with its cursor and has lost nothing. Every frame
 * that says something carries the cursor behind it; a heartbeat carries the newest one, so that a quiet reader's does not
 * grow old.
 */
import type { Db } from "../../db/database.ts";
import type { EventFeed } from "./feed.ts";
import { type EventRow, type Position, readEvents } from "./store.ts";

export type Sight = {
  /** Null: all projects. */
  readonly projectIds: readonly string[] | null;
  /** The one session that a credential is bound to, or null. */
  readonly sessionId: string | null;
};

export type SubscriptionNeeds = {
  db: Db;
  feed: EventFeed;
  /** The cursor as a reader gets it; everything before it had happened by `atMs`. */
  seal: (position: Position, atMs: number) => string;
};

/** `from` null: from now on. `reset`: the reader's own cursor was of no use. */
export type Beginning = { readonly from: Position | null; readonly reset: boolean };

const heartbeatMs = 15_000;
const bytesMax = 4 * 1024 * 1024;
const rowsMax = 500;

export class Subscription {
  readonly body: ReadableStream<Uint8Array>;
  readonly #needs: SubscriptionNeeds;
  readonly #sight: Sight;
  readonly #encoder = new TextEncoder();
  readonly #onEnd: () => void;
  /** What the feed said while the log was still being read; null once that is over. */
  #early: EventRow[] | null = [];
  #waiting: string[] = [];
  #waitingBytes = 0;
  #ready = Promise.withResolvers<void>();
  #over = false;
  #gone = false;
  #stopListening: () => void;
  #heart: Timer;

  constructor(needs: SubscriptionNeeds, sight: Sight, beginning: Beginning, onEnd: () => void) {
    this.#needs = needs;
    this.#sight = sight;
    this.#onEnd = onEnd;
    const joined = needs.feed.place;
    this.#stopListening = needs.feed.listen((rows) => this.#hear(rows));
    this.#heart = setInterval(() => this.#beat(), heartbeatMs);
    this.body = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => this.#pull(controller),
        cancel: () => {
          this.#gone = true;
          this.end();
        },
      },
      { highWaterMark: 0 },
    );
    const opening = beginning.from === null ? this.#idLine(joined) : "";
    this.#send(`retry: 1000\n${opening}\n`);
    if (beginning.reset) this.#send(`event: reset\n${this.#idLine(joined)}data: {"reason":"cursor"}\n\n`);
    void this.#catchUp(beginning.from ?? joined, joined);
  }

  /** What is on its way to the reader still goes out. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopListening();
    clearInterval(this.#heart);
    this.#ready.resolve();
    this.#onEnd();
  }

  async #catchUp(from: Position, until: Position): Promise<void> {
    try {
      for (let after = from; !this.#over; ) {
        const asked = { after, until, projectIds: this.#sight.projectIds, rowsMax };
        const rows = await readEvents(this.#needs.db, asked);
        this.#show(rows);
        const last = rows.at(-1);
        if (rows.length < rowsMax || last === undefined) break;
        after = last;
        await this.#drained();
      }
      const early = this.#early ?? [];
      this.#early = null;
      this.#show(early);
    } catch {
      // The database is away: the reader comes back with the cursor of the last frame it got.
      this.end();
    }
  }

  #hear(rows: readonly EventRow[]): void {
    if (this.#early !== null) this.#early.push(...rows);
    else this.#show(rows);
    if (this.#waitingBytes > bytesMax || (this.#early?.length ?? 0) > 100_000) this.end();
  }

  #show(rows: readonly EventRow[]): void {
    const { projectIds, sessionId } = this.#sight;
    for (const row of rows) {
      if (projectIds !== null && !projectIds.includes(row.projectId)) continue;
      if (sessionId !== null && row.sessionId !== sessionId) continue;
      const told = { ...row.payload, project_id: row.projectId, session_id: row.sessionId, at: row.at };
      this.#send(
        `event: ${row.type}\n${this.#idLine(row, Date.parse(row.at))}data: ${JSON.stringify(told)}\n\n`,
      );
    }
  }

  /** No cursor while the log is still being read: what is behind the place has not been shown yet. */
  #beat(): void {
    if (this.#early !== null || this.#waiting.length > 0) this.#send(": heartbeat\n\n");
    else this.#send(`: heartbeat\n${this.#idLine(this.#needs.feed.place)}\n`);
  }

  #idLine(position: Position, atMs = Date.now()): string {
    return `id: ${this.#needs.seal(position, atMs)}\n`;
  }

  #send(frame: string): void {
    if (this.#over) return;
    this.#waiting.push(frame);
    this.#waitingBytes += frame.length;
    this.#ready.resolve();
  }

  /** The log is read no faster than the reader takes it. */
  async #drained(): Promise<void> {
    while (this.#waitingBytes > bytesMax / 4 && !this.#over) await Bun.sleep(50);
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    if (this.#waiting.length === 0 && !this.#over) await this.#ready.promise;
    if (this.#gone) return;
    const frames = this.#waiting.splice(0);
    this.#waitingBytes = 0;
    if (!this.#over) this.#ready = Promise.withResolvers<void>();
    if (frames.length > 0) controller.enqueue(this.#encoder.encode(frames.join("")));
    if (this.#over) controller.close();
  }
}
