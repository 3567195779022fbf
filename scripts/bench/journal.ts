/**
 * What the journal costs: closed loops of callers that write a START, wait, write an END, wait.
 *
 *   bun scripts/bench/journal.ts [seconds] [dir]
 *   bun build --compile --entry-naming "[name].[ext]" scripts/bench/journal.ts src/platform/journal/sync.ts --outfile /tmp/bench
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openJournal } from "../../src/platform/journal/journal.ts";
import { recoverJournal } from "../../src/platform/journal/recovery.ts";
import { silentLog } from "../../src/platform/log.ts";

const seconds = Number(process.argv[2] ?? 3);
const root = process.argv[3] ?? "/tmp";
mkdirSync(root, { recursive: true });
const startJson = JSON.stringify({ t: "start", req: `req_${"0".repeat(32)}`, tags: "x".repeat(420) });
const endJson = JSON.stringify({ t: "end", req: `req_${"0".repeat(32)}`, usage: "x".repeat(240) });

const rows = [];
for (const callers of [1, 16, 64, 512]) rows.push(await measure(callers, 0));
rows.push(await measure(64, 2000));
console.table(rows);

async function measure(callers: number, pacedPerSecond: number) {
  const dir = mkdtempSync(join(root, "journal-bench-"));
  const instance = crypto.randomUUID();
  const journal = await openJournal({ dir, instance, epoch: 1, bootId: "bench", log: silentLog });
  const waits: number[] = [];
  let records = 0;
  let refused = 0;
  let drainedTo = 0;
  let busy = true;
  const drain = (async () => {
    while (busy) {
      const { lastLsn } = await journal.read(drainedTo, 500);
      if (lastLsn === drainedTo) await Bun.sleep(200);
      drainedTo = lastLsn;
      journal.drained(drainedTo);
      await Bun.sleep(0);
    }
  })();
  const until = performance.now() + seconds * 1000;
  const cpu = process.threadCpuUsage();
  const began = performance.now();
  await Promise.all(
    Array.from({ length: callers }, async (_, caller) => {
      for (let i = 0; performance.now() < until; i++) {
        if (pacedPerSecond > 0) await Bun.sleep((callers * 1000) / pacedPerSecond);
        const key = `req_${caller}_${i}/1`;
        try {
          const from = performance.now();
          await journal.start(key, startJson).durable;
          waits.push(performance.now() - from);
          const ended = performance.now();
          await journal.end(key, endJson).durable;
          waits.push(performance.now() - ended);
          records += 2;
        } catch {
          refused += 1;
          await Bun.sleep(1);
        }
      }
    }),
  );
  const took = performance.now() - began;
  const spent = process.threadCpuUsage(cpu);
  busy = false;
  await drain;
  const { durableLsn } = journal.status();
  await journal.close();
  const scanFrom = performance.now();
  const recovered = await recoverJournal(dir, instance);
  const scan = performance.now() - scanFrom;
  rmSync(dir, { recursive: true });
  waits.sort((a, b) => a - b);
  const at = (share: number) => Number((waits[Math.floor(waits.length * share)] ?? 0).toFixed(3));
  return {
    callers: pacedPerSecond > 0 ? `${callers} paced` : callers,
    "records/s": Math.round(records / (took / 1000)),
    "main µs/record": Number(((spent.user + spent.system) / records).toFixed(2)),
    "p50 ms": at(0.5),
    "p99 ms": at(0.99),
    "p99.9 ms": at(0.999),
    refused,
    lastLsn: durableLsn,
    "scan ms": Number(scan.toFixed(1)),
    open: recovered.open.length,
    corrupt: recovered.corrupt.length,
  };
}
