/** The caller is gone at each of 500 boundaries between events: the provider's side ends at once, and one row says so. */
import type { Received } from "../../src/testing/provider.ts";
import { answer } from "../../src/testing/provider-answers.ts";
import type { Options } from "../chaos.ts";
import type { Caller, Row } from "../smoke/caller.ts";
import { type Check, eventually, expect, expectEqual } from "../smoke/checks.ts";
import { bodyOf, type Endpoint, type Plan } from "./plans.ts";
import { Random } from "./random.ts";
import { World } from "./world.ts";

const endpoints: [Endpoint, string][] = [
  ["chat/completions", "openai"],
  ["responses", "openai"],
  ["messages", "claude"],
  ["completions", "spare"],
];

export async function leaving(check: Check, { seed, number }: Options): Promise<void> {
  const world = await World.open();
  try {
    await leftAtEach(check, world, { seed, events: number("events", 500) });
  } finally {
    await world.close();
  }
}

export async function leftAtEach(
  check: Check,
  world: World,
  { seed, events }: { seed: number; events: number },
): Promise<void> {
  const random = new Random(seed);
  const caller = await world.caller();
  world.provider.script("long", answer({ words: events, gapMs: 2 }));
  const keys: string[] = [];
  const closings: number[] = [];
  await check(
    `a caller who leaves after any of ${events} events ends the provider's stream within 100 ms`,
    async () => {
      let next = 0;
      const work = async (): Promise<void> => {
        while (next < events) {
          const boundary = next++;
          const key = random.hex(32);
          keys.push(key);
          closings.push(await leaveAfter(world, caller, key, boundary));
        }
      };
      await Promise.all(Array.from({ length: 12 }, work));
      closings.sort((a, b) => a - b);
      const at = (share: number): string =>
        (closings[Math.floor(share * (closings.length - 1))] ?? 0).toFixed(1);
      const words = `p50 ${at(0.5)}, p99 ${at(0.99)}, at most ${at(1)} ms`;
      expect((closings.at(-1) ?? 0) <= 100, words);
      return words;
    },
  );
  await check("each of them has one row, settled or estimated", () => oneRowEach(caller, keys));
}

/** Milliseconds from the leaving to the end of the provider's connection. */
async function leaveAfter(world: World, caller: Caller, key: string, boundary: number): Promise<number> {
  const [endpoint, provider] = endpoints[boundary % endpoints.length] as [Endpoint, string];
  const plan = { endpoint, model: `${provider}/long`, stream: true, asksUsage: false } as Plan;
  const abort = new AbortController();
  const response = await fetch(`${caller.gateway.url}/v1/${endpoint}`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${caller.token}`,
      "content-type": "application/json",
      traceparent: `00-${key}-00000000000000ab-01`,
      ...(endpoint === "messages" ? { "anthropic-version": "2023-06-01" } : {}),
    },
    body: JSON.stringify(bodyOf(plan)),
    signal: abort.signal,
  });
  let heard = 0;
  let leftAt = performance.now();
  try {
    for await (const piece of response.body ?? []) {
      heard += Buffer.from(piece).toString("latin1").split("\n\n").length - 1;
      if (heard < boundary) continue;
      leftAt = performance.now();
      abort.abort();
    }
  } catch {
    // It was left.
  }
  const received = world.provider.books().get(key)?.[0] as Received;
  await received.ended;
  return (received.endedAt as number) - leftAt;
}

async function oneRowEach(caller: Caller, keys: string[]): Promise<string> {
  const wanted = new Set(keys);
  const rows = await eventually(
    async () => (await caller.rows()).filter(({ trace_id }) => wanted.has(trace_id ?? "")),
    (found) => found.length >= keys.length && found.every(({ state }) => state !== "open"),
    15_000,
    500,
  );
  const byState = Map.groupBy(rows, ({ state }: Row) => state);
  const words = [...byState].map(([state, list]) => `${list.length} ${state}`).join(", ");
  expectEqual(
    [rows.length, new Set(rows.map(({ trace_id }) => trace_id)).size],
    [keys.length, keys.length],
    "rows",
  );
  expect(
    [...byState.keys()].every((state) => ["settled", "estimated"].includes(state)),
    words,
  );
  return words;
}
