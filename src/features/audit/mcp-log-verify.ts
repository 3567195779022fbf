/**
 * Checks the files of the MCP log: each line against the one before it, each file against the one before it, all of them
 * against what the audit log says of them, and each line against the audit log's row of the same decision, both ways
 * (mcp-log-witness.ts). Names the first file and line that is wrong. A line that is being written, at the end of the last
 * file, is no flaw.
 *
 * A data dir whose id the database does not know is not believed: what protects its files is found by that id.
 */
import { createReadStream } from "node:fs";
import { join } from "node:path";
import type { Db } from "../../db/database.ts";
import { listSaid, type Said } from "./mcp-log-anchors.ts";
import { endOf, isDue, isLogFile, listLogFiles } from "./mcp-log-files.ts";
import { Broken, broken, type LogFlaw } from "./mcp-log-flaw.ts";
import { type Link, lineBytesMax, noLink, type ReadLine, readLine } from "./mcp-log-line.ts";
import { findGateways } from "./mcp-log-rows.ts";
import { Witness } from "./mcp-log-witness.ts";

export type LogCounts = {
  files: number;
  lines: number;
  /** Lines that were never written, as the files themselves say. */
  missing: number;
  /** Lines that the journal has not brought to the audit log yet. */
  undrained: number;
  /** Decisions whose lines are about to be written, or will be at the next start. */
  unwritten: number;
};
export type LogVerification =
  | ({ readonly outcome: "intact" } & Readonly<LogCounts>)
  | ({ readonly outcome: "broken"; readonly flaw: LogFlaw } & Readonly<LogCounts>);

export type LogVerifyNeeds = {
  db: Db;
  dir: string;
  instance: string;
  /** When files go; null: never. */
  days: number | null;
  now: number;
};

/** Files of days from `from` up to `to`; null is no bound. */
type Span = { from: Date | null; to: Date | null };

export async function verifyLog(needs: LogVerifyNeeds, span: Span): Promise<LogVerification> {
  const counts: LogCounts = { files: 0, lines: 0, missing: 0, undrained: 0, unwritten: 0 };
  try {
    // What is said first and read afterwards is on disk by then.
    const said = await listSaid(needs.db, needs.instance);
    await requireKnown(needs);
    await verifyFiles(needs, span, said, counts);
    return { outcome: "intact", ...counts };
  } catch (error) {
    if (error instanceof Broken) return { outcome: "broken", flaw: error.flaw, ...counts };
    throw error;
  }
}

async function requireKnown({ db, dir, instance }: LogVerifyNeeds): Promise<void> {
  const { isKnown, haveOthersFiles } = await findGateways(db, instance);
  const [file = "instance"] = listLogFiles(dir);
  if (!isKnown && (file !== "instance" || haveOthersFiles))
    throw broken(
      file,
      null,
      `no gateway with the id ${instance}, which the data dir's \`instance\` says, ever ran over this database: either the data dir is another's, or somebody changed that file`,
    );
}

async function verifyFiles(
  needs: LogVerifyNeeds,
  span: Span,
  said: readonly Said[],
  counts: LogCounts,
): Promise<void> {
  const { dir, now, days } = needs;
  const begins = (file: string) => span.from === null || endOf(file) > span.from.getTime();
  const inSpan = (file: string) =>
    begins(file) && (span.to === null || endOf(file) - dayMs < span.to.getTime());
  const all = listLogFiles(dir);
  const files = all.filter(inSpan);
  const removed = new Set(said.filter(({ kind }) => kind === "removed").map(({ file }) => file));
  const mayBeMissing = (file: string) => removed.has(file) || isDue(file, now, days) || !inSpan(file);
  for (const { file, at, lines } of said)
    if (isLogFile(file) && !files.includes(file) && !mayBeMissing(file))
      throw broken(file, null, `the file is missing; at ${at} it had ${lines} lines`);
  const witness = new Witness(needs);
  let before: Before = null;
  for (const file of files) {
    const isLast = file === all.at(-1);
    const anchors = said.filter((one) => one.file === file && one.kind !== "removed");
    const check: Check = { dir, file, before, isLast, anchors, mayBeMissing, witness };
    before = { file, link: await verifyFile(check, counts) };
  }
  counts.undrained = await witness.finish();
  // A line may stand in a later file than its day's.
  for (const file of all.filter((one) => begins(one) && !inSpan(one)))
    for await (const { text } of linesOf(join(dir, file))) witness.note(readLine(text));
  const gone = Math.max(
    ...[...removed].filter(isLogFile).map(endOf),
    days === null ? 0 : dayOf(now - days * dayMs),
  );
  const from = new Date(Math.max(0, gone, span.from?.getTime() ?? 0));
  // The clock may have been ahead.
  const to = span.to ?? new Date(now + 365 * dayMs);
  counts.unwritten = await witness.requireLines({ from, to }, counts.missing);
}

