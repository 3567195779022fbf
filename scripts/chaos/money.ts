/** A budget as the trials use it: set by the administrator, looked at from outside, raised call by call. */
import { formatUsd } from "../../src/platform/money.ts";
import { eventually, expectEqual } from "../smoke/checks.ts";
import { nano } from "./verdict.ts";
import type { World } from "./world.ts";

type View = {
  id: string;
  limit_usd: string;
  current: { spent_usd: string; held_usd: string };
};

export async function newBudget(
  world: World,
  { limitNano, ...subject }: { subject: string; subject_id: string; limitNano: number },
): Promise<Budget> {
  const asked = { ...subject, period: "total", limit_usd: formatUsd(limitNano), hard: true };
  const { id } = await world.ask<View>("POST", "/budgets", asked);
  return new Budget(id, subject.subject_id, limitNano);
}

export class Budget {
  constructor(
    readonly id: string,
    readonly clientId: string,
    public limitNano: number,
  ) {}

  /** Room for this much beyond what is spent and held. */
  async allow(world: World, moreNano: number): Promise<void> {
    const { spent, held } = await this.current(world);
    this.limitNano = spent + held + moreNano;
    await world.ask("PATCH", `/budgets/${this.id}`, { limit_usd: formatUsd(this.limitNano) });
  }

  async current(world: World): Promise<{ held: number; spent: number }> {
    const { current } = await world.ask<View>("GET", `/budgets/${this.id}`);
    return { held: nano(current.held_usd) ?? -1, spent: nano(current.spent_usd) ?? -1 };
  }

  /** Nothing is held, and `spent` is the sum of what the client's rows were charged. */
  async isEven(world: World): Promise<string> {
    const sql = await world.tables();
    const [row] = await sql<{ charged: string; open: number; holds: number }[]>`
      select coalesce(sum(charged_nano), 0)::text as charged, count(*) filter (where state = 'open')::int as open,
        (select count(*)::int from holds) as holds
      from requests where client_id = ${this.clientId}`.finally(() => sql.end());
    const wanted = { held: 0, spent: Number(row?.charged) };
    const found = await eventually(
      () => this.current(world),
      (now) => Bun.deepEquals(now, wanted),
      10_000,
    );
    expectEqual(found, wanted, "held and spent");
    expectEqual([row?.open, row?.holds], [0, 0], "open rows, rows of holds");
    return `${formatUsd(wanted.spent)} USD`;
  }
}
