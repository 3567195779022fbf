/**
 * Thousands of mixed calls on every endpoint, a third of them with accidents, and then: the gateway's rows are the
 * provider's own books, and the summary is the sum of the rows.
 */
import { type Caller, type Row, settledRows } from "../smoke/caller.ts";
import { type Check, expect, expectEqual } from "../smoke/checks.ts";
import { type Heard, makeAll } from "./calls.ts";
import { type Plan, perform, thinkUp } from "./plans.ts";
import { Random } from "./random.ts";
import { judge, nano } from "./verdict.ts";
import { World } from "./world.ts";

export async function ledger(
  check: Check,
  { seed, number }: { seed: number; number(name: string, otherwise: number): number },
): Promise<void> {
  const calls = number("calls", 10_000);
  const world = await World.open();
  try {
    await agreeing(check, world, { seed, calls, width: number("width", 48) });
  } finally {
    await world.close();
  }
}

/** On a gateway that this client has not called before. */
export async function agreeing(
  check: Check,
  world: World,
  { seed, calls, width }: { seed: number; calls: number; width: number },
): Promise<void> {
  const random = new Random(seed);
  const plans = new Map<string, Plan>();
  for (let n = 0; n < calls; n++) {
    const plan = thinkUp(random, 0.3);
    plans.set(plan.key, plan);
  }
  perform(world.provider, plans);
  const caller = await world.caller();
  let heard: Heard[] = [];
  let rows: Row[] = [];
  await check(`${calls} mixed calls are made (seed ${seed})`, async () => {
    const startedAt = performance.now();
    heard = await makeAll(plans.values(), () => ({ url: caller.gateway.url, token: caller.token }), {
      width,
    });
    const took = (performance.now() - startedAt) / 1_000;
    const whole = heard.filter((one) => one.whole && one.status === 200).length;
    return `${whole} heard whole, ${heard.filter(({ left }) => left).length} left, ${Math.round(calls / took)}/s`;
  });
  await check("no row stays open, and each call has one at most", async () => {
    rows = await settledRows(caller);
    expectEqual(rows.filter(({ state }) => state === "open").length, 0, "open rows");
    expectEqual(new Set(rows.map(({ trace_id }) => trace_id)).size, rows.length, "different calls");
    return `${rows.length} rows`;
  });
  await check("each row is what the provider's own books say", () => agree(world, heard, rows));
  await check("the summary is the sum of the rows", () => sums(caller, rows));
}

function agree(world: World, heard: Heard[], rows: Row[]): string {
  const books = world.provider.books();
  const byTrace = Map.groupBy(rows, ({ trace_id }) => trace_id ?? "");
  const kinds = new Map<string, number>();
  const wrong: string[] = [];
  for (const one of heard) {
    const { key } = one.plan;
    const outcome = judge(one, books.get(key) ?? [], byTrace.get(key) ?? []);
    wrong.push(...outcome.wrong);
    const [row] = byTrace.get(key) ?? [];
    // Nothing is held for this client, so that it is charged what is known and no more.
    if (row !== undefined && nano(row.charged_usd) !== nano(row.cost_usd))
      wrong.push(`${row.id}: ${row.state}, charged ${row.charged_usd} for ${row.cost_usd}`);
    kinds.set(outcome.kind, (kinds.get(outcome.kind) ?? 0) + 1);
  }
  expect(wrong.length === 0, `${wrong.length} disagreements:\n${wrong.slice(0, 40).join("\n")}`);
  const attempts = rows.reduce((sum, row) => sum + row.attempts.length, 0);
  return `${[...kinds].map(([kind, count]) => `${count} ${kind}`).join(", ")}; ${attempts} attempts`;
}

type Totals = { requests: number; cost_usd: string; usage: Record<string, number> };

async function sums(caller: Caller, rows: Row[]): Promise<string> {
  const response = await caller.fetch("/api/v1/usage/summary?group_by=model");
  const { totals, data } = (await response.json()) as { totals: Totals; data: Totals[] };
  const cost = rows.reduce((sum, row) => sum + (nano(row.cost_usd) ?? 0), 0);
  for (const [what, found] of [
    ["totals", totals],
    ["groups", total(data)],
  ] as const) {
    expectEqual(
      [found.requests, nano(found.cost_usd)],
      [rows.length, cost],
      `requests and cost of the ${what}`,
    );
    for (const part of ["input", "output", "cached_read", "cache_write", "reasoning"] as const) {
      const sum = rows.reduce((all, { usage }) => all + (usage[part] ?? 0), 0);
      expectEqual(found.usage[part], sum, `${part} of the ${what}`);
    }
  }
  return `${totals.requests} requests, ${totals.cost_usd} USD`;
}

function total(groups: Totals[]): Totals {
  const usage: Record<string, number> = {};
  for (const group of groups)
    for (const [part, count] of Object.entries(group.usage)) usage[part] = (usage[part] ?? 0) + count;
  const cost = groups.reduce((sum, group) => sum + (nano(group.cost_usd) ?? 0), 0);
  return {
    requests: groups.reduce((sum, group) => sum + group.requests, 0),
    cost_usd: String(cost / 1e9),
    usage,
  };
}
