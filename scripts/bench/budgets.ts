/**
 * What it takes to set money aside under hard budgets, against one committed row of the same database in the same run.
 *
 * An embedded PostgreSQL as `serve` has it, every commit on the disk; one budget or three that all callers share, which is
 * the worst case: each reservation waits for the one before it.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { packPostgres } from "../pack.ts";
import { atMost, type Figure } from "./figures.ts";

const callers = 256;
const slicesCount = 7;
const subjects = { user_id: "usr_a", client_id: "cli_a", key_id: null, project_id: "prj_a" };
const shared = [
  { subject: "global", subjectId: null },
  { subject: "project", subjectId: "prj_a" },
  { subject: "client", subjectId: "cli_a" },
] as const;

export async function budgets(seconds: number, say: (words: string) => void): Promise<Figure[]> {
  const place = await openPlace();
  try {
    const figures: Figure[] = [];
    for (const count of [1, 3]) {
      await place.put(shared.slice(0, count));
      const words = count === 1 ? "one hot budget" : `${count} hot budgets`;
      figures.push(...(await compare(place, words, seconds, say)));
    }
    return figures;
  } finally {
    await place.close();
  }
}

/** In turns, so that what else the machine does meets all three. */
async function compare(
  place: Awaited<ReturnType<typeof openPlace>>,
  words: string,
  seconds: number,
  say: (words: string) => void,
): Promise<Figure[]> {
  const slices: { rowMs: number; manyMs: number; aloneMs: number }[] = [];
  for (let slice = 0; slice < slicesCount; slice++) {
    const rowMs = await place.rowMs(seconds / slicesCount / 3);
    const manyMs = 1_000 / (await place.crowd(seconds / slicesCount));
    slices.push({ rowMs, manyMs, aloneMs: await place.alone(seconds / slicesCount / 3) });
  }
  const many = median(slices.map(({ manyMs, rowMs }) => manyMs / rowMs));
  const alone = median(slices.map(({ aloneMs, rowMs }) => aloneMs / rowMs));
  const perSecond = Math.round(1_000 / median(slices.map(({ manyMs }) => manyMs)));
  const aloneMs = median(slices.map((slice) => slice.aloneMs)).toFixed(2);
  const rowMs = median(slices.map((slice) => slice.rowMs)).toFixed(2);
  say(`${words}: ${perSecond} reservations/s, alone ${aloneMs} ms; a committed row ${rowMs} ms`);
  return [
    atMost(
      `a reservation of many, ${words}, against a committed row`,
      many,
      0.25,
      "×",
      `${perSecond}/s, ${callers} callers`,
    ),
    atMost(`a reservation alone, ${words}, against a committed row`, alone, 5, "×", `${aloneMs} ms`),
  ];
}

const median = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

async function openPlace() {
  await packPostgres({ fast: true });
  const { startEmbedded } = await import("../../src/db/embedded.ts");
  const { connect } = await import("../../src/db/connection.ts");
  const { migrate } = await import("../../src/db/migrate.ts");
  const { openDatabase } = await import("../../src/db/open.ts");
  const { openDataDir } = await import("../../src/platform/data-dir.ts");
  const { silentLog } = await import("../../src/platform/log.ts");
  const { newId } = await import("../../src/platform/ids.ts");
  const { BudgetHolds } = await import("../../src/features/budgets/holds.ts");
  const { insertBudget } = await import("../../src/features/budgets/store.ts");

  const path = mkdtempSync(`${tmpdir()}/specgate-bench-`);
  const host = {
    pid: process.pid,
    uid: process.getuid?.() ?? 1,
    platform: process.platform,
    arch: process.arch,
  };
  const dir = openDataDir(path, { create: true });
  const embedded = await startEmbedded({ dir, host, postgresUid: null, log: silentLog });
  const settings = { applicationName: "bench", prepare: true, connectionsMax: 1, statementTimeoutMs: null };
  const owner = connect(embedded.owner, settings);
  await migrate(owner, { gatewayRole: "specgate" });
  const database = await openDatabase({
    endpoint: embedded.gateway,
    direct: null,
    prepare: true,
    applicationName: "bench",
  });
  const { sql } = database;
  const boot = { instance: crypto.randomUUID(), epoch: 1, bootId: "bench" };
  const holds = new BudgetHolds({ sql, boot, log: silentLog });
  await holds.start();

  const timed = async (seconds: number, work: () => Promise<unknown>): Promise<number> => {
    const began = performance.now();
    let done = 0;
    while (performance.now() - began < seconds * 1_000) {
      await work();
      done++;
    }
    return (performance.now() - began) / done;
  };
  const take = () => holds.take({ req: newId("req"), subjects, nano: 5, before: 0 });
  return {
    /** Of one that is inserted and committed, one after the other. */
    rowMs: (seconds: number) =>
      timed(
        seconds,
        () => sql`
          insert into holds (req, periods, nano, instance, epoch, boot_id)
          values (${newId("req")}, '{}', 5, ${boot.instance}, 1, 'bench')`,
      ),
    async put(about: readonly (typeof shared)[number][]): Promise<void> {
      await sql.unsafe("delete from budgets; delete from budget_periods; delete from holds");
      const usual = {
        period: "month",
        timezone: "Europe/Berlin",
        weekStart: "monday",
        thresholds: [] as number[],
        hard: true,
      } as const;
      for (const one of about) {
        const row = { ...usual, ...one, id: newId("bud"), limitNano: 1e15, createdBy: "bench" };
        await database.transaction((tx) => insertBudget(tx, row));
      }
    },
    /** Reservations per second of many callers. */
    async crowd(seconds: number): Promise<number> {
      const until = performance.now() + seconds * 1_000;
      let taken = 0;
      const began = performance.now();
      await Promise.all(
        Array.from({ length: callers }, async () => {
          while (performance.now() < until) {
            await take();
            taken++;
          }
        }),
      );
      return taken / ((performance.now() - began) / 1_000);
    },
    alone: (seconds: number) => timed(seconds, take),
    async close(): Promise<void> {
      await holds.stop();
      await owner.end({ timeout: 1 });
      await database.close();
      await embedded.stop();
      rmSync(path, { recursive: true, force: true });
    },
  };
}
