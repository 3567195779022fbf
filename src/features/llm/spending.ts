/**
 * What is told on of each attempt, beside its END: tokens to the limits that count them, ids of what the provider keeps,
 * and a model that was used though nobody knows its price.
 */
import type { RaiseAlarm } from "../../db/alarms.ts";
import type { StartRecord, Usage } from "../../db/ledger.ts";
import type { OpenedBy } from "../../platform/guard.ts";
import type { NanoUsd } from "../../platform/money.ts";
import type { States } from "./states.ts";

export type Attempt = {
  readonly call: OpenedBy;
  readonly start: StartRecord;
  readonly usage: Usage;
  /** Nano-USD; null when the price is not known. */
  readonly cost: NanoUsd | null;
  /** The model whose price is not known; null where it is the call's alone, which no price that somebody sets would end. */
  readonly unpriced: string | null;
  readonly kept: readonly string[];
};

export type Noted = (attempt: Attempt) => void;

export type SpendingNeeds = {
  states: Pick<States, "remember">;
  raise: RaiseAlarm;
  /** For limits that count tokens. */
  spent: (credentialId: string, tokens: number) => void;
  projectSpent: (projectId: string, tokens: number) => void;
};

/** Names of models are the callers', and each would be told of: of so many at one provider in an hour, no further ones. */
const toldPerHour = 20;
const hourMs = 3_600_000;

export function createSpending(needs: SpendingNeeds): Noted {
  const isNews = createNews();
  return ({ call, start, usage, cost, unpriced, kept }) => {
    const tokens = (usage.input ?? 0) + (usage.output ?? 0);
    needs.spent(call.principal.credentialId, tokens);
    if (start.project_id !== null) needs.projectSpent(start.project_id, tokens);
    if (kept.length > 0) needs.states.remember(start.provider, kept, ownerOf(start));
    if (cost !== null) return;
    const { provider, req } = start;
    const model = (unpriced ?? start.model).slice(0, 256);
    const price_of = unpriced === null ? "call" : "model";
    const once = `price.unknown:${price_of}:${provider}/${model}:${start.at.slice(0, 10)}`;
    if (!isNews(provider, once, Date.parse(start.at))) return;
    needs.raise({ type: "price.unknown", once, payload: { provider, model, price_of, request_id: req } });
  };
}

/** The database knows what was told of on a day; here is remembered what need not be told again, and how much was. */
function createNews(): (provider: string, once: string, atMs: number) => boolean {
  const told = new Map<string, Set<string>>();
  let hour = 0;
  return (provider, once, atMs) => {
    const now = Math.floor(atMs / hourMs);
    if (now > hour) {
      told.clear();
      hour = now;
    }
    const ofProvider = told.get(provider) ?? new Set();
    told.set(provider, ofProvider);
    if (ofProvider.has(once) || ofProvider.size >= toldPerHour) return false;
    ofProvider.add(once);
    return true;
  };
}

/** Whose it is what a provider keeps: a project's, or outside of projects its caller's. */
export const ownerOf = ({ project_id, principal }: Pick<StartRecord, "project_id" | "principal">): string =>
  project_id ?? principal;
