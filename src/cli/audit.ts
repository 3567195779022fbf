/** `specgate audit`: whether the audit log and the files of MCP decisions are as they were written. */
import type { Command } from "commander";
import { type LogVerification, verifyLog } from "../features/audit/mcp-log-verify.ts";
import { type Verification, verify } from "../features/audit/verify.ts";
import type { Config } from "../platform/config.ts";
import { configWithoutFile } from "./config.ts";
import { type Local, type LocalFlags, withLocal } from "./local.ts";
import { configAsServed } from "./noted-config.ts";
import { printable, printJson } from "./print.ts";
import { parseTime } from "./values.ts";
import { Ended, Misuse, type World } from "./world.ts";

type Flags = LocalFlags & { config?: string; from?: string; to?: string; json?: boolean };

export function addAuditCommands(program: Command, world: World): void {
  const audit = program.command("audit").description("the audit log");
  audit
    .command("verify")
    .description(
      "check rows, seals and signatures, and the daily files of MCP decisions; exit 1 names the first bad one",
    )
    .option("--from <time>", "seals made from this time or UTC day on, and files from that day on")
    .option(
      "--to <time>",
      "seals made up to this time, or to the end of this UTC day, and files up to that day",
    )
    .option("--config <file>", "the YAML file, in place of the one that the gateway reads")
    .option("--data-dir <dir>", "the gateway's data dir")
    .option("--json", "print JSON")
    .action(async (flags: Flags) => {
      const found = await verifyBoth(world, flags);
      if (flags.json) printJson(world, shownAsJson(found));
      else print(world, found);
      if ([found.rows, found.log].some(({ outcome }) => outcome === "broken")) throw new Ended(1);
    });
}

type Found = { rows: Verification; log: LogVerification };

async function verifyBoth(world: World, flags: Flags): Promise<Found> {
  const mistakes: string[] = [];
  const from = parseTime("--from", flags.from, "start", mistakes) ?? null;
  const to = parseTime("--to", flags.to, "end", mistakes) ?? null;
  if (mistakes.length > 0) throw new Misuse(mistakes);
  const work = async ({ database: { db }, heads, dir, config }: Local): Promise<Found> => {
    // The rows first: what the files are compared with stands in them.
    const rows = await verify({ db, heads }, { from, to });
    const days = config.gateway.retention.requestsDays;
    const place = { dir: dir.file("audit"), instance: dir.instance };
    return { rows, log: await verifyLog({ db, ...place, days, now: Date.now() }, { from, to }) };
  };
  return await withLocal(world, flags, work, configOf(world, flags));
}

/** The file says how long files are kept. One that cannot be read here holds up nobody: what was removed is recorded. */
function configOf(world: World, flags: Flags): Config {
  try {
    return configAsServed(world, flags);
  } catch (error) {
    if (!(error instanceof Misuse) || flags.config !== undefined) throw error;
    return configWithoutFile(world, flags);
  }
}

function print(world: World, { rows, log }: Found): void {
  const facts = `${rows.rows} rows, ${rows.seals} seals, ${rows.unsealed} rows not sealed yet`;
  if (rows.outcome === "broken") {
    const { table, id, why } = rows.flaw;
    world.stdout(`broken: ${table} ${id}: ${why} (after ${facts})\n`);
  } else world.stdout(`intact: ${facts}\n`);
  if (log.outcome === "broken") {
    const { file, line, why } = log.flaw;
    world.stdout(`broken: ${file}${line === null ? "" : ` line ${line}`}: ${printable(why)}\n`);
  } else if (log.files > 0) {
    const more = [
      [log.missing, "never written for lack of room"],
      [log.undrained, "not in the audit log yet"],
      [log.unwritten, "still to be written"],
    ] as const;
    const said = more.map(([count, what]) => (count === 0 ? "" : `, ${count} ${what}`)).join("");
    world.stdout(`intact: ${log.lines} lines in ${log.files} files of MCP decisions${said}\n`);
  }
}

/** `outcome` says both; `flaw` is the rows', `mcp_log` has that of the files. */
const shownAsJson = ({ rows, log }: Found) => ({
  ...rows,
  outcome: rows.outcome === "broken" ? rows.outcome : log.outcome,
  mcp_log: log,
});
