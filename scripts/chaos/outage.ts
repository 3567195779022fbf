/**
 * PostgreSQL gone for a minute under load, once standing still and once really stopped: calls without a hard budget go on
 * and keep their rows, those under one are refused within seconds.
 */
import type { Options } from "../chaos.ts";
import { Caller } from "../smoke/caller.ts";
import { type Check, eventually, expect, expectEqual } from "../smoke/checks.ts";
import { postgresOf } from "../smoke/outage.ts";
import { type Heard, make } from "./calls.ts";
import { type Budget, newBudget } from "./money.ts";
import { type Plan, perform, thinkUp } from "./plans.ts";
import { Random } from "./random.ts";
import { judge } from "./verdict.ts";
import { World } from "./world.ts";

export async function outage(check: Check, { seed, number }: Options): Promise<void> {
  const seconds = number("seconds", 60);
  const world = await World.open();
  try {
    const trial = await Trial.open(world, seed);
    await check(`PostgreSQL stands still for ${seconds} s`, () =>
      trial.during(seconds, () => still(world, seconds)),
    );
    await settles(check, trial);
  } finally {
    await world.close();
  }
  const elsewhere = await World.elsewhere();
  try {
    const trial = await Trial.open(elsewhere, seed + 1);
    await check(`PostgreSQL is stopped for ${seconds} s`, () =>
      trial.during(seconds, async () => {
        await elsewhere.postgres?.stop();
        await Bun.sleep(seconds * 1_000);
        await elsewhere.postgres?.start();
      }),
    );
    await settles(check, trial);
  } finally {
    await elsewhere.close();
  }
}

async function still(world: World, seconds: number): Promise<void> {
  const tree = postgresOf(world.dataDir);
  for (const pid of tree) process.kill(pid, "SIGSTOP");
  await Bun.sleep(seconds * 1_000);
  for (const pid of tree) process.kill(pid, "SIGCONT");
}

async function settles(check: Check, trial: Trial): Promise<void> {
  await check("no row is lost once it is back, and each is right", () => trial.agree());
  await check("calls under the budget go on again, and nothing stays held", () => trial.goesOn());
}

const textOf = (body: Uint8Array): string => new TextDecoder().decode(body);

class Trial {
  readonly #heard: Heard[] = [];
  readonly #plans = new Map<string, Plan>();

  private constructor(
    readonly world: World,
    readonly free: Caller,
    readonly bound: Caller,
    readonly budget: Budget,
    readonly random: Random,
  ) {}

  static async open(world: World, seed: number): Promise<Trial> {
    const client = await world.newClient();
    const subject = { subject: "client", subject_id: client.client_id };
    const budget = await newBudget(world, { ...subject, limitNano: 1_000_000_000_000 });
    const bound = await Caller.open(world.gateway, client);
    return new Trial(world, await world.caller(), bound, budget, new Random(seed));
  }

  /** Calls of both kinds from a second before to a second after; what each answered in between. */
  async during(seconds: number, accident: () => Promise<void>): Promise<string> {
    perform(this.world.provider, this.#plans);
    let isOver = false;
    const away = { from: Number.POSITIVE_INFINITY, to: Number.POSITIVE_INFINITY };
    const free: Heard[] = [];
    const refused: Heard[] = [];
    const isAway = (at: number): boolean => at > away.from + 500 && at < away.to;
    const work = async (caller: Caller, list: Heard[], troubles: number): Promise<void> => {
      while (!isOver) {
        const at = performance.now();
        const heard = await this.#call(caller, troubles);
        if (isAway(at) && performance.now() < away.to) list.push(heard);
        await Bun.sleep(5);
      }
    };
    const workers = [
      ...Array.from({ length: 8 }, () => work(this.free, free, 0.3)),
      ...Array.from({ length: 4 }, () => work(this.bound, refused, 0)),
    ];
    await Bun.sleep(1_000);
    away.from = performance.now();
    await accident();
    away.to = performance.now();
    await Bun.sleep(1_000);
    isOver = true;
    await Promise.all(workers);
    expect(free.length > seconds * 5, `only ${free.length} calls went on`);
    const unanswered = free.filter(({ left, status }) => !left && status === null);
    expect(unanswered.length === 0, `${unanswered.length} calls without a budget had no answer`);
    expect(refused.length > 0, "no call under the budget ended while it was away");
    const others = refused.filter(({ status, body }) => status !== 503 || !/budget/.test(textOf(body)));
    expect(
      others.length === 0,
      `under the budget: ${others.length} of ${refused.length} answered ${others[0]?.status} ${others[0] && textOf(others[0].body)}`,
    );
    const slowest = Math.max(...refused.map(({ tookMs }) => tookMs));
    expect(slowest <= 6_000, `the slowest refusal took ${Math.round(slowest)} ms`);
    return `${free.length} calls went on; ${refused.length} refused, the slowest after ${Math.round(slowest)} ms`;
  }

  async agree(): Promise<string> {
    const books = this.world.provider.books();
    const startedAt = performance.now();
    const rows = await eventually(
      // The database may still be on its way back.
      async () => (await Promise.all([this.free.rows(), this.bound.rows()]).catch(() => [])).flat(),
      (found) => {
        const over = new Set(found.filter(({ state }) => state !== "open").map(({ trace_id }) => trace_id));
        return this.#heard.every(({ plan }) => !books.has(plan.key) || over.has(plan.key));
      },
      60_000,
      500,
    );
    const tookMs = performance.now() - startedAt;
    const byTrace = Map.groupBy(rows, ({ trace_id }) => trace_id ?? "");
    const wrong = this.#heard.flatMap((one) => {
      const { key } = one.plan;
      return judge(one, books.get(key) ?? [], byTrace.get(key) ?? []).wrong;
    });
    expect(wrong.length === 0, `${wrong.length} disagreements:\n${wrong.slice(0, 20).join("\n")}`);
    return `${this.#heard.length} calls, ${rows.length} rows, the last after ${Math.round(tookMs)} ms`;
  }

  async goesOn(): Promise<string> {
    const heard = await eventually(
      () => this.#call(this.bound, 0),
      ({ status }) => status === 200,
      10_000,
    );
    expectEqual(heard.status, 200, "status");
    await Bun.sleep(1_500);
    return this.budget.isEven(this.world);
  }

  async #call({ gateway, token }: Caller, troubles: number): Promise<Heard> {
    const plan = thinkUp(this.random, troubles);
    // Counting costs nothing, so that no budget is asked.
    if (plan.endpoint === "messages/count_tokens") plan.endpoint = "messages";
    this.#plans.set(plan.key, plan);
    const heard = await make(plan, { url: gateway.url, token });
    this.#heard.push(heard);
    return heard;
  }
}
