/**
 * The way to another MCP server, as its configuration says: over HTTP in either era, or to a command that is run here.
 */
import type { Clock } from "../../platform/clock.ts";
import type { UpstreamConfig } from "../../platform/config.ts";
import type { GuardedFetch } from "../../platform/guarded-fetch.ts";
import type { Log } from "../../platform/log.ts";
import type { Secret } from "../../platform/secret.ts";
import { httpOpener } from "./http-line.ts";
import type { Link } from "./link.ts";
import { stdioOpener } from "./stdio-line.ts";
import { UpstreamLink } from "./upstream-link.ts";

export type LinkNeeds = {
  fetch: GuardedFetch;
  log: Log;
  clock: Clock;
  /** Of the gateway; servers are told it. */
  version: string;
  /** Where running commands are noted, so that the next boot ends what this one leaves behind. Null: nowhere. */
  childrenDir: string | null;
  /** The first pause before a server is met again, after which each is twice as long; 1 s unless told. */
  backOffMs?: number;
};

/** Nothing is asked, and no command is run, before the first list or call. */
export function openLink(alias: string, config: UpstreamConfig, needs: LinkNeeds): Link {
  const { log, version, childrenDir } = needs;
  const redact = redactorOf(config.kind === "http" ? [config.bearer] : Object.values(config.env));
  const shared = { ...needs, alias, limits: config, redact };
  if (config.kind === "http")
    return new UpstreamLink({ ...shared, open: (notices) => httpOpener(config, { ...needs, notices }) });
  return new UpstreamLink({
    ...shared,
    open: (notices) => stdioOpener(config, { alias, version, childrenDir, redact, notices, log }),
  });
}

/** Short values are too common to be found. */
const secretCharactersMin = 8;

function redactorOf(secrets: readonly (Secret | null)[]): (text: string) => string {
  const known = secrets.filter((secret) => secret !== null && secret.reveal().length >= secretCharactersMin);
  return (text) =>
    known.reduce((left, secret) => left.replaceAll(secret?.reveal() ?? "", "[redacted]"), text);
}
