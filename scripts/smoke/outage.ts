/** The embedded PostgreSQL stands still, then dies; completions go on, and their rows arrive afterwards. */
import { readdirSync, readFileSync } from "node:fs";
import type { Gateway } from "../gateway.ts";
import { Caller, type Client, type Row } from "./caller.ts";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";

export async function outage(
  check: Check,
  gateway: Gateway,
  client: Client,
  dataDir: string,
  seconds: number,
): Promise<void> {
  const caller = await Caller.open(gateway, client);
  const earlier = (await settledRows(caller)).length;
  const tree = postgresOf(dataDir);
  let answered = 0;

  await check(`completions go on while PostgreSQL stands still for ${seconds} s`, async () => {
    expect(tree.length > 0, "no PostgreSQL of this data dir is running");
    for (const pid of tree) process.kill(pid, "SIGSTOP");
    try {
      answered += await keepAsking(caller, seconds);
    } finally {
      for (const pid of tree) process.kill(pid, "SIGCONT");
    }
    return `${answered} answered`;
  });
  await check("their rows arrive once it goes on", () => arrived(caller, earlier + answered, 30_000));

  await check("completions go on when PostgreSQL is killed", async () => {
    const [server] = postgresOf(dataDir);
    expect(server !== undefined, "no PostgreSQL of this data dir is running");
    process.kill(server, "SIGKILL");
    const more = await keepAsking(caller, Math.min(seconds, 5));
    answered += more;
    return `${more} answered`;
  });
  await check("the gateway brings PostgreSQL back, and the rows arrive", () =>
    arrived(caller, earlier + answered, 30_000),
  );
}

/** One after the other, ten a second; each must be whole. */
async function keepAsking(caller: Caller, seconds: number): Promise<number> {
  const until = performance.now() + seconds * 1_000;
  let answered = 0;
  while (performance.now() < until) {
    const { status, whole, body } = await caller.chat("openai/priced");
    expect(status === 200 && whole, `answer ${answered + 1}: ${status} ${new TextDecoder().decode(body)}`);
    answered++;
    await Bun.sleep(100);
  }
  return answered;
}

async function arrived(caller: Caller, wanted: number, withinMs: number): Promise<string> {
  const ask = (): Promise<Row[]> => settledRows(caller).catch(() => []);
  const rows = await eventually(ask, (found) => found.length >= wanted, withinMs);
  expectEqual(rows.length, wanted, "settled rows");
  expectEqual(new Set(rows.map(({ id }) => id)).size, wanted, "different rows");
  return `${wanted} rows`;
}

const settledRows = async (caller: Caller): Promise<Row[]> =>
  (await caller.rows()).filter(({ model, state }) => model === "priced" && state === "settled");

/** The embedded server of this data dir, whoever started it, with every process below it. */
export function postgresOf(dataDir: string): number[] {
  const parents = new Map<number, number>();
  let server: number | undefined;
  for (const pid of readdirSync("/proc").map(Number).filter(Number.isInteger)) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      parents.set(pid, Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
      const [program = "", ...args] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      if (program.endsWith("/bin/postgres") && args.some((word) => word.startsWith(dataDir))) server = pid;
    } catch {
      // It ended while the list was read.
    }
  }
  if (server === undefined) return [];
  return [server, ...[...parents].filter(([, parent]) => parent === server).map(([pid]) => pid)];
}
