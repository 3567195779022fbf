/**
 * Overrides as calls ask for them: in memory, from before the first call on, the same on all instances within 2 s.
 *
 * One that begins later begins at its moment, wherever the database is then. With the database away the last known ones
 * hold. Of rows for one name the one with the latest beginning counts, and of equals the one that was set last.
 */
import type { Database } from "../../db/database.ts";
import type { PriceSnapshot } from "../../db/ledger.ts";
import type { Log } from "../../platform/log.ts";
import { countOverrides, type OverrideRow, readOverrides } from "./store.ts";

export type InForce = ReadonlyMap<string, { prices: PriceSnapshot; sinceMs: number }>;

const pollMs = 1_000;
const nothing: InForce = new Map();

export class Overrides {
  readonly #needs: { database: Pick<Database, "db">; log: Log };
  #rows: readonly OverrideRow[] = [];
  #known = nothing;
  /** The next moment at which something begins. */
  #untilMs = Number.POSITIVE_INFINITY;
  #reading: Promise<void> | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(needs: { database: Pick<Database, "db">; log: Log }) {
    this.#needs = needs;
  }

  /** Resolves when they are known. */
  async start(): Promise<void> {
    await this.#read();
    this.#timer = setInterval(() => void this.#poll(), pollMs);
    this.#timer.unref?.();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#reading;
  }

  /** The same object until something else is in force. */
  at(nowMs: number): InForce {
    if (nowMs >= this.#untilMs) this.#compute(nowMs);
    return this.#known;
  }

  /** What was just set here holds from now on. */
  async refresh(): Promise<void> {
    await this.#reading;
    await this.#poll();
  }

  /** How a row stands. */
  statusOf(row: Pick<OverrideRow, "id" | "model" | "effectiveFrom">, nowMs: number) {
    const beginsMs = row.effectiveFrom.getTime();
    const later = this.#rows.some(
      (other) => other.model === row.model && isLater(other, row) && other.effectiveFrom.getTime() <= nowMs,
    );
    if (later) return "over";
    if (beginsMs <= nowMs) return "in_force";
    const replaced = this.#rows.some(
      (other) => other.model === row.model && other.id > row.id && other.effectiveFrom.getTime() === beginsMs,
    );
    return replaced ? "over" : "scheduled";
  }

  #poll(): Promise<void> {
    this.#reading ??= this.#readIfGrown().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  async #readIfGrown(): Promise<void> {
    try {
      if ((await countOverrides(this.#needs.database.db)) !== this.#rows.length) await this.#read();
    } catch (error) {
      this.#needs.log.debug("price overrides not read", { error });
    }
  }

  async #read(): Promise<void> {
    this.#rows = await readOverrides(this.#needs.database.db);
    // At the next question, with the clock of whoever asks.
    this.#untilMs = 0;
  }

  #compute(nowMs: number): void {
    const latest = new Map<string, OverrideRow>();
    this.#untilMs = Number.POSITIVE_INFINITY;
    for (const row of this.#rows) {
      const beginsMs = row.effectiveFrom.getTime();
      if (beginsMs > nowMs) this.#untilMs = Math.min(this.#untilMs, beginsMs);
      else if (isLater(row, latest.get(row.model))) latest.set(row.model, row);
    }
    this.#known = new Map(
      [...latest].flatMap(([model, { prices, effectiveFrom }]) =>
        prices === null ? [] : [[model, { prices, sinceMs: effectiveFrom.getTime() }]],
      ),
    );
  }
}

type Begun = Pick<OverrideRow, "id" | "effectiveFrom">;

function isLater(row: Begun, other: Begun | undefined): boolean {
  if (other === undefined) return true;
  const apart = row.effectiveFrom.getTime() - other.effectiveFrom.getTime();
  return apart > 0 || (apart === 0 && row.id > other.id);
}
