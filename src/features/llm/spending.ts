/**
 * What is told on of each attempt, beside its END: tokens to the limits that count them, ids of what the provider keeps,
 * and a model that was used though nobody knows its price.
 */
import type { RaiseAlarm } from "../../db/alarms.ts";
import type { StartRecord, Usage } from "../../db/ledger.ts";
import type { OpenedBy } from "../../platform/guard.ts";
import type { NanoUsd } from "../../platform/money.ts";
import type { States } from "./states.ts";

export type Noted = (attempt: {
  readonly call: OpenedBy;
  readonly start: StartRecord;
  readonly usage: Usage;
  /** Nano-USD; null when the price is not known. */
  readonly cost: NanoUsd | null;
  readonly kept: readonly string[];
}) => void;

export type SpendingNeeds = {
  states: Pick<States, "remember">;
  raise: RaiseAlarm;
  /** For limits that count tokens. */
  spent: (credentialId: string, tokens: number) => void;
  projectSpent: (projectId: string, tokens: number) => void;
};

/** Of so many models a day it is remembered that they were told of; the database knows it of all. */
const toldMax = 1_000;

export function createSpending(needs: SpendingNeeds): Noted {
  const told = new Set<string>();
  return ({ call, start, usage, cost, kept }) => {
    const tokens = (usage.input ?? 0) + (usage.output ?? 0);
    needs.spent(call.principal.credentialId, tokens);
    if (start.project_id !== null) needs.projectSpent(start.project_id, tokens);
    if (kept.length > 0) needs.states.remember(start.provider, kept, ownerOf(start));
    if (cost !== null) return;
    const { provider, model, req } = start;
    const once = `price.unknown:${provider}/${model}:${start.at.slice(0, 10)}`;
    if (told.has(once)) return;
    if (told.size >= toldMax) told.clear();
    told.add(once);
    needs.raise({ type: "price.unknown", once, payload: { provider, model, request_id: req } });
  };
}

/** Whose it is what a provider keeps: a project's, or outside of projects its caller's. */
export const ownerOf = ({ project_id, principal }: Pick<StartRecord, "project_id" | "principal">): string =>
  project_id ?? principal;
