/**
 * `kill -9` at random moments under mixed calls with retries, half of them under a hard budget: what a caller saw whole is
 * there once, nothing stays held, and what was spent is what was charged.
 */
import type { Options } from "../chaos.ts";
import { tokenOf } from "../gateway.ts";
import type { Client } from "../smoke/caller.ts";
import { Caller, type Row, settledRows } from "../smoke/caller.ts";
import { type Check, expect, expectEqual } from "../smoke/checks.ts";
import { type Heard, make } from "./calls.ts";
import { newBudget } from "./money.ts";
import { type Plan, perform, thinkUp } from "./plans.ts";
import { Random } from "./random.ts";
import { judge } from "./verdict.ts";
import { World } from "./world.ts";

export async function kills(check: Check, { seed, number }: Options): Promise<void> {
  const world = await World.open();
  try {
    await killed(check, world, { seed, times: number("kills", 60) });
  } finally {
    await world.close();
  }
}

type Party = { client: Client; token: string };

export async function killed(
  check: Check,
  world: World,
  { seed, times }: { seed: number; times: number },
): Promise<void> {
  const random = new Random(seed);
  const plans = new Map<string, Plan>();
  perform(world.provider, plans);
  const free: Party = { client: world.client, token: "" };
  const bound: Party = { client: await world.newClient(), token: "" };
  const limitNano = 1_000_000_000_000;
  const budget = await newBudget(world, {
    subject: "client",
    subject_id: bound.client.client_id,
    limitNano,
  });
  const heard: Heard[] = [];
  const runs = new Map<string, number>();
  let slowestMs = 0;
  await check(`kill -9, ${times} times (seed ${seed}), and it starts again by itself each time`, async () => {
    for (let n = 0; n < times; n++) {
      for (const party of [free, bound]) party.token = await tokenOf(world.gateway, party.client);
      await Promise.all([
        load(world, [free, bound], random, plans, heard),
        Bun.sleep(random.whole(50, 1_500)).then(() => world.kill()),
      ]);
      for (const { plan } of heard) if (!runs.has(plan.key)) runs.set(plan.key, n + 1);
      await world.start();
      slowestMs = Math.max(slowestMs, world.gateway.readyMs);
    }
    expect(slowestMs <= 10_000, `the slowest start took ${Math.round(slowestMs)} ms`);
    return `${heard.length} calls, slowest start ${Math.round(slowestMs)} ms`;
  });
  await check("every call has one row at most, and those seen whole the right one", async () => {
    const rows = (await Promise.all([rowsOf(world, free), rowsOf(world, bound)])).flat();
    return agree(world, heard, rows, runs);
  });
  await check("nothing stays held, and what was spent is what was charged", () => budget.isEven(world));
}

/** Calls, sixteen at a time, until the gateway is gone. */
async function load(
  world: World,
  parties: [Party, Party],
  random: Random,
  plans: Map<string, Plan>,
  heard: Heard[],
): Promise<void> {
  let isOver = false;
  const work = async (n: number): Promise<void> => {
    const token = (parties[n % 2] as Party).token;
    while (!isOver) {
      const plan = thinkUp(random, 0.3);
      plans.set(plan.key, plan);
      const one = await make(plan, { url: world.gateway.url, token });
      heard.push(one);
      // Nobody answers any more, or the answer broke off.
      if (!one.left && !one.whole) isOver = true;
    }
  };
  await Promise.all(Array.from({ length: 16 }, (_, n) => work(n)));
}

async function rowsOf(world: World, party: Party): Promise<Row[]> {
  return settledRows(new Caller(world.gateway, await tokenOf(world.gateway, party.client)));
}

function agree(world: World, heard: Heard[], rows: Row[], runs: ReadonlyMap<string, number>): string {
  const books = world.provider.books();
  const byTrace = Map.groupBy(rows, ({ trace_id }) => trace_id ?? "");
  expectEqual(rows.filter(({ state }) => state === "open").length, 0, "open rows");
  const wrong: string[] = [];
  let whole = 0;
  let cut = 0;
  for (const one of heard) {
    const { key } = one.plan;
    const [received, found] = [books.get(key) ?? [], byTrace.get(key) ?? []];
    if (one.whole || one.left) {
      whole++;
      wrong.push(...judge(one, received, found).wrong);
    } else {
      cut++;
      if (found.length > 1 || (received.length > 0 && found.length === 0))
        wrong.push(
          `${key}: cut off before kill ${runs.get(key)} with ${received.length} attempts and ${found.length} rows`,
        );
    }
  }
  expect(wrong.length === 0, `${wrong.length} disagreements:\n${wrong.slice(0, 40).join("\n")}`);
  return `${whole} seen to their end, ${cut} cut off, ${rows.length} rows`;
}
