/**
 * Whether the MCP servers behind the gateway answer. A command is run for it and ended again; no tool is called, and
 * nothing is pinned.
 */

import { sortOut } from "../features/upstreams/names.ts";
import { openLink } from "../features/upstreams/open-link.ts";
import { systemClock } from "../platform/clock.ts";
import type { UpstreamConfig } from "../platform/config.ts";
import { Failure } from "../platform/failure.ts";
import { createGuardedFetch } from "../platform/guarded-fetch.ts";
import { silentLog } from "../platform/log.ts";
import type { Finding } from "./doctor.ts";

const listMsMax = 10_000;
const name = "mcp";

/** Unreachable is a warning: it may come back, and the gateway is ready without it. */
export async function checkUpstreams(
  upstreams: Record<string, UpstreamConfig>,
  version: string,
): Promise<Finding[]> {
  const clock = systemClock();
  const needs = { clock, version, log: silentLog, childrenDir: null, fetch: createGuardedFetch({ clock }) };
  const checks = Object.entries(upstreams).map(async ([alias, config]): Promise<Finding> => {
    const link = openLink(alias, config, needs);
    const late = AbortSignal.timeout(Math.min(listMsMax, config.timeoutMs));
    try {
      const { tools, refused } = sortOut(alias, await link.list(late), (value) => value);
      const { era } = link.status();
      const [first] = refused;
      if (first === undefined)
        return { name, status: "ok", message: `${alias}: ${tools.size} tools, ${era} era` };
      const which = `${refused.length} of its tools cannot be offered, such as ${first.tool}: ${first.reason}`;
      return { name, status: "warning", message: `${alias}: ${which}` };
    } catch (error) {
      const why = error instanceof Failure ? error.message : "its list could not be taken";
      return { name, status: "warning", message: `${alias}: ${why}` };
    } finally {
      await link.close();
    }
  });
  return Promise.all(checks);
}
