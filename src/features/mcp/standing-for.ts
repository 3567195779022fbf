/**
 * Tools under another form: a resource and a prompt show what a tool shows, so that what the allowlist says of the tool
 * holds for them as well: whether it is there, with which arguments, how often, and how much of it.
 */
import type { Counter } from "../../platform/counter.ts";
import type { Judge } from "./allowlist.ts";
import type { Catalogue } from "./catalogue.ts";
import type { Exchange } from "./exchange.ts";
import { tooManyCalls } from "./refusals.ts";

export type ToolSight = {
  /** Whether the caller sees the tool and holds its scopes. */
  sees(name: string): boolean;
  /** Whether it may call it so, which is counted then. Throws 429. */
  admits(name: string, args: Readonly<Record<string, unknown>>): Promise<boolean>;
};

/** Every rule by itself, and the first that is passed is told. Throws 429. */
export async function countCalls(
  counter: Counter,
  rates: readonly { readonly key: string; readonly requestsPerMinute: number }[],
): Promise<void> {
  if (rates.length === 0) return;
  const counts = await Promise.all(rates.map(({ key }) => counter.add(key, 1)));
  for (const [at, { requestsPerMinute }] of rates.entries()) {
    const { count = 0, msLeft = 0 } = counts[at] ?? {};
    if (count > requestsPerMinute) throw tooManyCalls(requestsPerMinute, Math.ceil(msLeft / 1_000));
  }
}

/** For the caller of this request; what was decided last stands in its record. */
export function sightOf(
  exchange: Exchange,
  judge: Judge,
  { catalogue, rates }: { catalogue: Catalogue; rates: Counter },
): ToolSight {
  const seen = (name: string) => {
    const offered = catalogue.find(name);
    if (offered === undefined || !judge.sees(offered).isVisible) return undefined;
    return offered.scopes.every((scope) => exchange.principal.scopes.has(scope)) ? offered : undefined;
  };
  return {
    sees: (name) => seen(name) !== undefined,
    async admits(name, args) {
      const offered = seen(name);
      const known = catalogue.find(name);
      if (known !== undefined && !judge.sees(known).isVisible) exchange.deniedAs = "hidden";
      if (offered === undefined) return false;
      const judged = judge.judge(offered, args);
      exchange.rule = judged.rule;
      if (judged.verdict !== "allowed") {
        exchange.deniedAs = judged.verdict;
        return false;
      }
      await countCalls(rates, judged.rates);
      exchange.resultBytesMax = Math.min(
        exchange.resultBytesMax,
        judged.resultBytesMax ?? exchange.resultBytesMax,
      );
      return true;
    },
  };
}
