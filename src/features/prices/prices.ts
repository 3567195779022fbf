/**
 * What administrators say a token costs, over what specgate.yaml and the built-in table say.
 *
 * A price is set from a moment on, now or later, and never for what is past: rows of usage keep the prices they were made
 * with, and history does not change. What was set is ended by setting null, and nothing is ever taken back.
 */
import type { Actor } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { Db } from "../../db/database.ts";
import type { PriceSnapshot, Rates } from "../../db/ledger.ts";
import { type Clock, rfc3339 } from "../../platform/clock.ts";
import type { PriceConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { formatUsd } from "../../platform/money.ts";
import { type Cursors, pageOf } from "../../platform/page.ts";
import type {
  InForceView,
  OverrideView,
  PriceAsked,
  PricesQuery,
  PricesView,
  RatesView,
} from "./contract.ts";
import type { Overrides } from "./overrides.ts";
import { insertOverride, listOverrides, lockOverrides, type OverrideRow, readNow } from "./store.ts";

/** What holds for one model, as whoever prices calls knows it. */
export type Explain = (
  provider: string,
  model: string,
) => {
  source: InForceView["source"];
  pattern: string | null;
  prices: PriceSnapshot | null;
  sinceMs: number | null;
  contextTokens: number | null;
};

export type PriceBookNeeds = {
  db: Db;
  changes: Changes;
  cursors: Cursors;
  clock: Pick<Clock, "now">;
  overrides: Overrides;
  explain: Explain;
  /** What the file says right now. */
  file: () => Record<string, PriceConfig>;
};

const list = "prices";

export class PriceBook {
  constructor(private readonly needs: PriceBookNeeds) {}

  async list({ limit, cursor, model }: PricesQuery): Promise<PricesView> {
    const { db, cursors, file } = this.needs;
    const [after] = cursor === undefined ? [] : cursors.open(list, cursor);
    const rows = await listOverrides(db, {
      after: after === undefined ? null : Number(after),
      rowsMax: limit + 1,
    });
    const page = pageOf(rows, limit, (last) => cursors.seal(list, [String(last.id)]));
    const written = Object.entries(file()).map(([name, price]) => [name, fileView(price)] as const);
    return {
      data: page.data.map((row) => this.#view(row)),
      next_cursor: page.next_cursor,
      file: Object.fromEntries(written),
      ...(model === undefined ? {} : { model: this.#inForce(model) }),
    };
  }

  /** In force on this instance when it resolves. Throws 422 `effective_from_past`. */
  async set(actor: Actor, asked: PriceAsked): Promise<OverrideView> {
    const { changes, overrides } = this.needs;
    const row = await changes.make(actor, async ({ tx, record }) => {
      await lockOverrides(tx);
      const now = await readNow(tx);
      const effectiveFrom = asked.effective_from ?? now;
      if (effectiveFrom < now) throw isPast(now);
      const prices = snapshotOf(asked);
      const { model } = asked;
      const inserted = await insertOverride(tx, { model, prices, effectiveFrom, createdBy: actor.id });
      await record({
        action: prices === null ? "price.ended" : "price.set",
        subject: model,
        details: {
          prices: prices === null ? null : ratesView(prices),
          effective_from: effectiveFrom.toISOString(),
        },
      });
      return inserted;
    });
    await overrides.refresh();
    return this.#view(row);
  }

  #inForce(name: string): InForceView {
    const slash = name.indexOf("/");
    const found = this.needs.explain(name.slice(0, slash), name.slice(slash + 1));
    const { source, pattern, prices, sinceMs, contextTokens } = found;
    return {
      model: name,
      source,
      pattern,
      prices: prices === null ? null : snapshotView(prices),
      since: sinceMs === null ? null : rfc3339(sinceMs),
      context_tokens: contextTokens,
    };
  }

  #view(row: OverrideRow): OverrideView {
    return {
      model: row.model,
      prices: row.prices === null ? null : ratesView(row.prices),
      effective_from: row.effectiveFrom.toISOString(),
      status: this.needs.overrides.statusOf(row, this.needs.clock.now()),
      created_by: row.createdBy,
      created_at: row.createdAt.toISOString(),
    };
  }
}

const isPast = (now: Date): Failure =>
  new Failure(
    "unprocessable",
    "effective_from_past",
    `Prices hold from now on and never for what is past. Leave effective_from out, or give a time after ${now.toISOString()}.`,
  );

/** A rate left out falls back to `input`. */
function snapshotOf({ input, cached_read, cache_write, output }: PriceAsked): PriceSnapshot | null {
  if (input === undefined) return null;
  return {
    input,
    cached_read: cached_read ?? input,
    cache_write: cache_write ?? input,
    output: output ?? input,
  };
}

const fileView = (price: PriceConfig): RatesView =>
  ratesView({
    input: price.inputNanoPerMtok,
    cached_read: price.cachedReadNanoPerMtok,
    cache_write: price.cacheWriteNanoPerMtok,
    output: price.outputNanoPerMtok,
  });

function snapshotView(prices: PriceSnapshot): NonNullable<InForceView["prices"]> {
  const { tiers } = prices;
  if (tiers === undefined) return ratesView(prices);
  return { ...ratesView(prices), tiers: tiers.map((tier) => ({ above: tier.above, ...ratesView(tier) })) };
}

function ratesView({ cache_write_long, audio_input, audio_output, ...rates }: Rates): RatesView {
  return {
    input: formatUsd(rates.input),
    cached_read: formatUsd(rates.cached_read),
    cache_write: formatUsd(rates.cache_write),
    output: formatUsd(rates.output),
    ...(cache_write_long === undefined ? {} : { cache_write_long: formatUsd(cache_write_long) }),
    ...(audio_input === undefined ? {} : { audio_input: formatUsd(audio_input) }),
    ...(audio_output === undefined ? {} : { audio_output: formatUsd(audio_output) }),
  };
}
