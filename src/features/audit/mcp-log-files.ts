/**
 * The files of the MCP log: `mcp-YYYYMMDD.jsonl` in the data dir's `audit`, one for each day (UTC) that had a decision.
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { lineBytesMax, type ReadLine, readLine } from "./mcp-log-line.ts";

const fileForm = /^mcp-(\d{4})(\d{2})(\d{2})\.jsonl$/;
const dayMs = 86_400_000;

/** The file of the day in which this moment lies. */
export const fileOf = (at: number): string =>
  `mcp-${new Date(at).toISOString().slice(0, 10).replaceAll("-", "")}.jsonl`;

export const isLogFile = (name: string): boolean => fileForm.test(name);

/** Oldest first; none where there is no such directory. */
export function listLogFiles(dir: string): string[] {
  try {
    return readdirSync(dir).filter(isLogFile).sort();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

/** Milliseconds since the epoch at which the file's day is over. */
export function endOf(file: string): number {
  const [, year, month, day] = fileForm.exec(file) ?? [];
  return Date.UTC(Number(year), Number(month) - 1, Number(day)) + dayMs;
}

/** Whether a file's time is over; null days: never. */
export const isDue = (file: string, now: number, days: number | null): boolean =>
  days !== null && endOf(file) <= now - days * dayMs;

/** How a file ends and what it begins with. */
export type LogEnd = {
  /** Undefined when the last whole line is none of ours. */
  readonly last: ReadLine | undefined;
  readonly lastText: string;
  readonly firstSeq: number;
  /** Up to the end of its last whole line. */
  readonly bytes: number;
  /** Behind that: what a crash tore off. */
  readonly tornBytes: number;
};

export function readLogEnd(dir: string, file: string): LogEnd {
  const fd = openSync(join(dir, file), "r");
  try {
    const { size } = fstatSync(fd);
    const tail = bytesAt(fd, Math.max(0, size - 4 * lineBytesMax), size);
    const start = size - tail.length;
    // Power loss can leave zeros where the end was to come.
    const zero = tail.indexOf(0);
    const whole = tail.subarray(0, (zero === -1 ? tail : tail.subarray(0, zero)).lastIndexOf(0x0a) + 1);
    const lastText = whole.toString("utf8", whole.subarray(0, -1).lastIndexOf(0x0a) + 1, whole.length - 1);
    const head = bytesAt(fd, 0, Math.min(size, lineBytesMax));
    const first = readLine(head.toString("utf8", 0, Math.max(0, head.indexOf(0x0a))));
    // So long a line is not ours and no crash tore it: it is left as it is.
    const bytes = whole.length === 0 && start > 0 ? size : start + whole.length;
    const last = readLine(lastText);
    return { last, lastText, firstSeq: first?.seq ?? 1, bytes, tornBytes: size - bytes };
  } finally {
    closeSync(fd);
  }
}

function bytesAt(fd: number, from: number, to: number): Buffer {
  const buffer = Buffer.alloc(to - from);
  const count = readSync(fd, buffer, 0, buffer.length, from);
  return buffer.subarray(0, count);
}
