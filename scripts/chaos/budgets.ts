/** A thousand calls at once against money for one, again and again, on one process and on two over one PostgreSQL. */

import { answer } from "../../src/testing/provider-answers.ts";
import type { Options } from "../chaos.ts";
import { tokenOf } from "../gateway.ts";
import { Caller, type Client, hello } from "../smoke/caller.ts";
import { type Check, eventually, expect, expectEqual } from "../smoke/checks.ts";
import { type Budget, newBudget } from "./money.ts";
import { post } from "./sockets.ts";
import { nano } from "./verdict.ts";
import { World } from "./world.ts";

/** What ten tokens of `openai/dear` cost; its input is free, so that a call's hold is what it costs. */
const oneNano = 1_000_000;

export async function budgets(check: Check, { number }: Options): Promise<void> {
  const world = await World.open();
  try {
    await onceEach(check, world, { rounds: number("rounds", 50), calls: number("calls", 1_000) });
  } finally {
    await world.close();
  }
}

type Extent = { rounds: number; calls: number };

export async function onceEach(check: Check, world: World, extent: Extent): Promise<void> {
  const { rounds, calls } = extent;
  const client = await world.newClient();
  const subject = { subject: "client", subject_id: client.client_id };
  const budget = await newBudget(world, { ...subject, limitNano: oneNano });
  const token = await tokenOf(world.gateway, client);
  world.provider.script("dear", answer({ words: 10, firstMs: 300 }));
  const one = [world.gateway.url];
  await check(`of ${calls} calls at once against money for one, one is made: ${rounds} times`, () =>
    repeat(world, { budget, token }, one, extent),
  );
  const second = await world.beside();
  const two = [...one, second.url];
  await check(`and over two processes: ${rounds} times`, () => repeat(world, { budget, token }, two, extent));
  await second.stop();
  await check(
    "who leaves before a whole answer is charged its hold, of a stream 1.2 times what was counted",
    () => leavingCosts(world, budget, client),
  );
  await check("nothing stays held, and what was spent is what was charged", () => budget.isEven(world));
}

async function repeat(
  world: World,
  { budget, token }: { budget: Budget; token: string },
  urls: string[],
  { rounds, calls }: Extent,
): Promise<string> {
  let slowest = 0;
  for (let round = 1; round <= rounds; round++) {
    await budget.allow(world, oneNano);
    const before = world.provider.received.length;
    const body = { model: "openai/dear", max_tokens: 10, messages: [{ role: "user", content: "hi" }] };
    const answers = await Promise.all(
      Array.from({ length: calls }, (_, n) =>
        post(urls[n % urls.length] ?? "", "/v1/chat/completions", token, body),
      ),
    );
    const statuses = Object.fromEntries(
      [...Map.groupBy(answers, ({ status }) => status)].map(([status, list]) => [status, list.length]),
    );
    expectEqual(statuses, { 200: 1, 429: calls - 1 }, `statuses of round ${round}`);
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.body.includes("insufficient_quota") === true, `refused with ${refused?.body}`);
    expectEqual(
      world.provider.received.length - before,
      1,
      `calls that reached the provider in round ${round}`,
    );
    slowest = Math.max(slowest, ...answers.map(({ tookMs }) => tookMs));
    const spent = await eventually(
      () => budget.current(world),
      ({ held, spent }) => held === 0 && spent === budget.limitNano,
      5_000,
    );
    expectEqual(spent, { held: 0, spent: budget.limitNano }, `held and spent after round ${round}`);
  }
  return `slowest answer ${Math.round(slowest)} ms`;
}

/** Calls of ten tokens at most, which the provider would take seconds for. A part of a token is charged as one. */
async function leavingCosts(world: World, budget: Budget, client: Client): Promise<string> {
  await budget.allow(world, 10 * oneNano);
  world.provider.script("dear", answer({ words: 10, firstMs: 100, gapMs: 300 }));
  const caller = await Caller.open(world.gateway, client);
  const costs: string[] = [];
  for (const stream of [false, true]) {
    const leaving = AbortSignal.timeout(stream ? 1_200 : 60);
    const key = crypto.randomUUID().replaceAll("-", "");
    const body = { model: "openai/dear", max_tokens: 10, stream, messages: hello };
    await fetch(`${world.gateway.url}/v1/chat/completions`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${caller.token}`,
        "content-type": "application/json",
        traceparent: `00-${key}-00000000000000ab-01`,
      },
      body: JSON.stringify(body),
      signal: leaving,
    })
      .then((response) => response.text())
      .catch(() => {});
    const row = await eventually(
      async () => (await caller.rows()).find(({ trace_id }) => trace_id === key),
      (found) => found !== undefined && found.state !== "open",
      10_000,
    );
    const counted = row?.usage.output ?? 0;
    const wanted = stream ? Math.ceil(counted * 1.2) * (oneNano / 10) : oneNano;
    expect(!stream || counted > 0, `${row?.state} with ${counted} tokens`);
    expectEqual(nano(row?.charged_usd ?? null), wanted, `charged for ${counted} tokens, ${row?.state}`);
    costs.push(row?.charged_usd ?? "");
  }
  return `${costs.join(" and ")} USD`;
}
