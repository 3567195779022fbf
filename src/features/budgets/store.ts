/**
 * The table budgets, and reads of what their periods have spent. Money itself moves in SQL functions alone
 * (drizzle/0010_budget_functions.sql).
 */
import { and, desc, eq, inArray, isNull, lt, or, type SQL, sql } from "drizzle-orm";
import { freeAlarms } from "../../db/alarms.ts";
import type { Db, Sql } from "../../db/database.ts";
import { apiKeys, budgetPeriods, budgets, clients, projects, users } from "../../db/schema.ts";
import { type Subject, thresholdPercentMax } from "./contract.ts";

export type BudgetRow = typeof budgets.$inferSelect;
/** With its period now; the amounts are nano-USD. */
export type BudgetLine = {
  budget: BudgetRow;
  startsAt: Date;
  endsAt: Date | null;
  spentNano: number;
  heldNano: number;
};

/** Which budgets may be seen: all, or those of these subjects, and those of everybody with them. */
export type Sight =
  | "all"
  | (Readonly<Record<Exclude<Subject, "global">, readonly string[]>> & { readonly global?: true });

const isLive = isNull(budgets.endedAt);
const startsNow = sql`budget_period_start(${budgets.period}, ${budgets.timezone}, ${budgets.weekStart}, now())`;
const endsNow = sql`budget_period_end(${budgets.period}, ${budgets.timezone}, ${budgets.weekStart}, now())`;
const asTime = (value: unknown): Date => (value instanceof Date ? value : new Date(String(value)));

const lines = (db: Db) =>
  db
    .select({
      budget: budgets,
      startsAt: startsNow.mapWith(asTime) as SQL<Date>,
      endsAt: endsNow.mapWith(asTime) as SQL<Date | null>,
      spentNano: sql`coalesce(${budgetPeriods.spentNano}, 0)`.mapWith(Number),
      heldNano: sql`coalesce(${budgetPeriods.heldNano}, 0)`.mapWith(Number),
    })
    .from(budgets)
    .leftJoin(budgetPeriods, sql`${budgetPeriods.id} = budget_period_id(${budgets.id}, ${startsNow})`)
    .$dynamic();

export async function findBudget(db: Db, id: string, sight: Sight = "all"): Promise<BudgetLine | undefined> {
  const [row] = await lines(db).where(and(eq(budgets.id, id), isLive, isIn(sight)));
  return row;
}

/** Newest first, from behind `after`. */
export const listBudgets = (
  db: Db,
  asked: { sight: Sight; after: string | null; subject: Subject | undefined; rowsMax: number },
): Promise<BudgetLine[]> =>
  lines(db)
    .where(
      and(
        isLive,
        isIn(asked.sight),
        asked.subject === undefined ? undefined : eq(budgets.subject, asked.subject),
        asked.after === null ? undefined : lt(budgets.id, asked.after),
      ),
    )
    .orderBy(desc(budgets.id))
    .limit(asked.rowsMax);

function isIn(sight: Sight): SQL | undefined {
  if (sight === "all") return undefined;
  const { global = false, ...ofSubjects } = sight;
  const named = Object.entries(ofSubjects).filter(([, ids]) => ids.length > 0);
  if (named.length === 0 && !global) return sql`false`;
  return or(
    global ? eq(budgets.subject, "global") : undefined,
    ...named.map(([subject, ids]) =>
      and(eq(budgets.subject, subject as Subject), inArray(budgets.subjectId, [...ids])),
    ),
  );
}

/** Locked until the transaction ends. */
export async function lockBudget(tx: Db, id: string): Promise<BudgetRow | undefined> {
  const [row] = await tx
    .select()
    .from(budgets)
    .where(and(eq(budgets.id, id), isLive))
    .for("update");
  return row;
}

/** No merge runs until the transaction ends, so what is spent already stays what it is. */
export async function insertBudget(tx: Db, row: typeof budgets.$inferInsert): Promise<void> {
  await tx.execute(sql`select lock_budgets(true)`);
  // The time of this statement: those who held the lock may have worked for a while, past a midnight even.
  await tx.insert(budgets).values({ ...row, createdAt: sql`date_trunc('milliseconds', clock_timestamp())` });
  await tx.execute(sql`select open_budget(${row.id})`);
}

