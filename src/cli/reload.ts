/**
 * Takes a changed specgate.yaml into force for new requests, on SIGHUP or when the file changes.
 *
 * A file with a mistake is refused whole: the old settings stay, and `/readyz` says so until it is mended. So is one with
 * nothing in it, which is what a full disk or a slip of `>` leaves: every limit and denial would be gone with it. Settings
 * of the environment, and all others that are read once, wait for the next start.
 */
import { statSync } from "node:fs";
import type { Config, GatewayConfig } from "../platform/config.ts";
import { type ConfigSource, loadConfig } from "../platform/config-load.ts";
import type { Log } from "../platform/log.ts";

export type Reload = {
  gateway: () => GatewayConfig;
  warnings: () => string[];
  now: () => void;
  close: () => void;
};

const lookMsUsual = 1_000;
const emptied = "nothing is in it any more; would be {} if that is meant";

/** `took` is told which file is in force from then on; null is none. */
export function createReload(
  config: Config,
  source: ConfigSource,
  log: Log,
  took: (file: string | null) => void = () => undefined,
  lookMs = lookMsUsual,
): Reload {
  let current = config.gateway;
  let refused: string[] = [];
  let { file } = config;
  let seen = stampOf(file);

  const now = () => {
    seen = stampOf(file);
    // Named once it is known: a file that was there must be there, or every model would be gone with a slip of `mv`.
    const loaded = loadConfig(
      file === null ? source : { ...source, flags: { ...source.flags, config: file } },
    );
    const isEmptied = loaded.ok && loaded.isBlank && !Bun.deepEquals(loaded.config.gateway, current);
    if (loaded.ok && !isEmptied) {
      current = loaded.config.gateway;
      refused = [];
      if (file === null) {
        file = loaded.config.file;
        seen = stampOf(file);
      }
      took(file);
      log.info("configuration reloaded", { file });
      return;
    }
    refused = loaded.ok ? [`${file}: ${emptied}`] : loaded.mistakes;
    log.error("the changed configuration is refused; the old one stays in force", {
      mistakes: refused,
    });
  };
  // Looked at, not watched: a file that is replaced by rename, or through a symlink, is seen in the same way.
  let looked = seen;
  const timer = setInterval(() => {
    const stamp = stampOf(file);
    // The same at two looks: what is still being written would be read half.
    if (stamp !== seen && stamp === looked) now();
    looked = stamp;
  }, lookMs);
  return {
    gateway: () => current,
    warnings: () =>
      refused.length === 0
        ? []
        : ["the changed configuration is refused; see the log or `specgate config check`"],
    now,
    close: () => clearInterval(timer),
  };
}

function stampOf(file: string | null): string {
  if (file === null) return "";
  try {
    const { mtimeMs, size, ino } = statSync(file);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    return "";
  }
}
