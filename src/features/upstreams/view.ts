/**
 * Upstream servers and their tools as administrators see them. No secret is in it: of an address no query and nothing
 * that looks like a key, of a command no argument.
 */
import { basename } from "node:path";
import type { ToolDefinition } from "../../platform/upstream.ts";
import type { ToolView, UpstreamView } from "./contract.ts";
import { differencesOf } from "./difference.ts";
import { offeredName } from "./names.ts";
import { looksRandom } from "./redaction.ts";
import type { UpstreamServer } from "./server.ts";
import type { PinRow } from "./store.ts";

const refusedMax = 100;

/** A tool that does not say that it only reads is taken for one that writes. */
export const writes = ({ annotations }: ToolDefinition): boolean => annotations?.readOnlyHint !== true;

export function upstreamView(server: UpstreamServer, rows: readonly PinRow[], offered: number): UpstreamView {
  const { alias, config, refused, listedAt, wrong } = server;
  const { era, state, reason, since } = server.link.status();
  const count = (status: PinRow["status"]) =>
    rows.filter((row) => row.status === status && row.goneAt === null).length;
  return {
    alias,
    kind: config.kind,
    url: config.kind === "http" ? addressOf(config.url) : null,
    command: config.kind === "stdio" ? basename(config.command[0] ?? "") : null,
    pin_mode: config.pin,
    era,
    state,
    reason: reason ?? wrong,
    since: since?.toISOString() ?? null,
    listed_at: listedAt?.toISOString() ?? null,
    tools: {
      visible: count("visible"),
      pending: count("pending"),
      quarantined: count("quarantined"),
      rejected: count("rejected"),
      gone: rows.filter(({ goneAt }) => goneAt !== null).length,
      offered,
    },
    refused: refused.slice(0, refusedMax),
    refused_count: refused.length,
  };
}

function addressOf(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname.replaceAll(/[^/]+/g, (part) => (looksRandom(part) ? "[redacted]" : part));
}

export function toolView(row: PinRow, is: { offered: boolean; allowed: boolean }): ToolView {
  const pinned = row.definition as ToolDefinition | null;
  const seen = row.seenDefinition as ToolDefinition;
  return {
    name: row.tool,
    offered_as: offeredName(row.alias, row.tool),
    status: row.status,
    is_offered: is.offered,
    is_allowed: is.allowed,
    writes: writes(pinned ?? seen),
    pin: row.pin,
    seen_pin: row.seenPin,
    definition: pinned,
    seen_definition: seen,
    difference: pinned === null ? [] : differencesOf(pinned, seen),
    first_seen_at: row.firstSeenAt.toISOString(),
    changed_at: row.changedAt.toISOString(),
    gone_at: row.goneAt?.toISOString() ?? null,
    decided_by: row.decidedBy,
    decided_at: row.decidedAt?.toISOString() ?? null,
    version: row.version,
  };
}
