import { afterAll, expect, test } from "bun:test";
import { connect } from "../../db/connection.ts";
import { openDatabase } from "../../db/open.ts";
import type { Failure } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { silentLog } from "../../platform/log.ts";
import { expectBalanced, periodsOf, putBudget } from "../../testing/budgets.ts";
import { ownCluster } from "../../testing/cluster.ts";
import { startGateway } from "../../testing/gateway.ts";
import { ok } from "../../testing/wire.ts";
import { BudgetHolds } from "./holds.ts";

const cluster = await ownCluster();
const endpoint = cluster.embedded.gateway;
const database = await openDatabase({ endpoint, direct: null, prepare: true, applicationName: "first" });
const { sql } = database;
// Whoever ends connections needs one of its own.
const other = connect(cluster.embedded.superuser, {
  applicationName: "tests",
  prepare: false,
  connectionsMax: 1,
  statementTimeoutMs: null,
});
afterAll(async () => {
  cluster.thaw();
  await other.end({ timeout: 1 });
  await database.close();
  await cluster.stop();
});

const boot = { instance: crypto.randomUUID(), epoch: 1, bootId: "boot" };
const subjects = { user_id: null, client_id: "cli_a", key_id: null, project_id: null };

async function startHolds(): Promise<BudgetHolds> {
  const holds = new BudgetHolds({ sql, boot, log: silentLog });
  await holds.start();
  return holds;
}

const tried = async (holds: BudgetHolds, nano: number, req: string = newId("req"), before = 0) => {
  const began = performance.now();
  const refused = await holds.take({ req, subjects, nano, before }).then(
    () => null,
    (error: unknown) => error as Failure,
  );
  return { req, refused, tookMs: performance.now() - began };
};

async function until(isSo: () => Promise<boolean>, milliseconds: number): Promise<void> {
  const deadline = performance.now() + milliseconds;
  while (!(await isSo().catch(() => false))) {
    if (performance.now() > deadline) throw new Error("it did not become so in time");
    await Bun.sleep(50);
  }
}

test("a database that does not answer for two seconds refuses the call, and holds nothing once it is back", async () => {
  const budget = await putBudget(database);
  const holds = await startHolds();
  expect((await tried(holds, 5)).refused).toBeNull();
  cluster.freeze();
  const answers = await Promise.all([
    tried(holds, 7),
    tried(holds, 7),
    Bun.sleep(500).then(() => tried(holds, 7)),
  ]);
  for (const { refused, tookMs } of answers) {
    expect([refused?.code, refused?.status, refused?.retryAfterSeconds]).toEqual([
      "budget_unavailable",
      503,
      1,
    ]);
    expect(tookMs).toBeLessThan(2_500);
  }
  cluster.thaw();
  await until(async () => (await tried(holds, 11)).refused === null, 10_000);
  // What was asked before the freeze may be held for a moment; the last of it is given back when nothing can still run.
  await until(async () => {
    const held = await sql<{ nano: number }[]>`select nano from holds order by nano`;
    return held.every(({ nano }) => nano !== 7);
  }, 10_000);
  await Bun.sleep(300);
  expect(await sql`select * from holds where nano = 7`).toHaveLength(0);
  expect((await periodsOf(sql, budget))[0]?.held_nano).toBeGreaterThanOrEqual(16);
  await expectBalanced(sql);
  await holds.stop();
  await sql.unsafe("delete from budgets; delete from budget_periods; delete from holds");
}, 60_000);

