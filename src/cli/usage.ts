/** `specgate usage`: what was spent, over everybody, from the hourly roll-ups. */
import { type Command, Option } from "commander";
import { type Group, groups, type Summary, type SummaryRow } from "../features/usage/contract.ts";
import { csvLine } from "../features/usage/csv.ts";
import { usageOfAll } from "../features/usage/usage.ts";
import { hint } from "../platform/nearest.ts";
import { type LocalFlags, withLocal } from "./local.ts";
import { printJson, type Row, table } from "./print.ts";
import { parseTime } from "./values.ts";
import { Misuse, type World } from "./world.ts";

type Flags = LocalFlags & { from?: string; to?: string; by: string; csv?: boolean; json?: boolean };

export function addUsageCommand(program: Command, world: World): void {
  program
    .command("usage")
    .description("what was spent, as a table")
    .option("--from <time>", "from this time or UTC day on, such as 2026-01-31; whole hours")
    .option("--to <time>", "up to this time, or to the end of this UTC day")
    .option("--by <groups>", `one or two of ${groups.join(", ")}`, "day,model")
    .option("--csv", "print CSV, for spreadsheets")
    .addOption(new Option("--json", "print JSON, as GET /api/v1/usage/summary answers").conflicts("csv"))
    .option("--data-dir <dir>", "the gateway's data dir")
    .addHelpText(
      "after",
      "\nExamples:\n  $ specgate usage --by model\n  $ specgate usage --by tag --from 2026-01-01\n  $ specgate usage --from 2026-01-01 --by project,day --csv > january.csv\n",
    )
    .action(async (flags: Flags) => {
      const question = questionOf(flags);
      const summary = await withLocal(world, flags, ({ database }) => usageOfAll(database.db, question));
      if (flags.json) {
        printJson(world, summary);
        return;
      }
      world.stdout(flags.csv ? csv(summary, question.by) : usageTable(summary, question.by));
    });
}

function questionOf(flags: Flags): { from: Date | undefined; to: Date | undefined; by: Group[] } {
  const mistakes: string[] = [];
  const from = parseTime("--from", flags.from, "start", mistakes);
  const to = parseTime("--to", flags.to, "end", mistakes);
  const names = flags.by.split(",").map((name) => name.trim());
  const by = groups
    .filter((group) => names.includes(group))
    .sort((a, b) => names.indexOf(a) - names.indexOf(b));
  for (const name of names.filter((one) => !groups.some((group) => group === one)))
    mistakes.push(
      `--by: "${name}" is no group${hint(name, groups)}; would be one or two of ${groups.join(", ")}`,
    );
  if (names.length > 2 || new Set(names).size < names.length)
    mistakes.push("--by: more than two groups, or one twice; would be one or two of them");
  if (mistakes.length > 0) throw new Misuse(mistakes);
  return { from, to, by };
}

const columns = [
  ...["requests", "errors", "input", "cached", "output", "reasoning"],
  ...["cost_usd", "charged_usd", "unknown_usd"],
];

function usageTable(summary: Summary, by: readonly Group[]): string {
  const groupsOf = (row: SummaryRow): Row =>
    Object.fromEntries(by.map((name) => [name, shown(name, row[name])]));
  const rows = summary.data.map((row): Row => ({ ...groupsOf(row), ...flat(row) }));
  return table<Row>([...rows, { [by[0] ?? ""]: "total", ...flat(summary.totals) }], [...by, ...columns]);
}

/** Days and hours in UTC, without the digits that are always zero. */
const shown = (name: Group, value: string | null | undefined): string | null => {
  if (value === null || value === undefined) return null;
  return name === "day" ? value.slice(0, 10) : name === "hour" ? `${value.slice(0, 13)}Z` : value;
};

const flat = (row: Omit<SummaryRow, Group>): Row => ({
  requests: row.requests,
  errors: row.errors,
  input: row.usage.input,
  cached: row.usage.cached_read,
  output: row.usage.output,
  reasoning: row.usage.reasoning,
  cost_usd: row.cost_usd,
  charged_usd: row.charged_usd,
  unknown_usd: row.unknown_usd,
});

const csvColumns = ["requests", "errors", "cost_usd", "charged_usd", "unknown_usd"] as const;
const tokenColumns = ["input", "output", "cached_read", "cache_write", "reasoning", "audio"] as const;

/** No totals: whoever opens it adds up for themselves. */
function csv(summary: Summary, by: readonly Group[]): string {
  const head = [...by, ...csvColumns, ...tokenColumns.map((name) => `${name}_tokens`)];
  const lines = summary.data.map((row) => [
    ...by.map((name) => row[name] ?? ""),
    ...csvColumns.map((name) => row[name]),
    ...tokenColumns.map((name) => row.usage[name]),
  ]);
  return [head, ...lines].map(csvLine).join("");
}
