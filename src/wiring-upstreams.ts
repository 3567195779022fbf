/**
 * Other MCP servers behind this one: the ways to them, what is pinned of their tools, and the secrets that must not come back
 * from them.
 */
import type { Changes } from "./db/changes.ts";
import { endLeftovers } from "./features/upstreams/leftovers.ts";
import { openLink } from "./features/upstreams/open-link.ts";
import { Pins } from "./features/upstreams/pins.ts";
import { secretsIn } from "./features/upstreams/redaction.ts";
import { UpstreamServers } from "./features/upstreams/upstreams.ts";
import type { GatewayConfig } from "./platform/config.ts";
import { signingSecretsOf } from "./platform/config-signing.ts";
import type { GuardedFetch } from "./platform/guarded-fetch.ts";
import type { Cursors } from "./platform/page.ts";
import type { WiringInput } from "./wiring.ts";

type UpstreamsNeeds = { changes: Changes; cursors: Cursors; fetch: GuardedFetch };

/** No server is waited for. */
export async function wireUpstreams(input: WiringInput, { changes, cursors, fetch }: UpstreamsNeeds) {
  const { database, dir, clock, log, version, gateway, config } = input;
  const childrenDir = dir.file("upstreams");
  const linkNeeds = { fetch, log, clock, version, childrenDir };
  // Whatever is configured now: the one that would not leave may be the one that was taken out.
  const ended = endLeftovers(childrenDir);
  if (ended > 0)
    log.warn("commands of an earlier run were still there, and have been ended", { count: ended });
  const pins = new Pins({ database, changes, cursors, clock });
  const signing = signingSecretsOf(config, dir);
  const servers = new UpstreamServers({
    database,
    pins,
    gateway,
    clock,
    log,
    openLink: input.openLink ?? ((alias, upstream) => openLink(alias, upstream, linkNeeds)),
    secrets: (now: GatewayConfig) => secretsIn({ ...config, gateway: now, signing }),
  });
  await servers.start();
  return { servers, pins };
}
