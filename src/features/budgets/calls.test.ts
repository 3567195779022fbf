import { afterAll, describe, expect, test } from "bun:test";
import { expectBalanced, periodsOf, putBudget } from "../../testing/budgets.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { call, ok } from "../../testing/wire.ts";
import type { BudgetView } from "./contract.ts";

const env = { SPECGATE_JWT_SECRET: "a secret that both of the instances have been given" };
const yaml = `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-provider-secret" }
prices:
  "openai/*": { input: 1, output: 2 }
limits: { llm: { requests_per_minute: null, streams_per_token: 2000 } }
`;
const first = await startGateway({ env, yaml });
const second = await startGateway({ env, yaml, beside: first });
afterAll(async () => {
  await second.close();
  await first.close();
});
const { ada } = await first.people();
const { robo, mallory } = first;
const { sql } = first.database;
const mirrored = { ...second.as(robo.bearer, robo.id), projectId: robo.projectId };

const spentSoFar = async (): Promise<number> => {
  await quiet();
  const [row] = await sql`
    select coalesce(sum(charged_nano), 0)::int as n from requests where project_id = ${robo.projectId}`;
  return row?.n;
};

/** With room for this much more than robo's project has spent already. */
const make = async (roomNano: number, more: object = {}) =>
  ok<BudgetView>(ada, "POST", "/budgets", {
    subject: "project",
    subject_id: robo.projectId,
    period: "month",
    limit_usd: (((await spentSoFar()) + roomNano) / 1e9).toFixed(9),
    ...more,
  });
const end = (id: string) => call(ada, "DELETE", `/budgets/${id}`);
/** The other instance looks once a second. */
const untilKnown = () => Bun.sleep(1_200);

async function quiet(): Promise<void> {
  await Promise.all([first.parts.ledger.settled(), second.parts.ledger.settled()]);
  for (let tries = 0; tries < 200; tries++) {
    if ((await sql`select * from holds`).length === 0) return;
    await Bun.sleep(10);
  }
  throw new Error("holds are left");
}

/** What one such call is held for. */
const small = { max_tokens: 50 };
async function holdOf(body: object): Promise<number> {
  const { id } = await make(1_000_000_000);
  const response = await robo.chat({ ...body });
  expect(response.status).toBe(200);
  const row = await first.row(response);
  await end(id);
  return row?.holdNano ?? 0;
}
const hold = await holdOf(small);

describe("money for one call", () => {
  for (const [name, callers] of [
    ["one instance", [robo]],
    ["two instances", [robo, mirrored]],
  ] as const) {
    test(`sends exactly one of 1,000 parallel calls to a provider, on ${name}`, async () => {
      for (let round = 0; round < 3; round++) {
        // No more, so that what the first one gives back is not enough for a second.
        const budget = await make(hold);
        await untilKnown();
        const asked = first.provider.received.length + second.provider.received.length;
        const answers = await Promise.all(
          Array.from({ length: 1_000 }, async (_, at) => {
            const response = await (callers[at % callers.length] as Actor).chat(small);
            const body = (await response.json()) as { error?: { code: string; type: string } };
            return { response, body };
          }),
        );
        const sent = answers.filter(({ response }) => response.status === 200);
        const refused = answers.filter(({ response }) => response.status === 429);
        expect([sent.length, refused.length]).toEqual([1, 999]);
        expect(first.provider.received.length + second.provider.received.length - asked).toBe(1);
        const [{ response, body } = { response: new Response(), body: {} }] = refused;
        expect(body.error).toMatchObject({ type: "insufficient_quota", code: "insufficient_quota" });
        expect(response.headers.get("x-should-retry")).toBe("false");
        expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
        await quiet();
        const [period] = await periodsOf(sql, budget.id);
        expect(period).toMatchObject({ spent_nano: await spentSoFar(), held_nano: 0 });
        await expectBalanced(sql);
        await end(budget.id);
      }
    }, 60_000);
  }
});

describe("a call under a hard budget", () => {
  test("is charged what it cost, and shows in the budget", async () => {
    const budget = await make(1_000_000_000);
    const response = await robo.chat(small);
    expect(response.status).toBe(200);
    const row = await first.row(response);
    await quiet();
    expect(row).toMatchObject({ state: "settled", holdNano: hold });
    expect(row?.chargedNano).toBe(row?.costNano ?? -1);
    const { current } = await ok<BudgetView>(ada, "GET", `/budgets/${budget.id}`);
    const before =
      await sql`select sum(charged_nano)::int as n from requests where project_id = ${robo.projectId}`;
    expect(Math.round(Number(current.spent_usd) * 1e9)).toBe(before[0]?.n);
    expect(current.held_usd).toBe("0.00");
    await end(budget.id);
  });

  test("leaves those alone who are not under it", async () => {
    const budget = await make(0);
    expect((await mallory.chat(small)).status).toBe(200);
    expect((await robo.chat(small)).status).toBe(429);
    expect((await call(ada, "PATCH", `/budgets/${budget.id}`, { limit_usd: "1" })).http).toBe(200);
    expect((await robo.chat(small)).status).toBe(200);
    await call(ada, "PATCH", `/budgets/${budget.id}`, { limit_usd: "0", hard: false });
    expect((await robo.chat(small)).status).toBe(200);
    await quiet();
    await end(budget.id);
  });

  test("that is too large is refused, and its budget is not said to be exhausted until it is", async () => {
    const budget = await make(1_000_000_000);
    const exhausted = () => sql`select from alarms where once like ${`budget.exhausted:${budget.id}@%`}`;
    expect((await robo.chat({ max_tokens: 1_000_000_000 })).status).toBe(429);
    expect((await robo.chat(small)).status).toBe(200);
    await quiet();
    expect(await exhausted()).toHaveLength(0);
    const { current } = await ok<BudgetView>(ada, "GET", `/budgets/${budget.id}`);
    await ok(ada, "PATCH", `/budgets/${budget.id}`, { limit_usd: current.spent_usd });
    expect(await exhausted()).toHaveLength(1);
    expect((await robo.chat(small)).status).toBe(429);
    expect(await exhausted()).toHaveLength(1);
    await end(budget.id);
  });

  test("is held in every budget that binds it, and refused by the one that has no room", async () => {
    const budgets = [
      await make(1_000_000_000),
      await make(1_000_000_000, { subject: "client", subject_id: robo.id, period: "day" }),
      await make(0, { subject: "global", subject_id: null, period: "week", limit_usd: "0.000000001" }),
    ];
    const refused = await robo.chat(small);
    expect(refused.status).toBe(429);
    expect(await refused.text()).toContain("The gateway's budget for this week");
    expect(await sql`select * from holds`).toHaveLength(0);
    await end(budgets[2]?.id ?? "");
    const row = await first.row(await robo.chat(small));
    expect(row?.periods).toHaveLength(2);
    await quiet();
    for (const { id } of budgets) await end(id);
  });

  test("that more budgets bind than fit into its record hears that they are too many", async () => {
    const about = { subject: "project", subjectId: mallory.projectId, limitNano: 1e12 } as const;
    for (let made = 0; made < 160; made++) await putBudget(first.database, about);
    await untilKnown();
    const response = await mallory.chat(small);
    expect([response.status, await response.text()]).toEqual([
      413,
      expect.stringContaining("160 hard budgets"),
    ]);
    await quiet();
    await sql`update budgets set ended_at = now(), version = version + 1 where subject_id = ${mallory.projectId}`;
  });
});
