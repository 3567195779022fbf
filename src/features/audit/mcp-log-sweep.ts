/**
 * Removes files of the MCP log whose time is over. The audit log hears of each first, so that one that is missing for
 * any other reason can be told from it.
 */
import { statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import type { SweepTerms } from "../../db/sweep.ts";
import { type AnchorsNeeds, recordRemoval } from "./mcp-log-anchors.ts";
import { isDue, listLogFiles } from "./mcp-log-files.ts";

export type LogSweep = (
  over: { now: number; days: number | null },
  terms: SweepTerms,
) => Promise<{ files: number; bytes: number }>;

export function createLogSweep(dir: string, needs: AnchorsNeeds): LogSweep {
  return async ({ now, days }, { dryRun, signal }) => {
    const gone = { files: 0, bytes: 0 };
    for (const file of listLogFiles(dir).filter((one) => isDue(one, now, days))) {
      if (signal?.aborted) break;
      const path = join(dir, file);
      const bytes = sizeOf(path);
      if (bytes === undefined) continue;
      if (!dryRun) {
        await recordRemoval(needs, file, bytes);
        unlinkSync(path);
      }
      gone.files += 1;
      gone.bytes += bytes;
    }
    return gone;
  };
}

/** Undefined when somebody else was faster. */
const sizeOf = (path: string): number | undefined => statSync(path, { throwIfNoEntry: false })?.size;
