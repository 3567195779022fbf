/**
 * What answers model calls, and what it needs of the rest of the house: books, budgets, limits, prices, alarms.
 */
import type { RaiseAlarm } from "./db/alarms.ts";
import { Breakers } from "./features/llm/breakers.ts";
import { createTokenCounter } from "./features/llm/count.ts";
import { Completions, type LlmNeeds } from "./features/llm/llm.ts";
import { createSpending } from "./features/llm/spending.ts";
import { States } from "./features/llm/states.ts";
import { Watch } from "./features/llm/watch.ts";
import type { Ledger } from "./features/usage/ledger.ts";
import type { GuardedFetch } from "./platform/guarded-fetch.ts";
import type { Cursors } from "./platform/page.ts";
import type { WiringInput } from "./wiring.ts";
import type { Alerts } from "./wiring-alerts.ts";
import { wireBudgets } from "./wiring-budgets.ts";
import type { wireControl } from "./wiring-control.ts";
import type { Identity } from "./wiring-identity.ts";
import { type Throttle, wirePrices } from "./wiring-limits.ts";

type WireCallsNeeds = {
  identity: Identity;
  work: Awaited<ReturnType<typeof wireControl>>;
  cursors: Cursors;
  ledger: Ledger;
  alerts: Alerts;
  throttle: Throttle;
  fetch: GuardedFetch;
  locate: LlmNeeds["locate"];
};

export type Calls = Awaited<ReturnType<typeof wireCalls>>;

export async function wireCalls(input: WiringInput, needs: WireCallsNeeds) {
  const { identity, work, cursors, ledger, alerts } = needs;
  const changing = { changes: work.changes, cursors };
  const pricing = await wirePrices(input, changing);
  const money = await wireBudgets(input, changing);
  const { prices, priceBook } = pricing;
  const books = work.ticks.counting(ledger.books);
  const { raise } = alerts;
  const counter = createTokenCounter();
  const counting = { count: counter.count, guess: counter.close };
  const asked = { ...needs, ...counting, books, holds: money.holds, prices, raise };
  const completions = completionsOf(input, asked);
  identity.feed.onRevoked((subject) => completions.cut(subject));
  return {
    parts: { completions, prices, priceBook, budgets: money.budgets },
    async close(): Promise<void> {
      await pricing.close();
      counter.close();
      await money.close();
    },
  };
}

type CompletionsNeeds = Pick<
  LlmNeeds,
  "books" | "holds" | "prices" | "count" | "guess" | "fetch" | "locate"
> & {
  throttle: Throttle;
  raise: RaiseAlarm;
};

function completionsOf({ gateway, database, clock }: WiringInput, needs: CompletionsNeeds): Completions {
  const { raise, throttle } = needs;
  const { limits, streams } = throttle;
  const states = new States({ db: database.db });
  const { admit: admitProject, spend: projectSpent } = limits.projects;
  const noted = createSpending({ states, raise, spent: limits.spend, projectSpent });
  const breakers = new Breakers({ raise, clock, providers: () => gateway().providers });
  const watch = new Watch();
  return new Completions({
    ...needs,
    gateway,
    clock,
    states,
    streams,
    admitProject,
    noted,
    breakers,
    watch,
  });
}
