/** `specgate audit`: whether the audit log is as it was written. */
import type { Command } from "commander";
import { verify } from "../features/audit/verify.ts";
import { type LocalFlags, withLocal } from "./local.ts";
import { printJson } from "./print.ts";
import { parseTime } from "./values.ts";
import { Ended, Misuse, type World } from "./world.ts";

type Flags = LocalFlags & { from?: string; to?: string; json?: boolean };

export function addAuditCommands(program: Command, world: World): void {
  const audit = program.command("audit").description("the audit log");
  audit
    .command("verify")
    .description("check rows, seals and signatures; exit 1 names the first bad one")
    .option("--from <time>", "seals made from this time or UTC day on")
    .option("--to <time>", "seals made up to this time, or to the end of this UTC day")
    .option("--data-dir <dir>", "the gateway's data dir")
    .option("--json", "print JSON")
    .action(async (flags: Flags) => {
      const mistakes: string[] = [];
      const from = parseTime("--from", flags.from, "start", mistakes) ?? null;
      const to = parseTime("--to", flags.to, "end", mistakes) ?? null;
      if (mistakes.length > 0) throw new Misuse(mistakes);
      const found = await withLocal(world, flags, ({ database, heads }) =>
        verify({ db: database.db, heads }, { from, to }),
      );
      const facts = `${found.rows} rows, ${found.seals} seals, ${found.unsealed} rows not sealed yet`;
      if (flags.json) printJson(world, found);
      else if (found.outcome === "intact") world.stdout(`intact: ${facts}\n`);
      else world.stdout(`broken: ${found.flaw.table} ${found.flaw.id}: ${found.flaw.why} (after ${facts})\n`);
      if (found.outcome === "broken") throw new Ended(1);
    });
}
