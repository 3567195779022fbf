/**
 * Budgets put straight into the tables, and their sums counted anew by other code than the one that keeps them.
 */
import { expect } from "bun:test";
import type { Database, Sql } from "../db/database.ts";
import type { budgets } from "../db/schema.ts";
import { insertBudget } from "../features/budgets/store.ts";
import { newId } from "../platform/ids.ts";

type BudgetRow = typeof budgets.$inferSelect;
export type PeriodRow = {
  id: string;
  budget_id: string;
  starts_at: Date;
  ends_at: Date | null;
  spent_nano: number;
  held_nano: number;
  told_percent: number;
  exhausted_at: Date | null;
};

/** A hard budget of all calls, of a month in UTC, unless something else is said. */
export async function putBudget(
  database: Pick<Database, "transaction">,
  over: Partial<typeof budgets.$inferInsert> = {},
): Promise<string> {
  const id = newId("bud");
  const usual = {
    subject: "global",
    subjectId: null,
    period: "month",
    timezone: "UTC",
    weekStart: "monday",
  } as const;
  const terms = { limitNano: 1_000_000, thresholds: [50, 100], hard: true, createdBy: "usr_a" };
  await database.transaction((tx) => insertBudget(tx, { id, ...usual, ...terms, ...over }));
  return id;
}

export const periodsOf = (sql: Sql, budgetId: string): Promise<PeriodRow[]> =>
  sql<PeriodRow[]>`select * from budget_periods where budget_id = ${budgetId} order by starts_at`.then(
    (rows) => [...rows],
  );

type Charged = {
  at: Date;
  charged_nano: number | null;
  periods: string[] | null;
  user_id: string | null;
  client_id: string | null;
  key_id: string | null;
  project_id: string | null;
};

/**
 * What every period should have spent and hold: the sum of what the calls of its budget's subject were charged, each in
 * the period that it was held in or else in the one its time lies in, and the sum of the holds. Fails when they do not.
 */
export async function expectBalanced(sql: Sql): Promise<void> {
  const periods = await sql<(PeriodRow & Pick<BudgetRow, "subject">)[]>`
    select p.*, b.subject, b.subject_id from budget_periods p join budgets b on b.id = p.budget_id
    where b.ended_at is null order by p.id`;
  const calls = await sql<Charged[]>`select * from requests where state <> 'open'`;
  const holds = await sql<{ periods: string[]; nano: number }[]>`select periods, nano from holds`;
  const wanted = periods.map((period) => {
    const spent = calls
      .filter((call) => isOf(call, period))
      .reduce((sum, call) => sum + (call.charged_nano ?? 0), 0);
    const held = holds
      .filter((hold) => hold.periods.includes(period.id))
      .reduce((sum, { nano }) => sum + nano, 0);
    return [period.id, spent, held];
  });
  expect(periods.map(({ id, spent_nano, held_nano }) => [id, spent_nano, held_nano])).toEqual(wanted);
}

function isOf(call: Charged, period: PeriodRow & { subject: string; subject_id?: string | null }): boolean {
  const named = (call.periods ?? []).filter((id) => id.startsWith(`${period.budget_id}@`));
  if (named.length > 0) return named.includes(period.id);
  const subject = {
    global: null,
    user: call.user_id,
    client: call.client_id,
    key: call.key_id,
    project: call.project_id,
  };
  const isSubject = period.subject === "global" || subject[period.subject as "user"] === period.subject_id;
  const isWithin = call.at >= period.starts_at && (period.ends_at === null || call.at < period.ends_at);
  return isSubject && isWithin;
}