export async function updateBudget(
  tx: Db,
  id: string,
  change: Partial<Pick<BudgetRow, "limitNano" | "thresholds" | "hard" | "endedAt">>,
): Promise<void> {
  await tx
    .update(budgets)
    .set({ ...change, version: sql`${budgets.version} + 1` })
    .where(eq(budgets.id, id));
}

/** Tells what a budget's new limit or thresholds have made true; what a raised limit makes untrue it can tell again. */
export async function tellBudget(tx: Db, id: string, isRaised: boolean): Promise<void> {
  const period = sql`select budget_period_id(${budgets.id}, ${startsNow}) as id from ${budgets} where ${eq(budgets.id, id)}`;
  await tx.execute(
    sql`select from ${budgetPeriods} where ${budgetPeriods.id} in (${period}) order by ${budgetPeriods.id} for update`,
  );
  if (isRaised) await forgetTold(tx, period);
  await tx.execute(sql`select tell_budgets(array(${period}))`);
}

/** Of a period that is locked: thresholds above what is spent now, and that it is exhausted when it is no more. */
async function forgetTold(tx: Db, period: SQL): Promise<void> {
  const [now] = await tx.execute<{ id: string; told: number; exhausted: boolean }>(sql`
    update budget_periods p set
      told_percent = least(p.told_percent, floor(p.spent_nano::numeric * 100 / b.limit_nano)),
      exhausted_at = case when p.spent_nano >= b.limit_nano then p.exhausted_at end
    from budgets b where b.id = p.budget_id and p.id in (${period})
    returning p.id, p.told_percent as told, p.exhausted_at is not null as exhausted`);
  if (now === undefined) return;
  const above = Array.from({ length: thresholdPercentMax - now.told }, (_, at) => now.told + 1 + at);
  const texts = above.map((threshold) => `budget.threshold:${now.id}:${threshold}`);
  await freeAlarms(tx, now.exhausted ? texts : [...texts, `budget.exhausted:${now.id}`]);
}

const tables = { user: users, project: projects, client: clients, key: apiKeys };

export async function isThere(db: Db, subject: Exclude<Subject, "global">, id: string): Promise<boolean> {
  const table = tables[subject];
  return (await db.select({ id: table.id }).from(table).where(eq(table.id, id))).length > 0;
}

/** An IANA name that the database knows; it is what reckons with it. */
export async function isTimezone(db: Db, name: string): Promise<boolean> {
  if (!/^[A-Za-z]+(?:[A-Za-z0-9_+-]*)(?:\/[A-Za-z0-9_+-]+)*$/.test(name)) return false;
  if (/^(?:posix|right|posixrules|localtime|Factory)\b/.test(name)) return false;
  const found = await db.execute(sql`select from pg_timezone_names where name = ${name}`);
  return found.length > 0;
}

/** The keys of a person, or of a client. */
export async function keysOf(db: Db, owner: { userId: string } | { clientId: string }): Promise<string[]> {
  const isOwned = "userId" in owner ? eq(apiKeys.userId, owner.userId) : eq(apiKeys.clientId, owner.clientId);
  return (await db.select({ id: apiKeys.id }).from(apiKeys).where(isOwned)).map(({ id }) => id);
}

/** Grows or shrinks with every change of a budget. */
export async function budgetsMark(client: Sql): Promise<string> {
  const [row] = await client<{ mark: string }[]>`
    select count(*) || ' ' || coalesce(sum(version), 0) as mark from budgets`;
  return row?.mark ?? "";
}

/** Whoever is under a hard budget. */
export const hardSubjects = (client: Sql): Promise<{ subject: Subject; subject_id: string | null }[]> =>
  client<{ subject: Subject; subject_id: string | null }[]>`
    select distinct subject, subject_id from budgets where ended_at is null and hard`.then((rows) => [
    ...rows,
  ]);