test("without the database a call under a hard budget is refused in its dialect, and all others go on", async () => {
  const apart = await startGateway({ beside: { database, owner: cluster.embedded.owner } });
  const { ada } = await apart.people();
  const { robo, mallory } = apart;
  const about = { subject: "project", subject_id: robo.projectId, period: "day", limit_usd: "5" };
  await ok(ada, "POST", "/budgets", about);
  const body = { max_tokens: 20 };
  for (const who of [robo, mallory]) expect((await who.chat(body)).status).toBe(200);
  cluster.freeze();
  const began = performance.now();
  const [refused, other] = await Promise.all([robo.chat(body), mallory.chat(body)]);
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(performance.now() - began).toBeLessThan(3_000);
  const said = (await refused.json()) as { error: { code: string; type: string } };
  expect(said.error).toMatchObject({ code: "budget_unavailable", type: "server_error" });
  expect(other.status).toBe(200);
  cluster.thaw();
  await until(async () => (await robo.chat(body)).status === 200, 10_000);
  await apart.parts.ledger.settled();
  await until(async () => (await sql`select * from holds`).length === 0, 15_000);
  await expectBalanced(sql);
  await apart.close();
  await sql.unsafe("delete from budgets; delete from budget_periods; delete from holds");
}, 60_000);

test("connections that break at any moment lose no hold, take none twice and leave none behind", async () => {
  const budget = await putBudget(database, { limitNano: 1_000_000_000 });
  const holds = await startHolds();
  let isBreaking = true;
  let broken = 0;
  const breaker = (async () => {
    while (isBreaking) {
      const ended = await other`
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'first' and query like '%take_holds%'`;
      broken += ended.length;
      await Bun.sleep(Math.random() * 20);
    }
  })();
  const answers: Awaited<ReturnType<typeof tried>>[] = [];
  for (let round = 0; round < 40; round++) {
    const batch = Array.from({ length: 40 }, () => tried(holds, 3));
    answers.push(...(await Promise.all(batch)));
  }
  isBreaking = false;
  await breaker;
  expect(broken).toBeGreaterThan(10);
  const taken = answers.filter(({ refused }) => refused === null).map(({ req }) => req);
  expect(taken.length).toBeGreaterThan(500);
  // Of those that took, some take again: the second time adds, once.
  await Promise.all(taken.slice(0, 50).map((req) => tried(holds, 3, req, 3)));
  const wanted = new Map(taken.map((req, at) => [req, at < 50 ? 6 : 3]));
  await until(async () => (await sql`select req from holds`).length === taken.length, 15_000);
  const rows = await sql<{ req: string; nano: number }[]>`select req, nano from holds`;
  expect(new Map(rows.map(({ req, nano }) => [req, nano]))).toEqual(wanted);
  expect((await periodsOf(sql, budget))[0]?.held_nano).toBe(taken.length * 3 + 150);
  await expectBalanced(sql);
  await holds.stop();
}, 60_000);

test("a server that is killed under a hold has the hold afterwards, or never had it", async () => {
  await sql.unsafe("delete from budgets; delete from budget_periods; delete from holds");
  await putBudget(database, { limitNano: 1_000_000_000 });
  const holds = await startHolds();
  let isOver = false;
  const answers: Awaited<ReturnType<typeof tried>>[] = [];
  const load = Promise.all(
    Array.from({ length: 8 }, async () => {
      while (!isOver) answers.push(await tried(holds, 3));
    }),
  );
  await Bun.sleep(200);
  // One backend that dies like this makes the server end all others and recover from its log.
  const [victim] = await other<{ pid: number }[]>`
    select pid from pg_stat_activity where application_name = 'first' limit 1`;
  if (victim === undefined) throw new Error("nobody is connected");
  process.kill(victim.pid, "SIGKILL");
  await Bun.sleep(1_500);
  isOver = true;
  await load;
  const taken = answers.filter(({ refused }) => refused === null).map(({ req }) => req);
  expect(taken.length).toBeGreaterThan(100);
  await until(async () => (await sql`select req from holds`).length === taken.length, 15_000);
  const rows = await sql<{ req: string }[]>`select req from holds`;
  expect(new Set(rows.map(({ req }) => req))).toEqual(new Set(taken));
  await expectBalanced(sql);
  await holds.stop();
}, 60_000);