const dayOf = (time: number): number => Math.floor(time / dayMs) * dayMs;

type Before = { file: string; link: Link } | null;
type Check = {
  dir: string;
  file: string;
  before: Before;
  isLast: boolean;
  anchors: readonly Said[];
  mayBeMissing: (file: string) => boolean;
  witness: Witness;
};

async function verifyFile(check: Check, counts: LogCounts): Promise<Link> {
  const { dir, file, isLast, anchors, witness } = check;
  let link: Link | undefined;
  let number = 0;
  const hashes = new Map(anchors.map(({ lines }) => [lines, ""]));
  for await (const { text, isWhole } of linesOf(join(dir, file))) {
    if (!isWhole && isLast) break;
    number += 1;
    const line = isWhole ? readLine(text) : undefined;
    if (line === undefined) throw broken(file, number, "this is no line that the gateway writes");
    link ??= verifyFirst(check, line);
    if (!line.follows(link)) throw broken(file, number, "it does not follow from the line before it");
    link = { seq: line.seq, hash: line.hash };
    if (hashes.has(number)) hashes.set(number, line.hash);
    if (line.members.kind === "gap") counts.missing += Number(line.members.missing);
    counts.lines += 1;
    await witness.see(file, number, line);
  }
  counts.files += 1;
  for (const anchor of anchors) verifyAnchor(file, anchor, number, hashes.get(anchor.lines));
  if (link === undefined && !isLast) throw broken(file, null, "the file is empty");
  return link ?? check.before?.link ?? noLink;
}

/** What the file's first line hangs on. */
function verifyFirst({ file, before, mayBeMissing }: Check, { seq, members }: ReadLine): Link {
  const { kind, before: named, prev } = members;
  if (kind !== "opened" || members.file !== file)
    throw broken(file, 1, "the file does not begin with its opening line: its beginning was cut off");
  if (before !== null) {
    if (named === before.file) return before.link;
    if (typeof named === "string" && isLogFile(named) && named > before.file && mayBeMissing(named))
      return { seq: seq - 1, hash: String(prev) };
    throw broken(
      file,
      1,
      `it names ${String(named)} as the file before it, and the one before it is ${before.file}`,
    );
  }
  if (typeof named === "string" && !mayBeMissing(named))
    throw broken(named, null, `the file is missing; ${file} goes on from it`);
  return { seq: seq - 1, hash: String(prev) };
}

function verifyAnchor(file: string, anchor: Said, lines: number, hash: string | undefined): void {
  if (lines < anchor.lines)
    throw broken(
      file,
      lines,
      `its end was cut off: at ${anchor.at} it had ${anchor.lines} lines, now ${lines}`,
    );
  if (hash !== anchor.hash)
    throw broken(file, anchor.lines, `the audit log says of ${anchor.at} that another line stood here`);
  if (anchor.kind === "closed" && lines > anchor.lines)
    throw broken(file, anchor.lines + 1, `the file was closed at ${anchor.at}; this was added afterwards`);
}

const dayMs = 86_400_000;

/** Line by line, however they end; one without a line break is not whole. */
async function* linesOf(path: string): AsyncGenerator<{ text: string; isWhole: boolean }> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { highWaterMark: 262_144 }) as AsyncIterable<Buffer>) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a, at)) {
      yield { text: bytes.toString("utf8", at, end), isWhole: true };
      at = end + 1;
    }
    rest = bytes.subarray(at);
    // Whoever made it so long did not do so by accident: it is told as what it is, and nothing behind it is read.
    if (rest.length > 4 * lineBytesMax) return void (yield { text: "", isWhole: true });
  }
  if (rest.length > 0) yield { text: rest.toString("utf8"), isWhole: false };
}
