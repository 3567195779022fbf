/**
 * Takes a changed specgate.yaml into force for new requests, on SIGHUP or when the file changes.
 *
 * A file with a mistake is refused whole: the old settings stay, and `/readyz` says so until it is mended. Settings of
 * the environment, and all others that are read once, wait for the next start.
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

const lookMs = 1_000;

/** `took` is told which file is in force from then on; null is none. */
export function createReload(
  config: Config,
  source: ConfigSource,
  log: Log,
  took: (file: string | null) => void = () => undefined,
): Reload {
  let current = config.gateway;
  let refused: string[] = [];
  let seen = stampOf(config.file);

  // Named from now on: a file that was there must be there, or every model would be gone with a slip of `mv`.
  const flags = config.file === null ? source.flags : { ...source.flags, config: config.file };

  const now = () => {
    seen = stampOf(config.file);
    const loaded = loadConfig({ ...source, flags });
    if (loaded.ok) {
      current = loaded.config.gateway;
      refused = [];
      took(loaded.config.file);
      log.info("configuration reloaded", { file: loaded.config.file });
      return;
    }
    refused = loaded.mistakes;
    log.error("the changed configuration is refused; the old one stays in force", {
      mistakes: loaded.mistakes,
    });
  };
  // Looked at, not watched: a file that is replaced by rename, or through a symlink, is seen in the same way.
  const timer = setInterval(() => {
    if (stampOf(config.file) !== seen) now();
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
