/**
 * What a gateway that was killed took with it: lines wait for some milliseconds before they are written, and a power cut
 * takes what the disk had not kept. The audit log has every one of them, so the next start writes them into the file, marked
 * `restored`; where there are too many, a gap line says how many are missing.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Db } from "../../db/database.ts";
import { lineOf, type Origin } from "./decision-row.ts";
import { listLogFiles } from "./mcp-log-files.ts";
import { isDecision, type LoggedRow, listLogged, saysOfRow } from "./mcp-log-rows.ts";

/** How the files stood when this start began. */
export type Before = {
  /** Nothing older is missing; milliseconds since the epoch, null where there is no file. */
  readonly since: number | null;
  /** The requests that have a line since then. */
  readonly requests: ReadonlySet<string>;
};

export type Lost = { readonly lines: readonly string[]; readonly missing: number };

const tailBytes = 8 * 1024 * 1024;
/** Decisions that were made at the same time are not written in the order of their time. */
const apartMs = 60_000;
const dayMs = 86_400_000;
const linesMax = 20_000;

export function readBefore(dir: string): Before {
  const tails = listLogFiles(dir)
    .slice(-2)
    .map((file) => readTail(join(dir, file)));
  const lines = tails.flatMap(({ text }) => [...text.matchAll(lineForm)]);
  const requests = new Set(
    tails.flatMap(({ text }) => [...text.matchAll(requestForm)].map(([, id]) => id ?? "")),
  );
  const times = lines.map(([, at]) => Date.parse(at ?? "")).filter(Number.isFinite);
  const last = times.at(-1);
  if (last === undefined) return { since: null, requests };
  // What stands before the part that was read is not known.
  const known = tails.some(({ isCut }) => isCut) ? (times[0] ?? last) : 0;
  return { since: Math.max(known, last - apartMs), requests };
}

const lineForm = /^\{"seq":\d+,(?:"kind":"\w+",)?"at":"([^"]+)"/gm;
const requestForm = /^\{"seq":\d+,"at":"[^"]+","event":"[^"]+","request":"([^"]+)"/gm;

function readTail(path: string): { text: string; isCut: boolean } {
  const fd = openSync(path, "r");
  try {
    const { size } = fstatSync(fd);
    const buffer = Buffer.alloc(Math.min(size, tailBytes));
    const count = readSync(fd, buffer, 0, buffer.length, size - buffer.length);
    return { text: buffer.toString("latin1", 0, count), isCut: size > buffer.length };
  } finally {
    closeSync(fd);
  }
}

/** `origin` is this start: what it decides itself is not lost. */
export async function findLost(
  db: Db,
  origin: Origin,
  before: Before,
  now: number,
  max = linesMax,
): Promise<Lost> {
  const from = new Date(before.since ?? now - dayMs);
  // The clock may have been ahead.
  const to = new Date(now + 365 * dayMs);
  const asked = { ...origin, from, to, rowsMax: 1_000 };
  const byRequest = new Map<string, LoggedRow>();
  let missing = 0;
  for (let after: LoggedRow | null = null; ; ) {
    const rows: LoggedRow[] = await listLogged(db, { ...asked, after });
    for (const row of rows) {
      const request = row.request_id ?? row.event_id;
      const known = byRequest.get(request);
      if (before.requests.has(request) || (known !== undefined && !isDecision(row))) continue;
      if (known !== undefined || byRequest.size < max) byRequest.set(request, row);
      else missing += 1;
    }
    after = rows.at(-1) ?? null;
    if (rows.length < asked.rowsMax) break;
  }
  return {
    lines: [...byRequest.values()].map((row) => lineOf({ ...saysOfRow(row), restored: true })),
    missing,
  };
}
