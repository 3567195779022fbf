/**
 * What an attempt came to for the books: whether its numbers are the provider's own, what is known of its cost, and what
 * hard budgets pay for it.
 */
import type { PriceSnapshot, StartRecord, Usage } from "../../db/ledger.ts";
import type { NanoUsd } from "../../platform/money.ts";
import { type Account, type Outcome, type State, withUncertainty } from "./account.ts";
import type { Ending } from "./exchange.ts";
import type { Meter } from "./meter.ts";
import { costOf } from "./prices.ts";
import type { Unseen } from "./unseen.ts";

export type Finished = {
  readonly ending: Ending;
  readonly usage: Usage | null;
  readonly start: StartRecord;
  readonly account: Account;
  readonly meter: Meter;
  readonly unseen: Unseen | null;
  /** What another model costs at the same provider. */
  readonly priceOf: (model: string) => PriceSnapshot | null;
  /** The words by which the caller asked for another price than the model's own. */
  readonly asksApart: readonly string[];
  /** False where the provider broke off by itself; the gateway's own clock counts as ours. */
  readonly isCutHere: boolean;
};

/** Counting a request's tokens is free at every provider that offers it. */
export const isFree = ({ endpoint }: StartRecord): boolean => endpoint === "messages/count_tokens";

/** Whether there is an answer to count when nobody else has. */
export const isText = ({ endpoint }: StartRecord): boolean => endpoint !== "embeddings";

export function outcomeOf(finished: Finished): Outcome {
  const { ending, usage, start, account, meter, unseen, isCutHere } = finished;
  const state = stateOf(ending, start, meter);
  if (state === "failed" || isFree(start)) return { state, cost: 0, charged: 0 };
  const atOwnPrice = billOf(usage, finished);
  // Where nobody knows the cost, a budget counts the least that it can be taken for.
  const cost = isApart(finished) || unpricedModel(finished) !== null ? null : atOwnPrice;
  if (account.hold === null) return { state, cost, charged: atOwnPrice };
  const { nano } = account.hold;
  const wasCut = ending !== "answered" && !meter.isFinal;
  if (state === "unknown" || cost === null) return { state, cost, charged: Math.max(nano, atOwnPrice ?? 0) };
  if (!wasCut || usage === null) return { state, cost, charged: cost };
  // Of a document nothing is known before its end, and a provider that breaks off writes its bill all the same.
  if (!start.stream) return { state, cost, charged: Math.max(nano, cost) };
  if (!isCutHere) return { state, cost, charged: cost };
  // Whoever breaks a call off does not leave its price: where nobody sees what it used, it is charged as if all of it.
  if (usesUnseen(meter, unseen)) return { state, cost, charged: Math.max(nano, cost) };
  return { state, cost, charged: billOf(withUncertainty(usage), finished) };
}

/** What the provider says of a word is worth more than what was asked by it. */
const isApart = ({ asksApart, meter: { pricedApart } }: Finished): boolean =>
  Object.values(pricedApart).includes(true) || asksApart.some((word) => pricedApart[word] !== false);

/** Whose price is missing: the call's own model, or one that advised it. */
export function unpricedModel({ start, meter, priceOf }: Pick<Finished, "start" | "meter" | "priceOf">) {
  if (start.prices === null) return start.model;
  return meter.passes.find(({ model }) => model !== null && priceOf(model) === null)?.model ?? null;
}

/** An adviser whose price is not known is taken to cost what the model does. */
function billOf(usage: Usage | null, { start, meter, priceOf }: Finished): NanoUsd | null {
  const passes = meter.passes.map(({ usage, model }) => ({
    usage,
    prices: (model === null ? null : priceOf(model)) ?? start.prices,
  }));
  return costOf(usage, start.prices, passes);
}

function stateOf(ending: Ending, start: StartRecord, meter: Meter): State {
  if (ending === "refused") return "failed";
  if (ending === "silent") return "unknown";
  const isWhole = ending === "answered" || meter.isFinal;
  return isWhole && isReported(start, meter) ? "settled" : "estimated";
}

/** Whether the provider said all that is billed, so that nothing had to be counted here. */
function isReported(start: StartRecord, { usage }: Meter): boolean {
  if (usage === null || isFree(start)) return usage !== null;
  return usage.input !== null && (usage.output !== null || !isText(start));
}

/** Whether what was seen of a cut stream is not all that it used. */
function usesUnseen({ usage, unreadBytes }: Meter, unseen: Unseen | null): boolean {
  if (unseen?.output || unreadBytes > 0) return true;
  // What a provider reports at an answer's first event knows nothing yet of what its own tools will read.
  return unseen?.input === true && (unseen.lookUps || usage?.input == null);
}
