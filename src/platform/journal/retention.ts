/**
 * How long drained segments stay: until they are too old, or too many bytes of newer ones are there.
 */
import { statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { listSegments } from "./segment.ts";

export type KeepDrained = { ms: number; bytes: number };

export function expireDrained(dir: string, keep: KeepDrained, now: number): void {
  let bytes = 0;
  for (const { file, drainedTo } of listSegments(dir).reverse()) {
    if (drainedTo === undefined) continue;
    const path = join(dir, file);
    const { size, mtimeMs } = statSync(path);
    bytes += size;
    if (bytes > keep.bytes || now - mtimeMs > keep.ms) unlinkSync(path);
  }
}
