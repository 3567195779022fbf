/**
 * Tells the event feed that a project's spend has moved, at most once a second per project, whatever the load.
 *
 * A tick is a hint to look at the summary: what it sums up is told once, but a tick that cannot be written in its second
 * goes out with the next one. Nothing is ever computed from ticks.
 */
import type { Database, Db } from "../../db/database.ts";
import { insertEvents } from "../../db/events.ts";
import type { EndRecord, StartRecord } from "../../db/ledger.ts";
import type { Log } from "../../platform/log.ts";
import { formatUsd } from "../../platform/money.ts";
import type { Books } from "./books.ts";
import { listTicked } from "./store.ts";

export type TicksNeeds = {
  database: Database;
  /** Resolves when what is durable now can be read in summaries. */
  settled: () => Promise<void>;
  /** Called after a commit that told events. */
  told: () => void;
  log: Log;
};

type Spent = { requests: number; costNano: number };

const everyMs = 1_000;
const partingMs = 1_000;

export class Ticks {
  readonly #needs: TicksNeeds;
  /** Calls under way, by request; those of no project are not in it. */
  readonly #projects = new Map<string, string>();
  #spent = new Map<string, Spent>();
  #timer: Timer | null = null;
  #writing: Promise<void> | null = null;
  #failing = false;

  constructor(needs: TicksNeeds) {
    this.#needs = needs;
  }

  /** `books` that note what each call of a project came to. */
  counting(books: Books): Books {
    return {
      start: (record: StartRecord) => {
        const ticket = books.start(record);
        if (record.project_id !== null) this.#projects.set(record.req, record.project_id);
        return ticket;
      },
      end: (record: EndRecord) => {
        if (record.close !== null) this.#note(record.req, record.close.cost ?? 0);
        return books.end(record);
      },
    };
  }

  /** Tells what is left if the database takes it soon; a tick is not worth waiting for. */
  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    const last = (this.#writing ?? Promise.resolve()).then(() => this.#write());
    await Promise.race([last, Bun.sleep(partingMs)]);
  }

  #note(request: string, costNano: number): void {
    const projectId = this.#projects.get(request);
    if (projectId === undefined) return;
    this.#projects.delete(request);
    const before = this.#spent.get(projectId) ?? { requests: 0, costNano: 0 };
    this.#spent.set(projectId, { requests: before.requests + 1, costNano: before.costNano + costNano });
    this.#schedule();
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#writing = this.#write().finally(() => {
        this.#timer = null;
        this.#writing = null;
        if (this.#spent.size > 0) this.#schedule();
      });
    }, everyMs);
  }

  async #write(): Promise<void> {
    const spent = this.#spent;
    if (spent.size === 0) return;
    this.#spent = new Map();
    try {
      await this.#needs.settled();
      const kept = await this.#needs.database.transaction((tx) => tick(tx, spent));
      this.#keep(kept);
      if (kept.size < spent.size) this.#needs.told();
      this.#failing = false;
    } catch (error) {
      this.#keep(spent);
      if (!this.#failing) this.#needs.log.debug("spending cannot be told right now", { error });
      this.#failing = true;
    }
  }

  #keep(spent: ReadonlyMap<string, Spent>): void {
    for (const [projectId, { requests, costNano }] of spent) {
      const now = this.#spent.get(projectId) ?? { requests: 0, costNano: 0 };
      this.#spent.set(projectId, { requests: now.requests + requests, costNano: now.costNano + costNano });
    }
  }
}

/** Returns what has to wait, because another instance has told of that project within the second. */
async function tick(tx: Db, spent: ReadonlyMap<string, Spent>): Promise<Map<string, Spent>> {
  const ticked = new Set(await listTicked(tx, [...spent.keys()]));
  const due = [...spent].filter(([projectId]) => !ticked.has(projectId));
  await insertEvents(
    tx,
    due.map(([projectId, { requests, costNano }]) => ({
      projectId,
      sessionId: null,
      type: "usage.tick",
      payload: { id: projectId, requests, cost_usd: formatUsd(costNano) },
    })),
  );
  return new Map([...spent].filter(([projectId]) => ticked.has(projectId)));
}
