/** The MCP log of data dirs over one database, with a clock that tests set, and hands that may change its files. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Database } from "../db/database.ts";
import { createRecord } from "../features/audit/audit.ts";
import { type DecisionRow, lineOf, rowOf, saysOf } from "../features/audit/decision-row.ts";
import { McpLog } from "../features/audit/mcp-log.ts";
import { createAnchors } from "../features/audit/mcp-log-anchors.ts";
import { type Link, linkLine, readLine } from "../features/audit/mcp-log-line.ts";
import { createLogSweep } from "../features/audit/mcp-log-sweep.ts";
import { type LogVerification, verifyLog } from "../features/audit/mcp-log-verify.ts";
import { insertDecided } from "../features/audit/store.ts";
import { newId } from "../platform/ids.ts";
import { silentLog } from "../platform/log.ts";
import { testDir } from "./cluster.ts";
import { decided } from "./decisions.ts";

export type OpenLog = McpLog & { instance: string };

export const flawOf = (found: LogVerification) => (found.outcome === "broken" ? found.flaw : null);

export type Change = (members: Record<string, unknown>, at: number) => object;

/** The same lines with other words, and with hashes that are sound again. */
export function forged(lines: readonly string[], change: Change): string[] {
  const members = lines.map((line) => readLine(line)?.members ?? {});
  let link: Link = { seq: Number(members[0]?.seq) - 1, hash: String(members[0]?.prev) };
  return members.map(({ seq: _, ...rest }, at) => {
    const linked = linkLine(link, JSON.stringify(change(rest, at)));
    link = linked.link;
    return linked.line;
  });
}

export type DecisionLogs = ReturnType<typeof decisionLogs>;
export type LogPlace = ReturnType<DecisionLogs["newLog"]>;

export function decisionLogs(database: Database, clock: { now: number }) {
  const opened: McpLog[] = [];

  function newLog(on: { dir?: string; instance?: string; waitingMax?: number } = {}) {
    const { dir = testDir().path, instance = crypto.randomUUID(), ...more } = on;
    const needs = { database, record: createRecord(1), instance };
    const known = database.sql`
    insert into instances (id, epoch, nonce) values (${instance}, 1, 'one') on conflict do nothing`;
    const open = () => {
      const log = new McpLog({
        ...{ dir, anchors: createAnchors(needs), clock: { now: () => clock.now }, log: silentLog },
        ...more,
      });
      opened.push(log);
      return Object.assign(log, { instance });
    };
    const linesOf = (file: string) => readFileSync(join(dir, file), "utf8").split("\n").slice(0, -1);
    return {
      dir,
      instance,
      open,
      linesOf,
      membersOf: (file: string) => linesOf(file).map((line) => readLine(line)?.members ?? {}),
      put: (file: string, lines: readonly string[]) =>
        writeFileSync(join(dir, file), lines.map((line) => `${line}\n`).join("")),
      sweep: createLogSweep(dir, needs),
      verify: async (
        days: number | null = null,
        span = { from: null as Date | null, to: null as Date | null },
      ) => {
        await known;
        return await verifyLog({ db: database.db, dir, instance, days, now: clock.now }, span);
      },
      said: async () =>
        (
          await database.sql`
          select action, subject, details from audit
          where action like 'mcp_log.%' and details ->> 'instance' = ${instance} order by id`
        ).map(({ action, subject, details }) => [action, subject, details.lines]),
    };
  }

  /** Decisions of one millisecond each: `bytes_in` counts them. */
  const decisionsOf = (instance: string, count: number, boot = 1) =>
    Array.from({ length: count }, (_, at) => {
      const recorded = {
        origin: { instance, boot },
        eventId: newId("evt"),
        at: clock.now + at,
        argsMark: null,
      };
      return rowOf(decided({ bytesIn: at }), recorded);
    });

  const insert = (rows: readonly DecisionRow[]) =>
    database.sql.begin((tx) => insertDecided(tx, 1, JSON.stringify(rows)));

  async function write(log: OpenLog, count: number): Promise<void> {
    const rows = decisionsOf(log.instance, count);
    await insert(rows);
    for (const row of rows) log.append(lineOf(saysOf(row)));
    await log.flush();
  }

  return {
    newLog,
    decisionsOf,
    insert,
    write,
    closeAll: () => Promise.all(opened.map((log) => log.close())),
  };
}
