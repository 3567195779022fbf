import { readFileSync } from "node:fs";
import type { Config } from "../platform/config.ts";
import { type DataDir, writeWhole } from "../platform/data-dir.ts";

/** Noted by `serve`, so that a command beside it issues tokens for the address that it really listens on. */
export function notePublicUrl(dir: DataDir, publicUrl: string): void {
  writeWhole(dir.file("public-url"), `${publicUrl}\n`);
}

/** The configured one, else the last that a gateway of this data dir had, else the default. */
export function publicUrlOf(config: Pick<Config, "publicUrl" | "port">, dir: Pick<DataDir, "file">): string {
  return config.publicUrl ?? notedUrl(dir) ?? `http://127.0.0.1:${config.port}`;
}

function notedUrl(dir: Pick<DataDir, "file">): string | null {
  try {
    return readFileSync(dir.file("public-url"), "utf8").trim() || null;
  } catch {
    return null;
  }
}
