/** `specgate purge`: what the gateway removes every hour, now: files and rows whose time is over. */
import type { Command } from "commander";
import { createChanges } from "../db/changes.ts";
import { Purge } from "../features/artifacts/purge.ts";
import { type Elsewhere, listElsewhere } from "../features/artifacts/store-orphans.ts";
import { createLogSweep } from "../features/audit/mcp-log-sweep.ts";
import { systemClock } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import { silentLog } from "../platform/log.ts";
import { openStorage } from "../wiring-storage.ts";
import { createUpkeep, type Trouble, type UpkeepReport, type UpkeepTerms } from "../wiring-upkeep.ts";
import { inAnotherStore } from "./doctor-storage.ts";
import { type Local, type LocalFlags, withLocal } from "./local.ts";
import { configAsServed } from "./noted-config.ts";
import { printable, printJson, table } from "./print.ts";
import { withProgress } from "./progress.ts";
import { publicUrlOf } from "./public-url.ts";
import { Ended, type World } from "./world.ts";

type Flags = LocalFlags & { config?: string; dryRun?: boolean; unknownObjects?: boolean; json?: boolean };

type Outcome = UpkeepReport & { readonly elsewhere: readonly Elsewhere[] };

export function addPurgeCommand(program: Command, world: World): void {
  program
    .command("purge")
    .description(
      "remove artifacts, tokens, answers, events, calls and files of MCP decisions whose time is over",
    )
    .option("--dry-run", "only say what would go")
    .option(
      "--unknown-objects",
      "also remove old objects of projects and people here that no artifact names: they are lost for good if an " +
        "older backup was restored, or if another database shares the bucket",
    )
    .option("--config <file>", "the YAML file, in place of the one that the gateway reads")
    .option("--data-dir <dir>", "the gateway's data dir")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nThe gateway does the same every hour, and once a day looks for objects that should be gone. It never removes\n" +
        "objects that no artifact names; --unknown-objects removes those older than 7 days. Try it with --dry-run.\n" +
        "\nExamples:\n  $ specgate purge --dry-run\n  $ specgate purge --json | jq '.data[] | select(.count > 0)'\n",
    )
    .action(async (flags: Flags) => {
      const { dryRun = false, unknownObjects = false, json = false } = flags;
      const config = configAsServed(world, flags);
      const report = await withProgress(world, "opening the database", (say) =>
        withLocal(
          world,
          flags,
          (local) => purge(local, { dryRun, orphans: true, unknownObjects, onPart: say }),
          config,
        ),
      );
      if (json) printJson(world, shownAsJson(report, dryRun));
      else print(world, report, dryRun);
      if (report.troubles.length > 0) throw new Ended(1);
    });
}

async function purge(local: Local, terms: UpkeepTerms): Promise<Outcome> {
  const { config, dir, database, record } = local;
  const { objects } = openStorage({ config, dir, publicUrl: () => publicUrlOf(config, dir) });
  try {
    // What goes by itself is told to nobody, and ends no credential.
    const changes = createChanges({
      database,
      record,
      told: () => undefined,
      announce: async () => undefined,
    });
    const shared = { database, objects, log: silentLog };
    const upkeep = createUpkeep({
      ...shared,
      identity: local,
      purge: new Purge({ ...shared, changes }),
      // Uploads arrive at the gateway: which of them are dead is for it to know.
      disk: null,
      mcpLog: createLogSweep(dir.file("audit"), { database, record, instance: dir.instance }),
      gateway: () => config.gateway,
      clock: systemClock(),
    });
    const report = await upkeep.run(terms);
    return { ...report, elsewhere: await listElsewhere(database.db, objects.place) };
  } finally {
    await objects.close();
  }
}

function print(world: World, { tallies, ...rest }: Outcome, dryRun: boolean): void {
  const gone = tallies.filter(({ count }) => count > 0);
  if (gone.length > 0) world.stdout(table(gone, ["kind", "count", "bytes"]));
  const files = tallies.filter(({ bytes }) => bytes !== null);
  const count = files.reduce((sum, file) => sum + file.count, 0);
  const bytes = files.reduce((sum, file) => sum + (file.bytes ?? 0), 0);
  const rows = tallies.reduce((sum, tally) => sum + tally.count, 0) - count;
  const verb = dryRun ? "would go" : "went";
  const words =
    gone.length === 0
      ? "Nothing is over its time."
      : `${counted(count, "file")} (${counted(bytes, "byte")}) and ${counted(rows, "row")} ${verb}.`;
  world.stderr(`${words}\n`);
  printWhatStays(world, rest);
}

function printWhatStays(world: World, { foreign, unknown, elsewhere, troubles }: Omit<Outcome, "tallies">) {
  if (foreign > 0)
    world.stderr(`Old objects in the store that are of no project or person here, and stay: ${foreign}.\n`);
  if (unknown > 0)
    world.stderr(
      `Old objects in the store that no artifact names, and stay: ${unknown}. ` +
        "Was an older backup restored, or does another database share the bucket? If neither, --unknown-objects removes them.\n",
    );
  for (const there of elsewhere) world.stderr(`${printable(inAnotherStore(there))}\n`);
  for (const trouble of troubles) world.stderr(`specgate: ${printable(sentence(trouble))}\n`);
}

const shownAsJson = ({ tallies, foreign, unknown, elsewhere, troubles }: Outcome, dryRun: boolean) => ({
  dry_run: dryRun,
  data: tallies,
  foreign_objects: foreign,
  unknown_objects: unknown,
  elsewhere,
  troubles: troubles.map((trouble) => ({ part: trouble.part, message: sentence(trouble) })),
});

function sentence({ part, failed, error }: Trouble): string {
  const why = reason(error);
  return failed > 0
    ? `${part}: ${counted(failed, "object")} could not be removed, for the next purge to try again. ${why}`
    : `${part}: ${why}`;
}

/** A failed query's own message holds its parameters; its cause says what went wrong. */
function reason(error: unknown): string {
  if (error instanceof Failure) return error.message;
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return `Something unexpected went wrong: ${inner instanceof Error ? inner.message : String(inner)}`;
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
