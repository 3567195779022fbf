/**
 * What answers below `/v1`, and what it needs of the rest of the house: books, budgets, limits, prices, alarms.
 */
import type { RaiseAlarm } from "./db/alarms.ts";
import { Breakers } from "./features/llm/breakers.ts";
import { createTokenCounter } from "./features/llm/count.ts";
import type { Books } from "./features/llm/exchange.ts";
import type { Holds } from "./features/llm/holds.ts";
import { Completions, type LlmNeeds } from "./features/llm/llm.ts";
import type { Prices } from "./features/llm/prices.ts";
import { createSpending } from "./features/llm/spending.ts";
import { States } from "./features/llm/states.ts";
import { Watch } from "./features/llm/watch.ts";
import type { GuardedFetch } from "./platform/guarded-fetch.ts";
import type { WiringInput } from "./wiring.ts";
import type { Throttle } from "./wiring-limits.ts";

export type Llm = { readonly completions: Completions; close(): void };

type WireLlmNeeds = {
  books: Books;
  holds: Holds;
  prices: Prices;
  throttle: Throttle;
  raise: RaiseAlarm;
  fetch: GuardedFetch;
  locate: LlmNeeds["locate"];
};

export function wireLlm({ gateway, database, clock }: WiringInput, needs: WireLlmNeeds): Llm {
  const { raise, throttle } = needs;
  const { limits, streams } = throttle;
  const counter = createTokenCounter();
  const states = new States({ db: database.db });
  const spent = limits.spend;
  const { admit: admitProject, spend: projectSpent } = limits.projects;
  const noted = createSpending({ states, raise, spent, projectSpent });
  const breakers = new Breakers({ raise, clock });
  const watch = new Watch();
  const { count } = counter;
  const completions = new Completions({
    ...needs,
    gateway,
    clock,
    states,
    streams,
    admitProject,
    noted,
    breakers,
    watch,
    count,
  });
  return { completions, close: () => counter.close() };
}
