/** `specgate report`: what there is to say about a session, in one piece, for people to read and find. */
import { basename, extname } from "node:path";
import type { Command } from "commander";
import {
  type ReportFormat,
  type ReportLine,
  type ReportView,
  reportFormats,
} from "../features/reports/contract.ts";
import { openControl } from "./control-api.ts";
import {
  type ControlFlags,
  choice,
  overGateway,
  parseId,
  parseIteration,
  parseSession,
} from "./gateway-options.ts";
import { readText } from "./input-file.ts";
import { printJson, printList } from "./print.ts";
import { printView, readable } from "./print-view.ts";
import { Misuse, type World } from "./world.ts";

type SubmitFlags = ControlFlags & {
  session: string;
  title?: string;
  kind?: string;
  format?: ReportFormat;
  iteration?: string;
};
type ListFlags = ControlFlags & { session: string; kind?: string; iteration?: string };

export function addReportCommands(program: Command, world: World): void {
  const report = program.command("report").description("reports of a session, over HTTP");
  addSubmit(report, world);
  addList(report, world);
  addShow(report, world);
}

function addSubmit(report: Command, world: World): void {
  const command = report
    .command("submit")
    .description("hand in a report; it is never changed afterwards")
    .argument("<file>", "the text, or - for standard input")
    .requiredOption("--session <id>", "the session, ses_…", parseSession)
    .option("--title <title>", "the first heading of the text, or the file's name, when left out")
    .option("--kind <kind>", "a word of your own, such as review; report when left out")
    .addOption(choice("--format <format>", "by the file's name when left out", reportFormats))
    .option("--iteration <id>", "the iteration that it is about, itr_…", parseIteration);
  overGateway(command, {
    examples: [
      "specgate report submit review.md --session ses_… --kind review",
      'bun test 2>&1 | specgate report submit - --session ses_… --format text --title "Test run"',
    ],
  }).action(async (file: string, { session, ...flags }: SubmitFlags) => {
    const body = await readText(world, file);
    const format = flags.format ?? formatOf(file);
    const title = flags.title ?? titleOf(file, body, format);
    const control = await openControl(world, flags);
    const asked = { title, format, body, kind: flags.kind, iteration_id: flags.iteration };
    printView(world, flags.json, await control.post<ReportLine>(`/sessions/${session}/reports`, asked));
  });
}

function formatOf(file: string): ReportFormat {
  const ending = extname(file).toLowerCase();
  if (ending === ".json") return "json";
  return file === "-" || [".md", ".markdown"].includes(ending) ? "markdown" : "text";
}

const titleCharactersMax = 200;

function titleOf(file: string, body: string, format: ReportFormat): string {
  const title = (format === "markdown" ? headingOf(body) : undefined) ?? (file === "-" ? "" : basename(file));
  if (title !== "") return title.slice(0, titleCharactersMax);
  throw new Misuse(["--title is missing: standard input has no name, and its text no heading"]);
}

/** The first heading that does not stand in a block of code. */
function headingOf(markdown: string): string | undefined {
  let fence: string | null = null;
  for (const line of markdown.split(/\r?\n/)) {
    const mark = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1] ?? null;
    if (fence !== null) {
      if (mark?.startsWith(fence)) fence = null;
    } else if (mark !== null) fence = mark;
    else if (/^ {0,3}#{1,6}[ \t]+\S/.test(line)) return line.replace(/^[ #\t]+|[ \t]+#*[ \t]*$/g, "");
  }
  return undefined;
}

function addList(report: Command, world: World): void {
  const command = report
    .command("list")
    .description("the reports of a session, newest first, without their texts")
    .requiredOption("--session <id>", "the session, ses_…", parseSession)
    .option("--kind <kind>", "only those of this kind")
    .option("--iteration <id>", "only those about this iteration", parseIteration);
  overGateway(command, { examples: ["specgate report list --session ses_… --kind review"] }).action(
    async ({ session, kind, iteration, ...flags }: ListFlags) => {
      const control = await openControl(world, flags);
      const rows = await control.all<ReportLine>(`/sessions/${session}/reports`, { kind, iteration });
      const columns = ["id", "kind", "format", "body_bytes", "created_at", "title"] as const;
      printList(world, flags.json === true, rows, [...columns]);
    },
  );
}

function addShow(report: Command, world: World): void {
  const command = report
    .command("show")
    .description("print the text of a report")
    .argument("<report>", "its id, rpt_…", parseId("rpt"));
  overGateway(command, {
    notes:
      "Characters that a terminal would obey are shown as ?; --json has the text exactly as it was handed in.",
    examples: ["specgate report show rpt_…", "specgate report show rpt_… --json | jq -r .body > review.md"],
  }).action(async (id: string, flags: ControlFlags) => {
    const control = await openControl(world, flags);
    const view = await control.get<ReportView>(`/reports/${id}`);
    if (flags.json) printJson(world, view);
    else world.stdout(`${readable(view.body).replace(/\n$/, "")}\n`);
  });
}
